package imapserver

import (
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mjl-/mox/internal/transcript"
)

// TestTranscripts plays each testdata/*.txt against a server with an account
// of its own. The bubble's clock starts at 2000-01-01 and jumps when all are
// waiting, so INTERNALDATE is stable and a 30-minute idle timeout costs nothing.
//
// Connections are logged in as mox unless the setup says login=no. Other words of
// the setup: inbox=n messages in Inbox, quota=bytes, messages=n that there may be, appendmax=bytes, tls,
// implicit, plain=no, pedantic, crammd5, off=capability,... switched off for mox, and
// certn=account[,nopreauth] for the client
// certificate that connection n shows, over TLS from the start.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	for _, f := range transcript.Load(t, "testdata/*.txt") {
		t.Run(filepath.Base(f.Name), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, f.Setup)
				defer e.stop()
				e.start()
				f.Play(t, func(conn string) net.Conn {
					if cert := f.Setup["cert"+conn]; cert != "" {
						return e.dialCertificate(cert)
					}
					if f.Setup["login"] == "no" {
						return e.dial()
					}
					return e.dialLogin()
				})
			})
		})
	}
}

var (
	clientLine = regexp.MustCompile(`^C[0-9]?: ([^ ]+) +([A-Za-z]+)( [A-Za-z]+)?`)
	serverLine = regexp.MustCompile(`^S[0-9]?[:~] ([^ ]+) (OK|NO|BAD)`)
)

// TestCommandsHaveTranscripts checks that each command of the table has a
// transcript in which it succeeds, and one in which it is refused.
func TestCommandsHaveTranscripts(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		running := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if m := clientLine.FindStringSubmatch(line); m != nil {
				cmd := strings.ToUpper(m[2])
				if cmd == "UID" {
					cmd += strings.ToUpper(m[3])
				}
				running[m[1]] = cmd
			}
			if m := serverLine.FindStringSubmatch(line); m != nil {
				seen[running[m[1]]+" "+m[2]] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(commands())) {
		if !seen[name+" OK"] {
			t.Errorf("no transcript in which %s succeeds", name)
		}
		if !seen[name+" NO"] && !seen[name+" BAD"] {
			t.Errorf("no transcript in which %s is refused", name)
		}
	}
}
