package dkim

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	"github.com/mjl-/mox/message"
)

const (
	// headerSizeMax bounds the header section in bytes. Beyond 1 MiB the sender is
	// not sending mail.
	headerSizeMax = 1 << 20

	// headerFirst is how much is read at first to find the end of the header, in
	// bytes. Most are smaller.
	headerFirst = 16 << 10

	// fieldsMax bounds the fields of a header. Long relay chains have hundreds.
	fieldsMax = 10_000
)

// Message is a message whose signatures are to be verified: its header in memory,
// and its body where it is. It is not safe for concurrent use.
type Message struct {
	header fields
	body   *io.SectionReader
}

// ReadMessage reads the header of a message of size bytes. The error is one of
// reading, or ErrHeader.
func ReadMessage(r io.ReaderAt, size int64) (*Message, error) {
	raw, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	header, err := newFields(raw)
	if err != nil {
		return nil, err
	}
	return &Message{header, io.NewSectionReader(r, int64(len(raw)), size-int64(len(raw)))}, nil
}

// readHeader returns the header section with its blank line.
func readHeader(r io.ReaderAt, size int64) ([]byte, error) {
	for n := int64(headerFirst); ; n *= 4 {
		n = min(n, size, headerSizeMax+1)
		raw := make([]byte, n)
		if got, err := r.ReadAt(raw, 0); got < len(raw) {
			return nil, fmt.Errorf("reading header: %w", err)
		}
		header := message.NewHeader(raw).Raw()
		switch {
		case len(header) > headerSizeMax:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrHeader, headerSizeMax)
		case int64(len(header)) < n || n == size:
			return header, nil
		}
	}
}

// Fields returns the fields with a name, in any case, in order. Each is whole, with
// its line breaks. They must not be changed.
func (m *Message) Fields(name string) [][]byte { return m.header.all(name) }

// fields is a header section, to find fields by name in lower case.
type fields map[string][][]byte

func newFields(raw []byte) (fields, error) {
	header, n := fields{}, 0
	for f := range message.NewHeader(raw).Fields() {
		if n++; n > fieldsMax {
			return nil, fmt.Errorf("%w: more than %d fields", ErrHeader, fieldsMax)
		}
		name := strings.ToLower(f.Name)
		header[name] = append(header[name], f.Raw)
	}
	return header, nil
}

func (f fields) all(name string) [][]byte { return f[strings.ToLower(name)] }

// signed yields the fields that are signed, in order: of those with the same name
// the last one first, and none for a name that is listed more often than there are
// fields (RFC 6376, section 5.4.2). Own is left out, the field of the signature itself.
func (f fields) signed(names []string, own []byte, yield func(field []byte)) {
	used := map[string]int{}
	for _, name := range names {
		name = strings.ToLower(name)
		all := f[name]
		i := len(all) - 1 - used[name]
		if i >= 0 && isSame(all[i], own) {
			used[name]++
			i--
		}
		if i >= 0 {
			used[name]++
			yield(all[i])
		}
	}
}

// isSame tells whether two slices are of the same memory.
func isSame(a, b []byte) bool { return len(a) > 0 && len(b) > 0 && &a[0] == &b[0] }

// bodyKind returns how the body is hashed for s.
func (s *Signature) bodyKind() bodyKind {
	return bodyKind{hash: "sha256", length: s.Length, relaxed: s.Canon.BodyRelaxed}
}

// CheckBodies reads the body once, and returns for each signature nil, ErrBody or
// ErrBodyLength. It fails only if reading does.
func (m *Message) CheckBodies(signatures []*Signature) (map[*Signature]error, error) {
	kinds := make([]bodyKind, 0, len(signatures))
	for _, s := range signatures {
		kinds = append(kinds, s.bodyKind())
	}
	checked := map[*Signature]error{}
	if len(signatures) == 0 {
		return checked, nil
	}
	hashes := newBodyHashes(kinds)
	if err := copyBody(hashes, io.NewSectionReader(m.body, 0, m.body.Size())); err != nil {
		return nil, fmt.Errorf("reading body: %w", err)
	}
	hashes.Close()
	for _, s := range signatures {
		switch sum, missing := hashes.sum(s.bodyKind()); {
		case missing > 0:
			checked[s] = fmt.Errorf("%w, by %d bytes", ErrBodyLength, missing)
		case !bytes.Equal(sum, s.BodyHash):
			checked[s] = ErrBody
		default:
			checked[s] = nil
		}
	}
	return checked, nil
}

// CheckHeader returns ErrSignature unless the header is what was signed by the key.
// The key must be one for s, see CheckKey.
func (m *Message) CheckHeader(s *Signature, key *Record) error {
	var signed [][]byte
	m.header.signed(s.Headers, s.raw, func(field []byte) { signed = append(signed, field) })
	return s.CheckFields(signed, key)
}

// CheckFields is CheckHeader for fields that are given, in their order.
func (s *Signature) CheckFields(signed [][]byte, key *Record) error {
	h := sha256.New()
	var b []byte
	for _, field := range signed {
		b = appendField(b[:0], field, s.Canon.HeaderRelaxed)
		_, _ = h.Write(b)
	}
	b = appendField(b[:0], withoutSignature(s.raw), s.Canon.HeaderRelaxed)
	_, _ = h.Write(bytes.TrimSuffix(b, crlf))
	ok := false
	switch public := key.Public.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(public, crypto.SHA256, h.Sum(nil), s.Signature) == nil
	case ed25519.PublicKey:
		ok = ed25519.Verify(public, h.Sum(nil), s.Signature)
	}
	if !ok {
		return ErrSignature
	}
	return nil
}
