package interop

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dnstest"
)

// daneUnbound is a validating name server for a tree of zones that another one has.
const daneUnbound = `server:
	interface: ` + nameserver + `
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
	trust-anchor-signaling: no
	qname-minimisation: no
ANCHORS
remote-control:
	control-enable: no
forward-zone:
	name: "."
	forward-addr: SERVER
`

// TestDANEPostfix has Postfix verify a server of ours by TLSA records that we make,
// in signed zones that another program validates, and not be content with those of
// others. Our own client comes to the same results.
func TestDANEPostfix(t *testing.T) { inNetwork(t, testDANEPostfix) }

func testDANEPostfix(t *testing.T, dir string) {
	w := &world{dir: filepath.Join(dir, "mox"), roots: x509.NewCertPool()}
	if err := os.Mkdir(w.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	cert := writeCert(t, w.dir, "mox.test")
	other := writeCert(t, dir, "other.test")
	for name, text := range map[string]string{"mox.conf": worldConfig, "domains.conf": worldDomains} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	record := func(pem []byte, usage, selector, matching string) string {
		return strings.TrimSpace(command(t, pem, program(t), "dane", "makerecord", usage, selector, matching))
	}
	domains := []struct{ name, record, result string }{
		{"key", record(cert, "dane-ee", "spki", "sha2-256"), "Verified"},
		{"strong", record(cert, "dane-ee", "cert", "sha2-512"), "Verified"},
		{"whole", record(cert, "dane-ee", "spki", "full"), "Verified"},
		{"wrong", record(other, "dane-ee", "spki", "sha2-256"), "Untrusted"},
		{"common", record(cert, "pkix-ee", "spki", "sha2-256"), ""}, // It can't be used: TLS, but no more.
	}
	zone := "mox A " + ourIP + "\n"
	for _, d := range domains {
		zone += fmt.Sprintf("%[1]s MX 10 mx.%[1]s\nmx.%[1]s A %[2]s\n_25._tcp.mx.%[1]s TLSA %[3]s\n", d.name, ourIP, d.record)
	}
	startDANEDNS(t, dir, zone)
	w.serve(t, nil)
	// Each takes a second or two. The server and DNS are there until all are done.
	t.Run("all", func(t *testing.T) {
		for _, d := range domains {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				testDANEDomain(t, dir, d.name+".test", d.record, d.result)
			})
		}
	})
}

// testDANEDomain has both clients verify the mail server of a domain. Result is what
// Postfix says, empty if only that it does not verify.
func testDANEDomain(t *testing.T, dir, domain, record, result string) {
	t.Helper()
	finger := postTLSFinger(t, filepath.Join(dir, "finger."+domain), domain)
	connected := strings.Contains(finger, "TLS connection established to mx."+domain)
	if !connected || result != "" && !strings.Contains(finger, result+" TLS connection") || result == "" && strings.Contains(finger, "Verified") {
		t.Errorf("Postfix says\n%s", finger)
	}
	out, err := tryCommand(t, []byte("QUIT\r\n"), program(t), "-config", filepath.Join(dir, "none.conf"), "dane", "dialmx", "-mode", "system-ad", domain)
	if good := strings.Contains(out, "is verified by TLSA "+record) && err == nil; good != (result == "Verified") {
		t.Errorf("our client says\n%s", out)
	}
}

// startDANEDNS starts the name server, which validates what is in the signed zone
// "test".
func startDANEDNS(t *testing.T, dir, zone string) {
	t.Helper()
	tree, err := dnstest.NewTree(time.Now(), dnstest.SignedZone{Name: "test", Text: zone})
	if err != nil {
		t.Fatal(err)
	}
	s, err := tree.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var anchors strings.Builder
	for _, ds := range tree.Anchors() {
		fmt.Fprintf(&anchors, "\ttrust-anchor: \"%s\"\n", strings.ReplaceAll(ds, "\t", " "))
	}
	conf := strings.NewReplacer("DIR", dir, "ANCHORS", anchors.String(), "SERVER", strings.Replace(s.Addr, ":", "@", 1)).Replace(daneUnbound)
	path, copied := filepath.Join(dir, "unbound.conf"), filepath.Join(dir, "unbound")
	if err := os.WriteFile(path, []byte(conf), 0o640); err != nil {
		t.Fatal(err)
	}
	// AppArmor confines it by its path.
	command(t, nil, tool(t, "cp"), sbin(t, "unbound"), copied)
	cmd := exec.Command(copied, "-d", "-p", "-c", path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // It has nothing to lose.
		_ = cmd.Wait()
	})
	answers := func() bool {
		ips, err := net.DefaultResolver.LookupHost(t.Context(), "mox.test.")
		return err == nil && len(ips) == 1
	}
	if !eventually(answers) {
		text, _ := os.ReadFile(filepath.Join(dir, "unbound.log"))
		t.Fatalf("unbound does not answer:\n%s", text)
	}
}

// postTLSFinger has Postfix connect to the mail server of a domain, with its
// configuration in conf, and returns what it says.
func postTLSFinger(t *testing.T, conf, domain string) string {
	t.Helper()
	if err := os.Mkdir(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(conf, "main.cf"), []byte("compatibility_level = 3.6\nmyhostname = finger.test\ninet_protocols = ipv4\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// What it thinks of the server is not in its exit code.
	out, _ := tryCommand(t, nil, tool(t, "env"), "MAIL_CONFIG="+conf, sbin(t, "posttls-finger"), "-t", "10", "-T", "10", "-c", "-l", "dane", "-L", "summary", domain)
	return out
}
