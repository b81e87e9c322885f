package imapserver

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/mjl-/mox/deflate"
	"github.com/mjl-/mox/imap"
)

// compressRequest is a parsed COMPRESS.
type compressRequest struct{ mechanism string } // In upper case.

// parseCompress parses the arguments of COMPRESS, RFC 4978, section 5:
//
//	compress = "COMPRESS" SP algorithm
func parseCompress(d *imap.Decoder) (req compressRequest) {
	d.SP()
	req.mechanism = d.Word()
	return req
}

// compress answers COMPRESS (RFC 4978, section 3). It is for those who have logged
// in: what they did that with was not compressed, so that its size tells nothing.
func (s *session) compress(_ context.Context, _ command, req compressRequest) (imap.Response, error) {
	c, ok := s.conn.Conn.(*compressedConn)
	switch {
	case req.mechanism != "DEFLATE":
		return imap.Response{}, imap.Bad("unknown compression %+q", req.mechanism)
	case ok && c.out != nil:
		return imap.Response{}, imap.No("COMPRESSIONACTIVE", "DEFLATE is active already")
	}
	s.afterReply = s.startCompression
	return imap.OK("", "DEFLATE active"), nil
}

// startCompression compresses all that follows. What came in after the command is
// taken as the beginning of the client's stream.
func (s *session) startCompression(context.Context) error {
	early := make([]byte, s.in.Buffered())
	if _, err := io.ReadFull(s.in, early); err != nil {
		return err
	}
	s.in.Release()
	c, ok := s.conn.Conn.(*compressedConn)
	if !ok {
		c = &compressedConn{Conn: s.conn.Conn, shared: &s.server.compression}
		s.conn.Conn = c
	}
	c.start(early)
	s.log.Debug("compression")
	return nil
}

// endCompression ends it, if there is any, after UNAUTHENTICATE (RFC 8437, section
// 4.1): ours behind the reply, the client's behind the command.
func (s *session) endCompression(context.Context) error {
	c, ok := s.conn.Conn.(*compressedConn)
	if !ok || c.out == nil {
		return nil
	}
	if s.in.Buffered() > 0 {
		return imap.Bye("CLIENTBUG", "compression ends with UNAUTHENTICATE")
	}
	c.end()
	return nil
}

const (
	// rawIdle is the size in bytes of the buffer in which a connection waits for
	// compressed bytes. Most commands fit.
	rawIdle = 64

	// rawMax is how much is read at once, in bytes, of a client that sends more.
	rawMax = 16 << 10
)

// compression is what the compressed connections of a server share.
type compression struct {
	deflate.Compressors
	raw sync.Pool // Of *[rawMax]byte.
}

// errCompressed is for a client that sends what is not compressed.
var errCompressed = imap.Bye("CLIENTBUG", "compressed data is broken")

// compressedConn is a connection, in plain text or with TLS, that is compressed while
// out is not nil. It reads rawMax bytes ahead, and decompresses no more than it is
// asked for: limits of lines and literals hold for what comes out, so that a stream
// that grows a lot is of no use to anybody.
//
// Reads and writes can come from one goroutine each at a time.
type compressedConn struct {
	net.Conn
	shared *compression
	out    *deflate.Deflater
	in     *deflate.Inflater // Nil when the client's stream has ended.

	ending bool          // The client ends its stream behind what was read of it.
	raw    []byte        // Read, and not decompressed yet.
	buf    *[rawMax]byte // Nil, or where raw is.
	idle   [rawIdle]byte
}

// start begins both streams. Early is what was read of the client's.
func (c *compressedConn) start(early []byte) {
	c.out, c.in, c.ending, c.raw = deflate.NewDeflater(&c.shared.Compressors), &deflate.Inflater{}, false, append(early, c.raw...)
}

// end ends them: ours here, and the client's when a flush or its last block has come.
func (c *compressedConn) end() { c.out, c.ending = nil, true }

// Read returns what can be decompressed of what is there, and waits only if that is
// nothing.
func (c *compressedConn) Read(p []byte) (int, error) {
	for c.in != nil && len(p) > 0 {
		if c.ending && c.in.Flushed() && len(c.raw) > 0 && c.raw[0] > ' ' {
			c.in = nil // A command: no block begins so. Many end their stream with an empty one behind the flush.
			break
		}
		n, used, err := c.in.Inflate(p, c.raw)
		c.raw = c.raw[used:]
		switch {
		case n > 0 && c.ending:
			return 0, errCompressed // There is nothing more to say in this stream.
		case n > 0:
			return n, nil // An error comes again.
		case errors.Is(err, io.EOF) && c.ending:
			c.in = nil
		case errors.Is(err, io.EOF):
			return 0, io.EOF
		case err != nil:
			return 0, errCompressed
		case len(c.raw) == 0:
			if err := c.fill(len(p)); err != nil {
				return 0, err
			}
		}
	}
	if len(c.raw) > 0 {
		n := copy(p, c.raw)
		c.raw = c.raw[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// fill reads compressed bytes when there are none left. Who wants a single byte waits
// for the next command, which should need no buffer.
func (c *compressedConn) fill(wanted int) error {
	to := c.idle[:]
	if wanted == 1 {
		c.release()
	} else {
		if c.buf == nil {
			var ok bool
			if c.buf, ok = c.shared.raw.Get().(*[rawMax]byte); !ok {
				c.buf = new([rawMax]byte)
			}
		}
		to = c.buf[:]
	}
	n, err := c.Conn.Read(to)
	c.raw = to[:n]
	if n > 0 {
		return nil // An error comes again.
	}
	return err
}

// release gives the buffer back, in which there must be nothing.
func (c *compressedConn) release() {
	if c.buf != nil {
		c.shared.raw.Put(c.buf)
		c.buf = nil
	}
}

// Write writes p so that the client can decompress all of it.
func (c *compressedConn) Write(p []byte) (int, error) {
	if c.out == nil {
		return c.Conn.Write(p)
	}
	buf := c.shared.Buffer()
	defer c.shared.PutBuffer(buf)
	written := 0
	for written < len(p) {
		piece := p[written:min(len(p), written+deflate.PieceMax)]
		*buf = c.out.Append((*buf)[:0], piece)
		if _, err := c.Conn.Write(*buf); err != nil {
			return written, err
		}
		written += len(piece)
	}
	return written, nil
}
