package smtpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// sendData sends the content after DATA was accepted, and takes in what the server
// says to it. Without a reply that it has the message, it has none.
func (tx *transaction) sendData() error {
	start := time.Now()
	if err := tx.c.unasked("DATA"); err != nil {
		return err
	}
	err := tx.withContent(func(content *contentReader) error {
		dots := dotWriter{w: tx.c.wire.w, start: true}
		for {
			block, err := content.block(blockSize)
			if err == nil {
				err = dots.write(block)
			} else if errors.Is(err, io.EOF) {
				return dots.close()
			}
			if err != nil {
				return err
			}
		}
	})
	if errors.Is(err, ErrContent) {
		// There is no way to take back what was sent, other than not to end it.
		tx.c.broken = true
		return err
	}
	return tx.finish("DATA", ".", start, err)
}

// sendNothing sends an empty message to a server that wants one for nobody.
func (tx *transaction) sendNothing() error {
	start := time.Now()
	_, _ = tx.c.wire.w.WriteString(".\r\n") // An error is found when the reply is read.
	_, err := tx.c.reply(".", tx.c.opts.Timeouts.DataDone, start)
	return err
}

// sendChunks sends the content by BDAT, RFC 3030, section 2.
func (tx *transaction) sendChunks() error {
	return tx.withContent(func(content *contentReader) error {
		for left := tx.t.Size; ; {
			size := min(left, chunkSize)
			left -= size
			start := time.Now()
			if err := tx.c.unasked("BDAT"); err != nil {
				return err
			}
			err := tx.sendChunk(content, size, left == 0)
			if errors.Is(err, ErrContent) {
				tx.c.broken = true // The server waits for the rest of the chunk.
				return err
			}
			if left == 0 {
				return tx.finish("BDAT", "BDAT", start, err)
			}
			if err := tx.chunkReply(start, err); err != nil {
				return err
			}
		}
	})
}

// chunkReply takes in the reply to a chunk that was not the last. Err is why not
// all of it could be sent.
func (tx *transaction) chunkReply(start time.Time, err error) error {
	c := tx.c
	rep, rerr := c.reply("BDAT", c.opts.Timeouts.DataBlock, start)
	if rerr != nil {
		return rerr
	}
	c.broken = c.broken || err != nil
	if refusal := c.want(rep, "BDAT", 2); refusal != nil || err == nil {
		return refusal
	}
	return c.wire.lost(err)
}

// sendChunk sends size bytes of the content.
func (tx *transaction) sendChunk(content *contentReader, size int64, last bool) error {
	line := "BDAT " + strconv.FormatInt(size, 10)
	if last {
		line += " LAST"
	}
	if err := tx.c.sendLine(line); err != nil {
		return err
	}
	for size > 0 {
		block, err := content.block(int(min(size, blockSize)))
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it has become shorter", ErrContent) // After the check of block: not reached.
		} else if err != nil {
			return err
		}
		size -= int64(len(block))
		if _, err := tx.c.wire.w.Write(block); err != nil {
			return err
		}
	}
	return nil
}

// finish takes in the reply to the whole message, unless err says that not all of
// it could be sent: then the server may still have said why.
func (tx *transaction) finish(command, observed string, start time.Time, err error) error {
	c := tx.c
	if err == nil {
		err = c.wire.w.Flush()
	}
	tx.result.MaybeSent = err == nil
	rep, rerr := c.reply(observed, c.opts.Timeouts.DataDone, start)
	switch {
	case rerr != nil:
		return rerr
	case rep.class() >= 4:
		tx.result.MaybeSent = false
		tx.result.Reply = rep.text()
		c.broken = c.broken || err != nil
		return rep.refusal(command)
	case err != nil:
		c.broken = true
		return c.wire.lost(err) // It can't have taken what it did not get.
	}
	if err := c.want(rep, command, 2); err != nil {
		return err
	}
	tx.result.MaybeSent = false
	tx.result.Reply = rep.text()
	c.dirty = false
	return nil
}

// withContent opens the content for fn.
func (tx *transaction) withContent(fn func(*contentReader) error) error {
	r, err := tx.t.Content()
	if err != nil {
		tx.c.broken = true
		return fmt.Errorf("%w: opening: %w", ErrContent, err)
	}
	err = fn(&contentReader{r: r, size: tx.t.Size, buf: make([]byte, blockSize)})
	_ = r.Close() // All that was sent was read well.
	return err
}

// contentReader reads content, and checks that it is what it should be: who reads a
// bare CR or LF as a line end would see another message in it, and other commands
// behind it.
type contentReader struct {
	r    io.Reader
	size int64 // What it should have. Zero: unknown.
	buf  []byte

	n     int64 // Bytes read.
	cr    bool  // The last one was a CR.
	ended bool
}

// block returns the next bytes, at most max, which are valid until the next call,
// or io.EOF. The last block of a content of known size is returned only when it is
// certain that nothing follows, so that one that has changed never gets sent as a
// whole. Other errors are ErrContent.
func (k *contentReader) block(max int) ([]byte, error) {
	if k.ended {
		return nil, io.EOF
	}
	n, err := io.ReadFull(k.r, k.buf[:max])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		k.ended = true
	} else if err != nil {
		return nil, fmt.Errorf("%w: reading: %w", ErrContent, err)
	}
	k.n += int64(n)
	if k.size > 0 && k.n == k.size && !k.ended {
		var more [1]byte
		m, err := io.ReadFull(k.r, more[:])
		if m == 0 && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: reading: %w", ErrContent, err)
		}
		k.n += int64(m)
		k.ended = true
	}
	if k.size > 0 && (k.n > k.size || k.ended && k.n != k.size) {
		return nil, fmt.Errorf("%w: not %d bytes, as it should", ErrContent, k.size)
	}
	block := k.buf[:n]
	if err := k.checkLineEnds(block); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	return block, nil
}

func (k *contentReader) checkLineEnds(block []byte) error {
	for rest := block; len(rest) > 0; {
		if k.cr {
			if rest[0] != '\n' {
				return fmt.Errorf("%w: CR without LF", ErrContent)
			}
			k.cr, rest = false, rest[1:]
			continue
		}
		lf := bytes.IndexByte(rest, '\n')
		line := rest
		if lf >= 0 {
			line = rest[:lf]
		}
		cr := bytes.IndexByte(line, '\r')
		switch {
		case cr >= 0 && cr < len(line)-1:
			return fmt.Errorf("%w: CR without LF", ErrContent)
		case cr < 0 && lf >= 0:
			return fmt.Errorf("%w: LF without CR", ErrContent)
		case lf < 0:
			k.cr = cr >= 0
			rest = nil
		default:
			rest = rest[lf+1:]
		}
	}
	if k.cr && k.ended {
		return fmt.Errorf("%w: CR without LF at the end", ErrContent)
	}
	return nil
}

// dotWriter writes content as DATA wants it, RFC 5321, section 4.5.2.
type dotWriter struct {
	w     io.Writer
	start bool // At the beginning of a line.
}

func (d *dotWriter) write(p []byte) error {
	for len(p) > 0 {
		if d.start && p[0] == '.' {
			if _, err := d.w.Write([]byte(".")); err != nil {
				return err
			}
		}
		// What needs no dot goes in one write.
		n := len(p)
		if i := bytes.Index(p, []byte("\n.")); i >= 0 {
			n = i + 1
		}
		if _, err := d.w.Write(p[:n]); err != nil {
			return err
		}
		d.start = p[n-1] == '\n'
		p = p[n:]
	}
	return nil
}

// close writes the end of the message.
func (d *dotWriter) close() error {
	end := ".\r\n"
	if !d.start {
		end = "\r\n.\r\n"
	}
	_, err := d.w.Write([]byte(end))
	return err
}
