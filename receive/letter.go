package receive

import (
	"fmt"
	"io"
	"slices"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// HeaderSizeMax bounds the header section of a message in bytes. Beyond 1 MiB
// the sender is not sending mail.
const HeaderSizeMax = 1 << 20

// authorsMax is the number of authors that are looked at. Most messages have one.
const authorsMax = 10

// source is what a message is read from.
type source interface {
	Size() int64
	head(n int64) ([]byte, error) // The first n bytes, or all if it has fewer.
	readerAt() io.ReaderAt
}

// letter is what a message says of itself.
type letter struct {
	header   message.Header
	analysis store.Analysis
	author   []smtp.Address // From, in canonical form.
}

// read reads a message once.
func (r *Receiver) read(s source) (l letter, err error) {
	raw, err := s.head(HeaderSizeMax + 1)
	if err != nil {
		return letter{}, err
	}
	if l.analysis, err = store.Analyze(s.readerAt(), s.Size()); err != nil {
		return letter{}, fmt.Errorf("analyzing message: %w", err)
	}
	if !l.analysis.HasHeader {
		return l, nil
	}
	l.header = message.NewHeader(raw)
	if len(l.header.Raw()) > HeaderSizeMax {
		return letter{}, smtp.Errorf(smtp.CodeTooLarge, smtp.DetailMessageTooBig, "header is larger than %d bytes", HeaderSizeMax)
	}
	for i, a := range message.ParseAddressList(l.header.Get("From")) {
		if i == authorsMax {
			break
		}
		domain, err := dns.ParseDomain(a.Host)
		if err == nil {
			l.author = append(l.author, r.opts.Config().Canonical(smtp.Address{Localpart: smtp.Localpart(a.Mailbox), Domain: domain}))
		}
	}
	return l, nil
}

// fence returns what stands between our header fields and a message without
// any, so that its begin does not become a part of ours.
func (l *letter) fence() []byte {
	if l.analysis.HasHeader {
		return nil
	}
	return []byte("\r\n")
}

// fromMember tells whether an author is one of an alias' members.
func (l *letter) fromMember(rcpt *Recipient) bool {
	return slices.ContainsFunc(l.author, func(a smtp.Address) bool { return rcpt.members[a] })
}

// isAuthor tells whether the message is from an address.
func (l *letter) isAuthor(a smtp.Address) bool { return slices.Contains(l.author, a) }
