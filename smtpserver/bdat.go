package smtpserver

import (
	"context"
	"errors"
	"time"

	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/smtp"
)

// chunks is a message that comes by BDAT.
type chunks struct {
	spool *receive.Spool
	lines lineChecker
	start time.Time
	err   error // What the transaction has failed with: only RSET ends that.
}

// bdat receives a chunk, RFC 3030, section 2. Its bytes are read whatever the
// reply will be, since they are on their way.
func (s *session) bdat(ctx context.Context, args string) (reply, error) {
	chunk, err := smtp.ParseBDAT(args, s.parseOptions())
	if err != nil {
		// Where the next command begins is not known.
		return reply{}, closing(err)
	}
	err = s.beginChunk()
	if rerr := s.readChunk(chunk.Size, err == nil); rerr != nil {
		return reply{}, rerr
	}
	if err == nil && chunk.Last {
		s.chunk.lines.end()
	}
	if err == nil {
		if err = s.chunk.problem(); err != nil {
			s.refusedMessage(err)
		}
	}
	switch {
	case err != nil:
		return reply{}, err
	case chunk.Last:
		return s.lastChunk(ctx)
	}
	return reply{code: smtp.CodeOK, enhanced: "2.0.0", text: "chunk received"}, nil
}

// beginChunk returns why a chunk can't be taken.
func (s *session) beginChunk() error {
	if s.peer.Hello.Text == "" {
		return smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "EHLO comes first")
	}
	if err := s.ready(); err != nil {
		return err
	}
	if s.chunk == nil {
		s.chunk = &chunks{spool: s.server.opts.Receiver.NewSpool(s.tx.size()), start: time.Now()}
	}
	if s.chunk.err != nil {
		return smtp.Errorf(smtp.CodeBadSequence, smtp.DetailBadCommand, "the message was refused already, RSET comes first")
	}
	return nil
}

// problem returns why the message is refused, once.
func (k *chunks) problem() error {
	if k.err == nil && k.lines.bare {
		k.err = errBare
	}
	return k.err
}

// readChunk reads the bytes of a chunk, and keeps them unless the message is
// refused.
func (s *session) readChunk(size int64, keep bool) error {
	c := s.wire
	c.wait, c.until = commandWait, time.Now().Add(dataWait)
	if keep {
		c.until = s.chunk.start.Add(dataWait)
		if size > s.listener.MessageSizeMax-s.chunk.spool.Size() {
			s.chunk.err = s.tooLarge()
			keep = false
		}
	}
	if !keep && size > drainMax {
		return closing(s.tooLarge())
	}
	for left := size; left > 0; {
		p, err := c.r.Chunk()
		if err != nil {
			return timeoutError(err)
		}
		p = p[:min(int64(len(p)), left)]
		if keep {
			s.chunk.take(p)
		}
		left -= int64(len(p))
		if err := c.r.Discard(len(p)); err != nil {
			return err
		}
	}
	return nil
}

// take keeps bytes of a chunk.
func (k *chunks) take(p []byte) {
	if k.err != nil {
		return
	}
	k.lines.check(p)
	if _, err := k.spool.Write(p); err != nil {
		k.err = diskError(err)
	}
}

// lastChunk delivers the message.
func (s *session) lastChunk(ctx context.Context) (reply, error) {
	text, err := s.deliver(ctx, s.chunk.spool)
	if err != nil {
		// Until RSET: other chunks may be on their way already.
		s.bad++
		s.chunk.err = err
		return reply{}, errors.Join(err, s.chunk.spool.Close())
	}
	return s.delivered(ctx, text)
}
