package dkim

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"golang.org/x/net/publicsuffix"
)

// Kind is a header field that is a signature.
type Kind int

// The kinds.
const (
	// DKIMSignature is a DKIM-Signature, RFC 6376, section 3.5.
	DKIMSignature Kind = iota

	// ARCMessageSignature has no version, and the number of an instance in place of
	// an identity: RFC 8617, section 4.1.2.
	ARCMessageSignature

	// ARCSeal moreover says nothing of body and header: RFC 8617, section 4.1.3.
	ARCSeal
)

// ParseSignature parses a header field, with its name and line breaks. Errors wrap
// ErrSyntax, ErrVersion or ErrCanon. What is well written need not be acceptable.
func ParseSignature(field []byte, kind Kind) (*Signature, error) {
	_, value, _ := bytes.Cut(field, []byte(":"))
	tags, err := ParseTags(strings.TrimRight(string(value), "\r\n"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	if version, ok := tags.Get("v"); kind == DKIMSignature && ok && version != "1" {
		return nil, fmt.Errorf("%w: %q", ErrVersion, shorten(version))
	}
	s := &Signature{Length: -1, tags: tags, raw: field}
	r := &reader{tags: tags}
	s.readCommon(r)
	switch kind {
	case DKIMSignature:
		r.required("v")
		s.readMessage(r)
		s.readIdentity(r)
	case ARCMessageSignature:
		s.readMessage(r)
	case ARCSeal:
		s.Canon = Canonicalization{HeaderRelaxed: true}
	}
	if r.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, r.err)
	}
	if err := s.checkCanon(kind); err != nil {
		return nil, err
	}
	return s, nil
}

// Tag returns the value of a tag.
func (s *Signature) Tag(name string) (string, bool) { return s.tags.Get(name) }

// readCommon reads what all kinds have.
func (s *Signature) readCommon(r *reader) {
	s.Algorithm = r.required("a")
	s.Signature = r.base64("b")
	var err error
	if s.Domain, err = dns.ParseDomain(r.required("d")); err != nil {
		r.fail("tag d: %w", err)
	}
	if s.Selector, err = ParseSelector(r.required("s")); err != nil {
		r.fail("tag s: %w", err)
	}
	s.Time = r.time("t")
}

// readMessage reads what is said of body and header.
func (s *Signature) readMessage(r *reader) {
	s.BodyHash = r.base64("bh")
	s.Length = r.number("l")
	s.Expires = r.time("x")
	if s.Headers = r.list("h"); s.Headers == nil {
		r.fail("no signed header fields")
	}
	s.queries = r.list("q")
	if !s.Expires.IsZero() && !s.Time.IsZero() && !s.Expires.After(s.Time) {
		r.fail("expired before it was made")
	}
}

func (s *Signature) readIdentity(r *reader) {
	if _, ok := r.tags.Get("i"); !ok {
		s.Identity, s.identityDomain = "@"+s.Domain.Name(), s.Domain
		return
	}
	s.Identity = r.quotedPrintable("i")
	at := strings.LastIndexByte(s.Identity, '@')
	var err error
	if s.identityDomain, err = dns.ParseDomain(s.Identity[at+1:]); at < 0 || err != nil {
		r.fail("tag i: %q is not an identity", shorten(s.Identity))
	}
}

// ParseSelector parses a selector to A-labels in lower case. Unlike names of
// domains it may have underscores, and its last label may be a number.
func ParseSelector(s string) (string, error) {
	lower := strings.ToLower(s)
	if strings.ContainsFunc(lower, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	}) {
		const suffix = ".x"
		d, err := dns.ParseDomain(s + suffix)
		return strings.TrimSuffix(d.ASCII, suffix), err
	}
	return lower, dns.CheckName(lower + "._domainkey.")
}

// checkCanon reads the canonicalisation, of which there may be new ones.
func (s *Signature) checkCanon(kind Kind) error {
	c, ok := s.tags.Get("c")
	if !ok || kind == ARCSeal {
		return nil
	}
	header, body, ok := strings.Cut(c, "/")
	if !ok {
		body = "simple" // RFC 6376, section 3.5.
	}
	var errHeader, errBody error
	s.Canon.HeaderRelaxed, errHeader = isRelaxed(header)
	s.Canon.BodyRelaxed, errBody = isRelaxed(body)
	if errHeader != nil || errBody != nil {
		return fmt.Errorf("%w: %q", ErrCanon, shorten(c))
	}
	return nil
}

func isRelaxed(name string) (bool, error) {
	switch strings.ToLower(name) {
	case "simple":
		return false, nil
	case "relaxed":
		return true, nil
	}
	return false, ErrCanon
}

// CheckAlgorithm returns ErrAlgorithm unless s has one that we verify. Sha1 is not
// among them: RFC 8301, section 3.1.
func (s *Signature) CheckAlgorithm() error {
	switch s.Algorithm {
	case "rsa-sha256", "ed25519-sha256":
		return nil
	}
	return fmt.Errorf("%w: %q", ErrAlgorithm, shorten(s.Algorithm))
}

// check returns why the signature of a message can't be used, whatever its key is.
func (s *Signature) check(now time.Time) error {
	if err := s.CheckAlgorithm(); err != nil {
		return err
	}
	switch suffix, icann := publicsuffix.PublicSuffix(s.Domain.ASCII); {
	case !s.Signs("From"):
		return ErrFrom
	case s.queries != nil && !slices.ContainsFunc(s.queries, func(q string) bool { return strings.EqualFold(q, "dns/txt") }):
		return ErrQuery
	case s.identityDomain != s.Domain && !strings.HasSuffix(s.identityDomain.ASCII, "."+s.Domain.ASCII):
		return fmt.Errorf("%w: %q", ErrIdentity, shorten(s.Identity))
	case !s.Expires.IsZero() && now.After(s.Expires):
		return fmt.Errorf("%w at %s", ErrExpired, s.Expires.Format(time.RFC3339))
	case suffix == s.Domain.ASCII && icann:
		// The suffixes of companies, such as those of hosting, are not meant: the
		// company itself may send from there.
		return fmt.Errorf("%w: %s", ErrSuffix, suffix)
	}
	return nil
}

// Signs tells whether a field is signed.
func (s *Signature) Signs(name string) bool {
	return slices.ContainsFunc(s.Headers, func(h string) bool { return strings.EqualFold(h, name) })
}

// covers tells whether all fields with a name are signed, of which more than one
// would be shown to readers instead of the signed one (RFC 6376, section 8.15).
func (s *Signature) covers(m *Message, name string) bool {
	n := 0
	for _, h := range s.Headers {
		if strings.EqualFold(h, name) {
			n++
		}
	}
	return n >= len(m.Fields(name))
}

// DefaultPolicy returns why a signature is not acceptable to careful receivers: it
// leaves a part of the body to anyone (RFC 6376, section 8.2), or what readers see
// first.
func DefaultPolicy(s *Signature) error {
	switch {
	case s.Length >= 0:
		return fmt.Errorf("%w: only %d bytes of the body are signed", ErrPolicy, s.Length)
	case !s.Signs("From") || !s.Signs("Subject"):
		return fmt.Errorf("%w: From and Subject are not both signed", ErrPolicy)
	}
	return nil
}

// withoutSignature returns the field without the value of its b tag and the white
// space around that, and without the last line break: so it is hashed (RFC 6376,
// section 3.7).
func withoutSignature(field []byte) []byte {
	field = bytes.TrimSuffix(field, []byte("\r\n"))
	start := bytes.IndexByte(field, ':') + 1
	for start < len(field) {
		end := len(field)
		if i := bytes.IndexByte(field[start:], ';'); i >= 0 {
			end = start + i
		}
		name, _, _ := bytes.Cut(field[start:end], []byte("="))
		if string(bytes.Trim(name, " \t\r\n")) == "b" {
			return slices.Concat(field[:start+len(name)+1], field[end:])
		}
		start = end + 1
	}
	return field
}
