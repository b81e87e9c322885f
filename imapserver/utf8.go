package imapserver

import (
	"io"
	"strings"

	"github.com/mjl-/mox/imap"
)

// unwrap takes the end of a message's wrapper from the rest of its line.
func unwrap(lit imap.Literal, line string) (string, error) {
	if !lit.Wrapped {
		return line, nil
	}
	rest, ok := strings.CutPrefix(line, ")")
	if !ok {
		return "", imap.Bad("expected %q behind the message", ")")
	}
	return rest, nil
}

// checkHeader refuses a header with bytes beyond ASCII of a client that has not said
// it knows of UTF-8, as RFC 6855, section 4, wants, if the server is pedantic.
// Otherwise it is taken: those who copy mail from elsewhere would leave out messages
// that we take by SMTP.
func (s *session) checkHeader(h *headerWatch) error {
	if h.high && !s.utf8 && s.server.opts.Pedantic {
		return imap.No("CANNOT", "header has bytes beyond ASCII: ENABLE UTF8=ACCEPT first")
	}
	return nil
}

// headerWatch looks for bytes beyond ASCII in the header of a message that is read
// through it.
type headerWatch struct {
	r    io.Reader
	high bool
	body bool // The header is over.
	line bool // The line has a byte already.
}

func (h *headerWatch) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	for i := 0; i < n && !h.body; i++ {
		switch c := p[i]; {
		case c == '\n':
			h.body, h.line = !h.line, false
		case c >= 0x80:
			h.high, h.line = true, true
		case c != '\r':
			h.line = true
		}
	}
	return n, err
}
