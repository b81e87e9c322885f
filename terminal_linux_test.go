package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a new terminal: what a person types and sees,
// and what a program reads.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// echoes tells whether a terminal shows what is typed.
func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

// prompts is standard error of a program that asks: it has the answers typed when
// it is asked.
type prompts struct {
	t       *testing.T
	person  io.Writer
	program *os.File
	answers []string
	shown   bytes.Buffer
	asked   func()
}

func (p *prompts) Write(b []byte) (int, error) {
	p.shown.Write(b)
	if bytes.HasSuffix(b, []byte(": ")) {
		if echoes(p.t, p.program) {
			p.t.Errorf("asked %q, and shows what is typed", b)
		}
		if p.asked != nil {
			p.asked()
		}
		if len(p.answers) > 0 {
			if _, err := io.WriteString(p.person, p.answers[0]); err != nil {
				p.t.Error(err)
			}
			p.answers = p.answers[1:]
		}
	}
	return len(b), nil
}

// TestPasswordOnTerminal types passwords. Whatever comes of it, the terminal shows
// again what is typed then.
func TestPasswordOnTerminal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		answers []string
		want    string
		err     string
	}{
		{"the same twice", []string{"correct horse\n", "correct horse\n"}, "correct horse", ""},
		{"another", []string{"correct horse\n", "correct house\n"}, "", "the passwords differ"},
		{"the end of input", []string{"\x04"}, "", "no password"},
	} {
		person, program := openTerminal(t)
		p := &prompts{t: t, person: person, program: program, answers: test.answers}
		inv := &invocation{stdin: program, stderr: p}
		got, err := inv.readPassword(t.Context())
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got %q, %v, want %q, %q", test.name, got, err, test.want, test.err)
		}
		if !echoes(t, program) || !strings.HasPrefix(p.shown.String(), "new password: \n") {
			t.Errorf("%s: the terminal shows what is typed: %v; was shown %q", test.name, echoes(t, program), &p.shown)
		}
	}
}

func TestPasswordInterrupted(t *testing.T) {
	t.Parallel()
	person, program := openTerminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	inv := &invocation{stdin: program, stderr: &prompts{t: t, person: person, program: program, asked: cancel}}
	if _, err := inv.readPassword(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !echoes(t, program) {
		t.Error("the terminal does not show what is typed")
	}
	if _, err := io.WriteString(person, "\n"); err != nil { // The read that was going on ends.
		t.Error(err)
	}
}
