package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestTalk follows conversations. What the simulation allows to be there twice
// depends on it.
func TestTalk(t *testing.T) {
	t.Parallel()
	const envelope = "C:MAIL FROM:<x@a.example>|C:RCPT TO:<y@b.example>\r\nDATA|S:250 ok|S:250 ok|S:354 go on"
	for _, tc := range []struct {
		name   string
		script string // Pieces of lines, without the end of the last.
		last   string // Id of the message that was replied to, with its recipients.
		open   string // Likewise, if there is no reply.
	}{
		{"nothing was sent", "S:220 hello|C:EHLO a.example|S:250-b.example\r\n250 HELP", "", ""},
		{"before the end", envelope + "|C:Subject: sim-1-2|C:..", "", ""},
		{"at the end", envelope + "|C:Subject: sim-1-2|C:.", "", "sim-1-2 y@b.example"},
		{"accepted", envelope + "|C:Subject: sim-1-2\r\n.|S:250 taken", "sim-1-2 y@b.example", ""},
		{"refused at the end", envelope + "|C:Subject: sim-1-2|C:.|S:550 no", "sim-1-2 y@b.example", ""},
		{"refused before the end", envelope + "|C:Subject: sim-1-2|S:451 stopping", "", ""},
		{"the second message", envelope + "|C:Subject: sim-1-2|C:.|S:250 taken|" + strings.ReplaceAll(envelope, "y@", "z@") + "|C:sim-1-3|C:.", "sim-1-2 y@b.example", "sim-1-3 z@b.example"},
	} {
		var tk talk
		total := int64(0)
		for _, piece := range strings.Split(tc.script, "|") {
			text := []byte(piece[2:] + "\r\n")
			if piece[0] == 'C' {
				tk.fromClient(text)
				continue
			}
			total += int64(len(text))
			tk.fromServer(text, total)
			tk.readUpTo(total)
		}
		if got := tell(tk.last); got != tc.last {
			t.Errorf("%s: replied to %q, want %q", tc.name, got, tc.last)
		}
		if got := tell(tk.unanswered()); got != tc.open {
			t.Errorf("%s: no reply to %q, want %q", tc.name, got, tc.open)
		}
	}
}

func tell(tx *transaction) string {
	if tx == nil {
		return ""
	}
	return strings.Join(append([]string{tx.id}, tx.rcpts...), " ")
}

// TestNetwork has each kind of mishap happen to a connection.
func TestNetwork(t *testing.T) {
	t.Parallel()
	address := netip.MustParseAddrPort("192.0.2.1:25")
	for _, tc := range []struct {
		name   string
		mishap mishap
		after  int
		read   string // By the server.
		err    error  // Of the server, after it.
	}{
		{"none", noMishap, 0, "hello world", os.ErrDeadlineExceeded},
		{"breaks", breaks, 5, "", syscall.ECONNRESET},
		{"falls silent", fallsMute, 5, "", os.ErrDeadlineExceeded},
		{"falls silent later, before anything was read", fallsMute, 8, "", os.ErrDeadlineExceeded},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(1, newLedger())
			server := &process{}
			ln, err := n.listen(server, address.String())
			if err != nil {
				t.Fatal(err)
			}
			c, err := n.dial(t.Context(), &process{}, address.String(), netip.Addr{})
			if err != nil {
				t.Fatal(err)
			}
			s, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			l := c.(*end).link
			l.mishap, l.after = tc.mishap, tc.after
			for _, text := range []string{"hello ", "world"} {
				_, err = c.Write([]byte(text))
				if err != nil && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s: writing: got %v", tc.name, err)
				}
			}
			if err := s.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(s)
			if string(got) != tc.read || !errors.Is(err, tc.err) {
				t.Errorf("%s: got %q, %v, want %q, %v", tc.name, got, err, tc.read, tc.err)
			}
			n.kill(server)
			if _, err := n.dial(t.Context(), nil, address.String(), netip.Addr{}); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: after a kill: got %v", tc.name, err)
			}
			n.setWeather(address.Addr(), dark)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := n.dial(ctx, &process{}, address.String(), netip.Addr{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: in the dark: got %v", tc.name, err)
			}
		})
	}
}

// TestImage copies a directory with a file that has holes.
func TestImage(t *testing.T) {
	t.Parallel()
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	if err := os.MkdirAll(filepath.Join(from, "sub", "empty"), 0o750); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(from, "sub", "holes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 1 << 20, 3 << 20} {
		if _, err := f.WriteAt([]byte("data"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(8<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	if err := takeImage(from, to); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(from, "sub", "holes"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(to, "sub", "holes"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v, want the %d of the original", len(got), err, len(want))
	}
	entries, err := os.ReadDir(filepath.Join(to, "sub"))
	if err != nil || !slices.EqualFunc(entries, []string{"empty", "holes"}, func(e os.DirEntry, name string) bool { return e.Name() == name }) {
		t.Errorf("got %v, %v", entries, err)
	}
}
