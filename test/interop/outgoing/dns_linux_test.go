package outgoing

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/test/interop/netns"
)

const (
	authoritative = "127.0.0.54" // Where nsd has all zones.
	deadServer    = "127.0.0.55" // Of zones whose name server is gone.
	rootTTL       = "$TTL 60\n"
	soa           = "SOA ns.test. hostmaster.test. 1 3600 600 86400 1\n"
)

const nsdConfig = `server:
	ip-address: ` + authoritative + `@53
	username: ""
	chroot: ""
	database: ""
	zonesdir: "DIR"
	pidfile: "DIR/nsd.pid"
	xfrdfile: "DIR/xfrd.state"
	xfrdir: "DIR"
	zonelistfile: "DIR/zone.list"
	cookie-secret-file: "DIR/cookies"
	logfile: "DIR/nsd.log"
	server-count: 1
	rrl-ratelimit: 0
remote-control:
	control-enable: no
zone:
	name: "."
	zonefile: "root.signed"
zone:
	name: "test."
	zonefile: "test.signed"
zone:
	name: "unsigned.test."
	zonefile: "unsigned.test"
`

// unboundConfig is a name server that looks names up from the root, and validates.
const unboundConfig = `server:
	interface: ` + netns.Nameserver + `
	directory: "DIR"
	pidfile: "DIR/unbound.pid"
	logfile: "DIR/unbound.log"
	username: ""
	chroot: ""
	use-syslog: no
	do-ip6: no
	do-daemonize: no
	num-threads: 1
	access-control: 127.0.0.0/8 allow
	do-not-query-localhost: no
	local-zone: "test." nodefault
	module-config: "validator iterator"
	trust-anchor: "ANCHOR"
	trust-anchor-signaling: no
	root-hints: "DIR/hints"
	ede: yes
remote-control:
	control-enable: no
`

// startDNS signs the zones, and starts the servers. Bogus are RRsets whose signatures
// are to be broken.
func (w *world) startDNS(t *testing.T, test, unsigned string, bogus []string) {
	t.Helper()
	const begin = "@ " + soa + "@ NS ns.test.\n"
	w.write(t, "unsigned.test", "$ORIGIN unsigned.test.\n"+rootTTL+begin+unsigned)
	w.write(t, "test", "$ORIGIN test.\n"+rootTTL+begin+"ns A "+authoritative+"\nns.dead A "+deadServer+"\nunsigned NS ns\n"+test)
	ds := w.sign(t, "test")
	w.breakSignatures(t, "test.signed", bogus)
	w.write(t, "root", "$ORIGIN .\n"+rootTTL+". "+soa+". NS ns.test.\ntest. NS ns.test.\nns.test. A "+authoritative+"\n"+ds+"\n")
	w.anchor = w.sign(t, "root")
	w.write(t, "hints", ". 3600 NS ns.test.\nns.test. 3600 A "+authoritative+"\n")
	conf := strings.NewReplacer("DIR", w.dir, "ANCHOR", w.anchor)
	w.daemon(t, "nsd", "-d", "-c", w.write(t, "nsd.conf", conf.Replace(nsdConfig)))
	w.daemon(t, "unbound", "-d", "-p", "-c", w.write(t, "unbound.conf", conf.Replace(unboundConfig)))
	answers := func() bool {
		ips, err := net.DefaultResolver.LookupHost(t.Context(), "validating.test.")
		return err == nil && len(ips) > 0
	}
	if !eventually(answers) {
		t.Fatalf("unbound does not answer:\n%s\n%s", w.read(t, "unbound.log"), w.read(t, "nsd.log"))
	}
}

// sign signs a zone in the file of that name, and returns its DS record.
func (w *world) sign(t *testing.T, file string) string {
	t.Helper()
	origin := file + "."
	if file == "root" {
		origin = "."
	}
	w.command(t, "ldns-keygen", "-k", "-a", "ECDSAP256SHA256", origin)
	key := strings.TrimSpace(w.command(t, "ldns-keygen", "-k", "-a", "ECDSAP256SHA256", origin))
	w.command(t, "ldns-signzone", "-o", origin, "-f", file+".signed", file, key)
	return strings.Join(strings.Fields(w.command(t, "ldns-key2ds", "-n", "-2", key+".key")), " ")
}

// breakSignatures breaks those of RRsets, as "MX name.".
func (w *world) breakSignatures(t *testing.T, file string, rrsets []string) {
	t.Helper()
	broken := map[string]bool{}
	lines := strings.SplitAfter(w.read(t, file), "\n")
	for i, line := range lines {
		fields := strings.Fields(line)
		at := slices.Index(fields, "RRSIG")
		if at < 0 {
			continue
		}
		rrset := fields[at+1] + " " + fields[0]
		if !slices.Contains(rrsets, rrset) {
			continue
		}
		signature := &fields[at+9]
		if other := "B" + (*signature)[1:]; other != *signature {
			*signature = other
		} else {
			*signature = "C" + other[1:]
		}
		lines[i] = strings.Join(fields, " ") + "\n"
		broken[rrset] = true
	}
	if len(broken) != len(rrsets) {
		t.Fatalf("signatures were broken of %v only, want %q", broken, rrsets)
	}
	w.write(t, file, strings.Join(lines, ""))
}

// daemon runs a server in the foreground until the test ends.
func (w *world) daemon(t *testing.T, name string, args ...string) {
	t.Helper()
	// AppArmor confines it by its path.
	program := filepath.Join(w.dir, name)
	netns.Command(t, nil, "cp", netns.Program(t, name), program)
	w.run(t, program, args...)
}

// run runs a program until the test ends.
func (w *world) run(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // It has nothing to lose.
		_ = cmd.Wait()
	})
}

// command runs a program in the directory of the world.
func (w *world) command(t *testing.T, name string, args ...string) string {
	t.Helper()
	script := fmt.Sprintf("cd '%s' && exec \"$@\"", w.dir)
	return netns.Command(t, nil, "sh", append([]string{"-c", script, "sh", netns.Program(t, name)}, args...)...)
}

// write writes a file below the directory of the world, and returns its path.
func (w *world) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func (w *world) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}
