package interop

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// TestReadmeServe runs the lines of the README that set up a server, in a directory
// of its own and without systemd.
func TestReadmeServe(t *testing.T) {
	inNetwork(t, func(t *testing.T, dir string) {
		readme, err := os.ReadFile("../../README.md")
		if err != nil {
			t.Fatal(err)
		}
		_, section, ok := strings.Cut(string(readme), "\n## Run it for real\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if !ok {
			t.Fatal("the README has no such section")
		}
		var script strings.Builder
		left := 0
		for _, m := range regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(section, -1) {
			line := m[1]
			if regexp.MustCompile(`^(useradd|systemctl|mox setaccountpassword) `).MatchString(line) {
				left++ // There is neither systemd nor another user, and no server yet.
				continue
			}
			line = strings.ReplaceAll(line, "install -m 755 mox ", "install -m 755 "+program(t)+" ")
			for _, path := range []string{"/usr/local/bin", "/var/lib", "/etc/ssl", "/etc/systemd/system"} {
				line = strings.ReplaceAll(line, path, dir+path)
			}
			line = strings.ReplaceAll(line, "LogLevel: info", "LogLevel: info\nUser: "+serviceUser)
			script.WriteString(line + "\n")
		}
		if left != 4 {
			t.Errorf("%d lines are for systemd, users and passwords", left)
		}
		for _, d := range []string{"usr/local/bin", "var/lib", "etc/ssl", "etc/systemd/system"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(writeCert(t, filepath.Join(dir, "etc/ssl"), "mail.example.org"))
		path := "PATH=" + filepath.Join(dir, "usr/local/bin") + ":$PATH\n"
		out := command(t, []byte("set -e\n"+path+script.String()), "sh")
		if out != "config OK\n" {
			t.Errorf("got %s", out)
		}
		unit, err := os.ReadFile(filepath.Join(dir, "etc/systemd/system/mox.service"))
		if err != nil {
			t.Fatal(err)
		}
		// What systemd would do with it.
		m := regexp.MustCompile(`(?m)^ExecStart=(\S+) -config (\S+) serve$`).FindStringSubmatch(string(unit))
		if m == nil {
			t.Fatalf("no command in %s", unit)
		}
		s := &service{t: t, dir: filepath.Join(dir, "var/lib/mox"), ip: "127.0.0.1", roots: roots}
		s.started()
		s.run("setaccountpassword", "alice")
		conn, err := net.DialTimeout("tcp", "127.0.0.1:465", patience)
		if err != nil {
			t.Fatal(err)
		}
		c := gosmtp.NewClient(tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "mail.example.org"}))
		if err := c.Hello("client.example"); err != nil {
			t.Error(err)
		}
		_ = c.Close()
		if m[1] != filepath.Join(dir, "usr/local/bin/mox") || m[2] != filepath.Join(s.dir, "config/mox.conf") {
			t.Errorf("the unit starts %s with %s", m[1], m[2])
		}
		s.run("stop")
		if got := s.wait(); got != 0 {
			t.Errorf("got exit status %d\n%s", got, s.out.String())
		}
		s.check()
	})
}
