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

const (
	// authorsMax is the number of authors that are looked at. Most messages have one.
	authorsMax = 10

	// toMax is the number of addresses in To and Cc that are looked at.
	toMax = 1000
)

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
	from     smtp.Address   // The one address in From, as it stands there; zero if there is not exactly one.
	to       []smtp.Address // To and Cc, in canonical form.
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
	authors := message.ParseAddressList(l.header.Get("From"))
	l.author = r.canonical(authors, authorsMax)
	if len(authors) == 1 && l.header.Count("From") == 1 {
		l.from, _ = parseAddress(authors[0])
	}
	for _, name := range []string{"To", "Cc"} {
		for _, value := range l.header.Values(name) {
			l.to = append(l.to, r.canonical(message.ParseAddressList(value), toMax-len(l.to))...)
		}
	}
	return l, nil
}

// canonical returns the first addresses of a list, at most limit, in canonical form.
func (r *Receiver) canonical(list []message.Address, limit int) (addresses []smtp.Address) {
	for _, a := range list[:min(len(list), max(limit, 0))] {
		if address, ok := parseAddress(a); ok {
			addresses = append(addresses, r.opts.Config().Canonical(address))
		}
	}
	return addresses
}

// parseAddress returns an address of a header field, if its domain is one.
func parseAddress(a message.Address) (smtp.Address, bool) {
	domain, err := dns.ParseDomain(a.Host)
	if err != nil || a.Mailbox == "" {
		return smtp.Address{}, false
	}
	return smtp.Address{Localpart: smtp.Localpart(a.Mailbox), Domain: domain}, true
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
