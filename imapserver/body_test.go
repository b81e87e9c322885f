package imapserver

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLargeBodies fetches a message that is larger than all buffers, in plain
// text, where it goes by sendfile, and under TLS.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	decoded := make([]byte, 3<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range decoded {
		decoded[i] = byte(r.Uint32())
	}
	var text strings.Builder
	text.WriteString("Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	for line := decoded; len(line) > 0; line = line[min(57, len(line)):] {
		text.WriteString(base64.StdEncoding.EncodeToString(line[:min(57, len(line))]) + "\r\n")
	}
	for name, setup := range map[string]map[string]string{"plain": {}, "TLS": {"implicit": ""}} {
		e := newEnv(t, setup)
		addr := e.listen()
		e.appendMessage("Inbox", text.String())
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if name == "TLS" {
			nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
		}
		c := newClient(t, nc)
		c.line()
		c.ok("LOGIN mox %s", password)
		c.ok("EXAMINE INBOX")
		if got := c.section(1, ""); string(got) != text.String() {
			t.Errorf("%s: got %d bytes of %d", name, len(got), text.Len())
		}
		if got := c.binary("BINARY.PEEK[1]"); !bytes.Equal(got, decoded) {
			t.Errorf("%s: got %d decoded bytes of %d", name, len(got), len(decoded))
		}
		if got := c.binary("BINARY.PEEK[1]<1000000.1500000>"); !bytes.Equal(got, decoded[1000000:2500000]) {
			t.Errorf("%s: got %d decoded bytes of a range", name, len(got))
		}
		if got := c.ok("FETCH 1 BINARY.SIZE[1]"); got[0] != "1 FETCH (BINARY.SIZE[1] 3145728)" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestNULs: bytes of value 0 are sent by BINARY only, also of what is larger than all
// buffers.
func TestNULs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, nil)
	defer e.stop()
	e.start()
	c := newClient(t, e.dialLogin())
	for i, n := range []int{0, 1000, 200_000} {
		text := "Subject: \x00\r\n\r\n\x00\x00" + strings.Repeat("a line\r\n", n/8) + "\x00end\x00"
		want := strings.ReplaceAll(text, "\x00", "\x80")
		e.appendMessage("Inbox", text)
		c.ok("EXAMINE INBOX")
		for section, want := range map[string]string{"": want, "TEXT": want[14:], "HEADER": want[:14], "HEADER.FIELDS (SUBJECT)": want[:14]} {
			if got := c.section(i+1, section); string(got) != want {
				t.Errorf("%d bytes, %s: got %.30q and %d more", n, section, got, len(got)-30)
			}
		}
		if got := c.ok("FETCH %d BINARY.PEEK[]", i+1); !strings.HasSuffix(got[0], "\x00end\x00)") {
			t.Errorf("%d bytes: BINARY ends with %q", n, got[0][len(got[0])-10:])
		}
	}
}

// binary returns what BINARY gives for the first message.
func (c *client) binary(item string) []byte {
	c.t.Helper()
	lines := c.ok("FETCH 1 %s", item)
	_, rest, _ := strings.Cut(lines[0], "\r\n")
	return []byte(strings.TrimSuffix(rest, ")"))
}

// TestDamagedFile checks that a message file that is cut or gone costs neither
// the connection nor other messages.
func TestDamagedFile(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "3"})
	defer e.stop()
	e.start()
	files, err := filepath.Glob(filepath.Join(e.dir, "accounts/mox/msg/*/*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("%q, %v", files, err)
	}
	if err := os.Chmod(files[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(files[0], 10); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(files[1], files[1]+".gone"); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, e.dialLogin())
	c.ok("SELECT INBOX")
	untagged, reply := c.command("FETCH 1:* (UID BODY[TEXT])")
	if len(untagged) != 2 || !strings.Contains(untagged[0], "Body 3.") || !strings.HasPrefix(reply, "NO [SERVERBUG]") {
		t.Errorf("got %q, %s", untagged, reply)
	}
	if got := c.ok("FETCH 1:* (FLAGS ENVELOPE)"); len(got) != 3 || strings.Contains(got[0], `\Seen`) || !strings.Contains(got[2], `\Seen`) {
		t.Errorf("got %q", got)
	}
	if err := os.Rename(files[1]+".gone", files[1]); err != nil {
		t.Fatal(err)
	}
}
