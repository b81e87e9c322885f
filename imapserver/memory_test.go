package imapserver

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// TestHostileMemory measures what sessions hold whose clients hold on to as much as
// they can. Each bound is a few times what is to be expected, and far below what it
// would be without the limit that the case is about.
func TestHostileMemory(t *testing.T) { //nolint:paralleltest // It measures the heap.
	e := newEnv(t, map[string]string{"inbox": "3"})
	defer e.stop()
	e.appendMessage("Inbox", bigMessage(4<<20))
	e.start()
	const k = 1 << 10
	literals := "a1 SELECT" + strings.Repeat(fmt.Sprintf(" {%d+}\r\n%s", literalMax, strings.Repeat("x", literalMax)), literalsMax/literalMax)
	stream := zippedText(t, strings.Repeat("a1 NOOP "+strings.Repeat("x", 7*k)+"\r\n", 6))
	line := zippedText(t, "a1 NOOP\r\n")
	for _, tc := range []struct {
		name  string
		login bool
		do    func(t *testing.T, c *client)
		most  int // Bytes for a session.
	}{
		{"that is idle", true, func(*testing.T, *client) {}, 48 * k},
		{"with a line that does not end", true, func(_ *testing.T, c *client) { c.send("%s", "a1 "+strings.Repeat("x", lineMax-10)) }, 64 * k},
		{"with all literals that a command can have", true, func(_ *testing.T, c *client) { c.send("%s", literals) }, 4 * literalsMax},
		{"with a literal before login", false, func(_ *testing.T, c *client) {
			c.send("a1 LOGIN {%d+}\r\n%s", preauthLiteralMax, strings.Repeat("x", preauthLiteralMax))
		}, 96 * k},
		{"that does not read a large body", true, func(_ *testing.T, c *client) {
			c.ok("SELECT INBOX")
			c.send("a1 FETCH 4 BODY.PEEK[]\r\n")
			c.until("* 4 FETCH")
		}, 1024 * k},
		{"that does not read as many items as there can be", true, func(_ *testing.T, c *client) {
			c.ok("SELECT INBOX")
			c.send("a1 FETCH 1:3 (%s)\r\n", strings.TrimSpace(strings.Repeat("BODY[] ", 200)))
			c.line()
		}, 1024 * k},
		{"that is compressed and idle", true, func(t *testing.T, c *client) {
			c.ok("COMPRESS DEFLATE")
			go func() { _, _ = io.Copy(io.Discard, c.nc) }()
			if _, err := c.nc.Write(line); err != nil {
				t.Error(err)
			}
		}, 48 * k},
		{"that is compressed and idle, with a full window", true, func(t *testing.T, c *client) {
			c.ok("COMPRESS DEFLATE")
			go func() { _, _ = io.Copy(io.Discard, c.nc) }() // Until it is closed.
			if _, err := c.nc.Write(stream); err != nil {
				t.Error(err)
			}
		}, 160 * k},
		{"that does not read, compressed", true, func(t *testing.T, c *client) {
			c.ok("SELECT INBOX")
			c.ok("COMPRESS DEFLATE")
			c = newClient(t, newZipped(t, c.nc, 0))
			c.send("a1 FETCH 4 BODY.PEEK[]\r\n")
			c.until("* 4 FETCH")
		}, 1024 * k},
	} {
		t.Run(tc.name, func(t *testing.T) { //nolint:paralleltest // As above.
			each := 0
			for range 5 { // What else happens in the process is measured too, but not each time.
				if each = e.measure(t, tc.login, tc.do); each <= tc.most {
					return
				}
			}
			t.Errorf("a session holds %d bytes, want at most %d", each, tc.most)
		})
	}
}

// measure returns how many bytes a session holds after do.
func (e *env) measure(t *testing.T, login bool, do func(*testing.T, *client)) int {
	const n = 20
	conns := make([]net.Conn, 0, n+1)
	run := func() {
		nc := e.dial()
		conns = append(conns, nc)
		c := newClient(t, nc)
		c.line()
		if login {
			c.ok("LOGIN mox %s", password)
		}
		do(t, c)
	}
	run() // Fills pools, and makes what is made at first use.
	before := heapBytes()
	for range n {
		run()
	}
	each := (heapBytes() - before) / n
	for _, nc := range conns {
		_ = nc.Close() // The session ends.
	}
	e.server.EndAccount("mox") // Waits for that.
	return each
}

// heapBytes returns what is in use.
func heapBytes() int {
	runtime.GC()
	runtime.GC() // The second empties pools.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// zippedText compresses text as one stream that is flushed.
func zippedText(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.HuffmanOnly)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSearchSets measures what a search holds that names all of a large mailbox as
// often as it can.
func TestSearchSets(t *testing.T) { //nolint:paralleltest // It measures the heap.
	const messages, keys = 200_000, 900
	uids := make([]store.UID, messages)
	for i := range uids {
		uids[i] = store.UID(2*i + 1)
	}
	set := imap.NumSet{Ranges: []imap.NumRange{{First: 1, Last: 5}, {First: 7, Last: messages}, {First: messages + 3, Last: messages + 9}}}
	before := heapBytes()
	var all [][]imap.NumRange
	for range keys {
		all = append(all, rangesOfNumbers(set.Resolve(messages), uids))
	}
	if held := heapBytes() - before; held > 1<<20 {
		t.Errorf("%d sets hold %d bytes", keys, held)
	}
	got := all[keys-1]
	if len(got) != 2 || got[0] != (imap.NumRange{First: 1, Last: 9}) || got[1] != (imap.NumRange{First: 13, Last: 2*messages - 1}) {
		t.Errorf("got %v", got)
	}
	runtime.KeepAlive(uids)
}
