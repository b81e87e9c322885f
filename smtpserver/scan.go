package smtpserver

import "bytes"

// scanState is what the bytes before mean for the next one.
type scanState uint8

const (
	lineStart scanState = iota // CRLF, or nothing yet.
	inLine
	afterCR     // A CR, not yet followed.
	afterDot    // A dot at the start of a line, not yet followed.
	afterDotCR  // Such a dot and a CR.
	scanStopped // The end was seen.
)

// dataScanner takes apart what follows DATA: dots are unstuffed (RFC 5321,
// section 4.5.2), and the message ends at CRLF.CRLF and nowhere else. A CR or
// LF that comes alone is noted: some server behind us, or the one before,
// might take it for the end of a line and see another end of the message.
// The zero value is at the begin.
type dataScanner struct {
	state scanState
	bare  bool // A CR or LF came alone. The text is no longer exact.
}

// next takes n bytes of p, at least one, and returns the message's bytes in
// them. Done means that the message has ended behind these.
func (d *dataScanner) next(p []byte) (text []byte, n int, done bool) {
	start := 0
	for i := 0; i < len(p); {
		switch d.state {
		case lineStart:
			if p[i] == '.' {
				d.state = afterDot
				return p[start:i], i + 1, false
			}
			d.state = inLine
		case afterDot:
			if p[i] == '\r' {
				d.state = afterDotCR
				i++
				start = i
				continue
			}
			d.state = inLine
		case afterDotCR:
			if p[i] == '\n' {
				d.state = scanStopped
				return nil, i + 1, true
			}
			d.bare = true
			d.state = inLine
		case afterCR:
			if p[i] == '\n' {
				d.state = lineStart
				i++
				continue
			}
			d.bare = true
			d.state = inLine
		case inLine:
			i += d.line(p[i:])
		default:
			return nil, 0, true
		}
	}
	return p[start:], len(p), false
}

// line takes the rest of a line through its CR, or all of p.
func (d *dataScanner) line(p []byte) int {
	n := len(p)
	if i := bytes.IndexByte(p, '\r'); i >= 0 {
		n = i + 1
		d.state = afterCR
	}
	if bytes.IndexByte(p[:n], '\n') >= 0 {
		d.bare = true
	}
	return n
}

// lineChecker looks for a CR or LF that comes alone in what follows BDAT. The
// zero value is at the begin.
type lineChecker struct {
	cr   bool // The last byte was CR.
	bare bool
}

// check looks at the next bytes.
func (c *lineChecker) check(p []byte) {
	for len(p) > 0 && !c.bare {
		if c.cr {
			c.bare = p[0] != '\n'
			c.cr = false
			p = p[1:]
			continue
		}
		i := bytes.IndexByte(p, '\r')
		line := p
		if i >= 0 {
			line, p = p[:i], p[i+1:]
			c.cr = true
		} else {
			p = nil
		}
		c.bare = c.bare || bytes.IndexByte(line, '\n') >= 0
	}
}

// end looks at what the message ends with.
func (c *lineChecker) end() { c.bare = c.bare || c.cr }
