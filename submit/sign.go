package submit

import (
	"bytes"
	"io"

	"github.com/mjl-/mox/dkim"
)

// signing signs a message that is read for the queue, in that one reading: the
// header is in memory, and the body passes by. Nil signs nothing.
type signing struct {
	header []byte
	signer *dkim.Signer
}

// newSigning returns how the message is signed, for the domain of its author.
func (m *submission) newSigning() *signing {
	selectors := m.c.Signing(m.author.Domain)
	if len(selectors) == 0 {
		return nil
	}
	opts := dkim.SignOptions{Author: m.author, Selectors: selectors, Now: m.now, SMTPUTF8: m.utf8}
	return &signing{m.content.head, dkim.NewSigner(opts)}
}

// tee returns the message, to be read once and to its end.
func (s *signing) tee(m *spliced) io.Reader {
	if s == nil {
		return io.NewSectionReader(m, 0, m.size)
	}
	start := int64(len(m.head))
	return io.MultiReader(bytes.NewReader(m.head), io.TeeReader(io.NewSectionReader(m, start, m.size-start), s.signer))
}

// finish returns the signatures, when all was read.
func (s *signing) finish() ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	return s.signer.Sign(s.header)
}
