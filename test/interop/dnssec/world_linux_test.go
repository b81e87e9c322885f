package dnssec

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func subdir(t testing.TB, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newWorld signs all zones, and starts the servers that have them.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), servers: map[string]string{}, texts: map[string]string{}}
	groups := map[string][]signedZone{"nsd": ldnsZones(), "named": bindZones()}
	knot := &knotServer{dir: subdir(t, filepath.Join(w.dir, "knot")), addr: newAddr()}
	t.Run("sign", func(t *testing.T) {
		for _, zones := range groups {
			for _, z := range zones {
				t.Run(z.name, func(t *testing.T) {
					t.Parallel()
					w.sign(t, z)
				})
			}
		}
		t.Run("knot", func(t *testing.T) {
			t.Parallel()
			knot.prepare(t, w)
		})
	})
	if t.Failed() {
		t.FailNow()
	}
	nsd, named := newAddr(), freeAddr(t)
	addrs := map[string]string{"nsd": nsd, "named": named}
	for server, zones := range groups {
		for _, z := range zones {
			w.serve(z.name+".example", addrs[server])
		}
	}
	for _, z := range knotZones {
		w.serve(z.name+".example", knot.addr)
	}
	w.top(t, nsd)
	w.startNSD(t, nsd)
	w.startNamed(t, named)
	knot.start(t, w)
	return w
}

// serve notes who has a zone, with those below it, and what will be asked.
func (w *world) serve(zone, addr string) {
	for _, name := range []string{zone, "sub." + zone, "another." + zone} {
		w.servers[name+"."] = addr
	}
	w.questions = append(w.questions, zoneQuestions(zone)...)
}

// top signs the zones above all others.
func (w *world) top(t testing.TB, nsd string) {
	t.Helper()
	const begin = "$ORIGIN %s\n$TTL 300\n@ SOA ns.example. hostmaster.example. 1 3600 600 86400 60\n@ NS ns.example.\n"
	text := fmt.Sprintf(begin, "example.") + "ns A 192.0.2.53\n"
	for _, name := range slices.Sorted(maps.Keys(w.servers)) {
		if strings.Count(name, ".") == 2 {
			text += name + " NS ns." + name + "\nns." + name + " A 192.0.2.53\n"
		}
	}
	dir := subdir(t, filepath.Join(w.dir, "example"))
	write(t, dir, "plain", text+strings.Join(w.ds, "\n")+"\n")
	signed, ds := ldns(p256, "-n", "-p", "-t", "0")(t, dir, "example")
	w.texts["example"] = signed
	dir = subdir(t, filepath.Join(w.dir, "root"))
	write(t, dir, "plain", fmt.Sprintf(begin, ".")+"example. NS ns.example.\nns.example. A 192.0.2.53\n"+strings.Join(ds, "\n")+"\n")
	w.texts["root"], w.anchors = ldns("RSASHA256")(t, dir, ".")
	w.servers["."], w.servers["example."] = nsd, nsd
	w.questions = append(w.questions, question{"example.", "NS"}, question{"nope.", "A"}, question{"nope.example.", "MX"}, question{".", "NS"}, question{".", "MX"})
}

// files writes the zones of a server, and returns them in order with their files.
func (w *world) files(t testing.TB, dir, addr string) (names, files []string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(w.servers)) {
		if w.servers[name] == addr {
			file := cmp.Or(strings.TrimSuffix(name, "."), "root")
			write(t, dir, file, w.texts[file])
			names, files = append(names, name), append(files, file)
		}
	}
	return names, files
}

func (w *world) startNSD(t testing.TB, addr string) {
	t.Helper()
	dir := subdir(t, filepath.Join(w.dir, "nsd"))
	conf := fmt.Sprintf(`server:
	ip-address: %s
	username: ""
	chroot: ""
	database: ""
	zonesdir: "%[2]s"
	pidfile: "%[2]s/nsd.pid"
	xfrdfile: "%[2]s/xfrd.state"
	xfrdir: "%[2]s"
	zonelistfile: "%[2]s/zone.list"
	cookie-secret-file: "%[2]s/cookies"
	logfile: "%[2]s/nsd.log"
	server-count: 1
	rrl-ratelimit: 0
remote-control:
	control-enable: no
`, at(addr), dir)
	names, files := w.files(t, dir, addr)
	for i, name := range names {
		conf += fmt.Sprintf("zone:\n\tname: %q\n\tzonefile: %q\n", name, files[i])
	}
	daemon(t, addr, ".", "nsd", "-d", "-c", write(t, dir, "nsd.conf", conf))
}

func (w *world) startNamed(t testing.TB, addr string) {
	t.Helper()
	dir := subdir(t, filepath.Join(w.dir, "named"))
	conf := namedOptions(dir, addr) + "\trecursion no;\n};\n"
	names, files := w.files(t, dir, addr)
	for i, name := range names {
		conf += fmt.Sprintf("zone %q { type primary; file %q; };\n", name, files[i])
	}
	daemon(t, addr, names[len(names)-1], "named", "-g", "-c", write(t, dir, "named.conf", conf))
}

// namedOptions returns the begin of a configuration of named, within its options.
func namedOptions(dir, addr string) string {
	ip, port, _ := strings.Cut(addr, ":")
	return fmt.Sprintf(`controls { };
options {
	directory "%[1]s";
	pid-file "%[1]s/named.pid";
	session-keyfile "%[1]s/session.key";
	managed-keys-directory "%[1]s";
	listen-on port %[2]s { %[3]s; };
	listen-on-v6 { none; };
	dnssec-validation no;
	empty-zones-enable no;
	check-names primary ignore;
`, dir, port, ip)
}

// namedForwarder starts a named that asks another server for everything, and
// returns its address.
func namedForwarder(t testing.TB, to string) string {
	t.Helper()
	dir, addr := t.TempDir(), freeAddr(t)
	ip, port, _ := strings.Cut(to, ":")
	conf := namedOptions(dir, addr) + fmt.Sprintf(`	recursion yes;
	forward only;
	forwarders { %s port %s; };
	qname-minimization off;
};
`, ip, port)
	daemon(t, addr, "example.", "named", "-g", "-n", "1", "-c", write(t, dir, "named.conf", conf))
	return addr
}

// knotServer is Knot, which signs by itself.
type knotServer struct{ dir, addr string }

// prepare makes its configuration, and keys.
func (k *knotServer) prepare(t testing.TB, w *world) {
	t.Helper()
	conf := fmt.Sprintf("server:\n    rundir: %s\n    listen: %s\n    udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\nlog:\n  - target: stderr\n    any: warning\ndatabase:\n    storage: %[1]s\npolicy:\n", k.dir, at(k.addr))
	zones := ""
	for _, z := range knotZones {
		conf += fmt.Sprintf("  - id: %s\n    manual: on\n", z.name)
		for _, line := range strings.Split(z.policy, ", ") {
			conf += "    " + line + "\n"
		}
		zones += fmt.Sprintf("  - domain: %s.example\n    file: %[1]s.example\n    dnssec-signing: on\n    dnssec-policy: %[1]s\n", z.name)
		for _, sub := range []string{"sub.", "another."} {
			zones += fmt.Sprintf("  - domain: %s%s.example\n", sub, z.name)
		}
	}
	conf += fmt.Sprintf("template:\n  - id: default\n    storage: %s\n    file: %%s\n    zonefile-sync: -1\n    semantic-checks: off\nzone:\n", k.dir) + zones
	path := write(t, k.dir, "knot.conf", conf)
	for _, z := range knotZones {
		zone := z.name + ".example"
		for _, key := range z.keys {
			algorithm := "algorithm=" + p256
			if z.policy == "algorithm: ED25519" {
				algorithm = "algorithm=ED25519"
			}
			command(t, k.dir, "keymgr", append([]string{"-c", path, zone, "generate", algorithm}, strings.Fields(key)...)...)
		}
		var ds []string
		for line := range strings.Lines(command(t, k.dir, "keymgr", "-c", path, zone, "ds")) {
			if fields := strings.Fields(line); len(fields) > 4 && fields[4] == "2" {
				ds = append(ds, strings.TrimSpace(line))
			}
		}
		w.add(zone, zoneText(zone), ds)
	}
}

func (k *knotServer) start(t testing.TB, w *world) {
	t.Helper()
	names, _ := w.files(t, k.dir, k.addr)
	daemon(t, k.addr, names[len(names)-1], "knotd", "-c", filepath.Join(k.dir, "knot.conf"))
}
