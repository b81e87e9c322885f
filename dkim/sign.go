package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/smtp"
)

// Selector is a key to sign with, and how.
type Selector struct {
	Name       string // As ParseSelector returns it.
	Key        crypto.Signer
	Hash       string // "sha256", or "sha1", which hardly anyone accepts.
	Canon      Canonicalization
	Headers    []string      // Names of fields to sign, with From. Nil: DefaultHeaders.
	DontSeal   bool          // Don't sign each name once more than it occurs.
	Expiration time.Duration // From signing on. Zero: for ever.
}

// DefaultHeaders returns the fields that are signed if nothing else is said: those
// that tell readers and programs who writes to whom about what.
func DefaultHeaders() []string {
	return strings.Fields("From To Cc Bcc Reply-To References In-Reply-To Subject Date Message-Id Content-Type")
}

// SignOptions is what there is to say about a message besides its content.
type SignOptions struct {
	Author    smtp.Address // Of the From field: its domain signs.
	Selectors []Selector
	Now       time.Time
	SMTPUTF8  bool // The message needs it, so that signatures may have UTF-8.
}

// Signer signs a message that passes by: its body is written to it, and then it
// makes the header fields. It keeps nothing of the body. A Signer is for one
// message.
type Signer struct {
	opts SignOptions
	body *bodyHashes
}

// NewSigner returns a Signer.
func NewSigner(opts SignOptions) *Signer {
	var kinds []bodyKind
	for _, sel := range opts.Selectors {
		kinds = append(kinds, sel.bodyKind())
	}
	return &Signer{opts, newBodyHashes(kinds)}
}

func (sel *Selector) bodyKind() bodyKind {
	return bodyKind{hash: sel.Hash, length: -1, relaxed: sel.Canon.BodyRelaxed}
}

// Write takes a piece of the body. It never fails.
func (s *Signer) Write(p []byte) (int, error) { return s.body.Write(p) }

// Sign ends the body, and returns a DKIM-Signature field for each selector, to be
// put in front of the header section it is given. It may be called once.
func (s *Signer) Sign(header []byte) ([]byte, error) {
	s.body.Close()
	all, err := newFields(header)
	if err != nil {
		return nil, err
	}
	if n := len(all.all("From")); n != 1 {
		return nil, fmt.Errorf("%w: there are %d", ErrFrom, n)
	}
	var out []byte
	for _, sel := range s.opts.Selectors {
		field, err := s.sign(sel, all)
		if err != nil {
			return nil, fmt.Errorf("signing for %s with selector %s: %w", s.opts.Author.Domain, sel.Name, err)
		}
		out = append(out, field...)
	}
	return out, nil
}

// Sign signs a message that can be read, of size bytes. See Signer.
func Sign(r io.ReaderAt, size int64, opts SignOptions) ([]byte, error) {
	header, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	s := NewSigner(opts)
	if err := copyBody(s, io.NewSectionReader(r, int64(len(header)), size-int64(len(header)))); err != nil {
		return nil, fmt.Errorf("reading body: %w", err)
	}
	return s.Sign(header)
}

// sign returns the field for one selector.
func (s *Signer) sign(sel Selector, all fields) ([]byte, error) {
	typ, opts, err := sel.algorithm()
	if err != nil {
		return nil, err
	}
	names := sel.names(all)
	if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, "From") }) {
		return nil, ErrFrom
	}
	unsigned := s.field(sel, typ+"-"+sel.Hash, names, nil)
	h := newHash(sel.Hash)
	var b []byte
	all.signed(names, nil, func(field []byte) {
		b = appendField(b[:0], field, sel.Canon.HeaderRelaxed)
		_, _ = h.Write(b)
	})
	b = appendField(b[:0], withoutSignature(unsigned), sel.Canon.HeaderRelaxed)
	_, _ = h.Write(b[:len(b)-len(crlf)])
	// Neither PKCS #1 nor Ed25519 takes chance into a signature.
	signature, err := sel.Key.Sign(nil, h.Sum(nil), opts)
	if err != nil {
		return nil, err
	}
	return s.field(sel, typ+"-"+sel.Hash, names, signature), nil
}

// algorithm returns the type of the key, and how it signs.
func (sel *Selector) algorithm() (typ string, opts crypto.SignerOpts, err error) {
	switch key := sel.Key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < KeyBitsMin {
			return "", nil, fmt.Errorf("%w: %d bits", ErrKeySize, bits)
		}
		switch sel.Hash {
		case "sha1":
			return "rsa", crypto.SHA1, nil
		case "sha256":
			return "rsa", crypto.SHA256, nil
		}
	case ed25519.PrivateKey:
		if sel.Hash == "sha256" {
			return "ed25519", crypto.Hash(0), nil // What it signs is the hash: RFC 8463, section 3.
		}
	}
	return "", nil, fmt.Errorf("%w: %T with %q", ErrAlgorithm, sel.Key, sel.Hash)
}

// names returns the names of the fields to sign: each as often as there are such
// fields, and once more, so that none can be added.
func (sel *Selector) names(all fields) (names []string) {
	headers := sel.Headers
	if len(headers) == 0 {
		headers = DefaultHeaders()
	}
	done := map[string]bool{}
	for _, name := range headers {
		lower := strings.ToLower(name)
		if done[lower] {
			continue
		}
		done[lower] = true
		n := len(all.all(name))
		if !sel.DontSeal {
			n++
		}
		names = append(names, slices.Repeat([]string{name}, n)...)
	}
	return names
}

// field returns a DKIM-Signature field. What comes before the signature is the same
// with and without it.
func (s *Signer) field(sel Selector, algorithm string, names []string, signature []byte) []byte {
	const chunk = 70 // Characters of base64 on a line.
	utf8 := s.opts.SMTPUTF8
	domain, now := s.opts.Author.Domain.XName(utf8), s.opts.Now
	body, _ := s.body.sum(sel.bodyKind())
	var w message.HeaderWriter
	w.Field("DKIM-Signature")
	w.Add("v=1;", "a="+algorithm+";", "c="+sel.Canon.String()+";", "d="+domain+";", "s="+sel.selectorName(utf8)+";")
	w.Add("i="+s.identity(domain)+";", "t="+strconv.FormatInt(now.Unix(), 10)+";")
	if sel.Expiration > 0 {
		w.Add("x=" + strconv.FormatInt(now.Add(sel.Expiration).Unix(), 10) + ";")
	}
	for i, name := range names {
		if i == 0 {
			name = "h=" + name
		}
		w.Add(name + separator(names, i))
	}
	w.Add("bh="+base64.StdEncoding.EncodeToString(body)+";", "b=")
	for text := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(signature)), chunk) {
		w.Add(string(text))
	}
	return w.Bytes()
}

// separator returns what follows the name at i.
func separator(names []string, i int) string {
	if i == len(names)-1 {
		return ";"
	}
	return ":"
}

// identity returns who has signed: the author, unless that can't be written here.
func (s *Signer) identity(domain string) string {
	if l := s.opts.Author.Localpart; s.opts.SMTPUTF8 || l.IsASCII() {
		return string(appendQuoted(nil, l.String(), s.opts.SMTPUTF8)) + "@" + domain
	}
	return "@" + domain
}

// selectorName returns the name in the form that the message may have.
func (sel *Selector) selectorName(utf8 bool) string {
	const suffix = ".x"
	if d, err := dns.ParseDomain(sel.Name + suffix); utf8 && err == nil {
		return strings.TrimSuffix(d.Name(), suffix)
	}
	return sel.Name
}
