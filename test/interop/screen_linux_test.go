package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// screen is a program that is used at a terminal: tmux is the terminal, and the
// user is the test.
type screen struct {
	t      *testing.T
	tmux   string
	socket string
	home   string
}

// newScreen starts a command of the shell in a terminal of 120 columns and 40
// lines, with a home directory that is empty.
func newScreen(t *testing.T, command string) *screen {
	t.Helper()
	dir, err := os.MkdirTemp("", "mox-tmux-*") // The path of a socket must be short.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &screen{t: t, tmux: tool(t, "tmux"), socket: filepath.Join(dir, "s"), home: t.TempDir()}
	// Without a configuration, and with the last screen kept when the program ends.
	s.run("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "-e", "HOME="+s.home, "-e", "LANG=C.UTF-8",
		"tmux -S "+s.socket+" set-option remain-on-exit on; "+command)
	t.Cleanup(func() {
		// t.Context has ended by now.
		if out, err := exec.Command(s.tmux, "-S", s.socket, "kill-server").CombinedOutput(); err != nil {
			t.Errorf("ending tmux: %v: %s", err, out)
		}
	})
	return s
}

func (s *screen) run(args ...string) string {
	s.t.Helper()
	return command(s.t, nil, s.tmux, append([]string{"-S", s.socket}, args...)...)
}

// text returns what is on the screen.
func (s *screen) text() string {
	s.t.Helper()
	return s.run("capture-pane", "-p")
}

// wait waits until one of some texts is on the screen.
func (s *screen) wait(want ...string) {
	s.t.Helper()
	shown := func() bool {
		text := s.text()
		return slices.ContainsFunc(want, func(w string) bool { return strings.Contains(text, w) })
	}
	if !eventually(shown) {
		s.t.Fatalf("%q does not come on the screen:\n%s", want, s.text())
	}
}

// write types a text.
func (s *screen) write(text string) {
	s.t.Helper()
	s.run("send-keys", "-l", text)
}

// press presses keys by their names, as tmux has them.
func (s *screen) press(keys ...string) {
	s.t.Helper()
	s.run(append([]string{"send-keys"}, keys...)...)
}
