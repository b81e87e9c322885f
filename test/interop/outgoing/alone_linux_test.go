package outgoing

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mjl-/mox/test/interop/netns"
)

// startAlone builds the program, and runs it until the test ends.
func (s *server) startAlone(t *testing.T, w *world) {
	t.Helper()
	s.program = filepath.Join(w.dir, "mox")
	build := exec.CommandContext(t.Context(), netns.Program(t, "go"), "build", "-trimpath", "-ldflags=-s -w", "-o", s.program, "../../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	cmd := exec.Command(s.program, "-config", s.config(), "serve") //nolint:noctx // It is told to stop.
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.client != nil {
			_ = s.client.Close()
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("serving: %v", err)
		}
		s.checkLog(t)
	})
	up := func() bool {
		_, err := netns.Try(t, nil, s.program, "-config", s.config(), "loglevels")
		return err == nil
	}
	if !eventually(up) {
		t.Fatalf("%s does not serve:\n%s", s.name, s.log.text())
	}
	netns.Command(t, []byte(password+"\n"), s.program, "-config", s.config(), "setaccountpassword", "alice")
}

// ask runs a command, and parses what it prints into result unless that is nil.
func (s *server) ask(t *testing.T, result any, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.program, append([]string{"-config", s.config()}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil && result != nil {
		err = json.Unmarshal(out, result)
	}
	if err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, out, stderr.String())
	}
}

// aloneRows are the domains that a server alone sends to: some of each kind, since it
// takes a process to look at what it does.
var aloneRows = []string{
	"ee", "ee-wrong", "ee-second", "ta-expired", "ee-plain", "ee.unsigned", "bogus-tlsa", "sts", "sts-name", "sts-mx", "sts-refused", "sts-test",
	"req-dane", "req-without", "no-wrong", "tls-old", "plain", "perm3", "temp3", "temp0-second", "six-refused", "null",
}
