package sim

import (
	"bytes"
	"regexp"
	"strings"
)

// headMax bounds what is kept of a message to find its id.
const headMax = 16 << 10

// transaction is a message sent from one server to another, as the network sees it.
type transaction struct {
	from  *node
	id    string // Of the message, empty if it has none.
	rcpts []string
	ok    bool // The server said 250 to its end.

	// Guarded by the mutex of the ledger.
	read bool // The client has read that.
	gone bool // The client doesn't know whether the server has the message.
}

// talk follows an SMTP conversation in plain text. It belongs to a link.
type talk struct {
	from   *node
	line   []byte // Of the client, incomplete.
	reply  []byte // Of the server, likewise.
	rcpts  []string
	inData bool
	head   []byte
	tail   []byte
	ended  *transaction // Its end was written, and has no reply.
	end    int64        // Bytes of the server up to the reply, 0 before.
	last   *transaction // The last that was replied to.
}

var idPattern = regexp.MustCompile(`sim-[0-9]+-[0-9]+`)

// fromClient takes what the client writes.
func (t *talk) fromClient(b []byte) {
	if t.inData {
		t.content(b)
		return
	}
	t.line = append(t.line, b...)
	for {
		line, rest, ok := bytes.Cut(t.line, []byte("\r\n"))
		if !ok {
			return
		}
		t.command(string(line))
		t.line = rest
	}
}

// command looks at a command for the envelope.
func (t *talk) command(line string) {
	upper := strings.ToUpper(line)
	switch {
	case strings.HasPrefix(upper, "MAIL FROM:"):
		t.rcpts = nil
	case strings.HasPrefix(upper, "RCPT TO:<"):
		addr, _, _ := strings.Cut(line[len("RCPT TO:<"):], ">")
		t.rcpts = append(t.rcpts, addr)
	}
}

// content looks at a message for its id and its end.
func (t *talk) content(b []byte) {
	if room := headMax - len(t.head); room > 0 {
		t.head = append(t.head, b[:min(room, len(b))]...)
	}
	t.tail = append(t.tail, b...)
	t.tail = t.tail[max(0, len(t.tail)-5):]
	if !bytes.HasSuffix(t.tail, []byte("\r\n.\r\n")) {
		return
	}
	t.inData = false
	t.ended = &transaction{from: t.from, id: string(idPattern.Find(t.head)), rcpts: t.rcpts}
	t.end = 0
}

// fromServer takes what the server writes, up to byte total of it all. It returns
// true if that is the 250 to the end of a message.
func (t *talk) fromServer(b []byte, total int64) (ok bool) {
	t.reply = append(t.reply, b...)
	for {
		line, rest, whole := bytes.Cut(t.reply, []byte("\r\n"))
		if !whole {
			return ok
		}
		t.reply = rest
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		switch {
		case bytes.HasPrefix(line, []byte("354")):
			t.inData, t.head, t.tail = true, nil, []byte("\r\n")
		case t.ended != nil && t.end == 0:
			t.end = total
			t.ended.ok = line[0] == '2'
			ok = t.ended.ok
		case t.inData:
			t.inData = false // Refused before its end.
		}
	}
}

// readUpTo is told how much the client has read. It returns true if that has the
// reply to the end of a message.
func (t *talk) readUpTo(n int64) bool {
	if t.ended == nil || t.end == 0 || n < t.end {
		return false
	}
	t.last, t.ended = t.ended, nil
	return true
}

// unanswered returns, once, the transaction whose end has no reply that was read,
// unless the server has refused it.
func (t *talk) unanswered() *transaction {
	tx := t.ended
	t.ended = nil
	if tx != nil && t.end > 0 && !tx.ok {
		return nil
	}
	return tx
}
