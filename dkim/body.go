package dkim

import (
	"crypto/sha1" //nolint:gosec // For signing, if it is configured.
	"crypto/sha256"
	"hash"
	"io"
)

// bodyKind is a way to hash a body.
type bodyKind struct {
	hash    string // "sha256" or "sha1".
	length  int64  // Of what is signed, -1 for all.
	relaxed bool
}

// bodyHashes hashes a body in several ways while it is written, each once. Close
// ends the body.
type bodyHashes struct {
	hashes map[bodyKind]*prefixHash
	canons []canonicalBody
}

func newBodyHashes(kinds []bodyKind) *bodyHashes {
	b := &bodyHashes{hashes: map[bodyKind]*prefixHash{}}
	var simple, relaxed sinks
	for _, k := range kinds {
		if b.hashes[k] != nil {
			continue
		}
		h := &prefixHash{newHash(k.hash), k.length}
		b.hashes[k] = h
		if k.relaxed {
			relaxed = append(relaxed, h)
		} else {
			simple = append(simple, h)
		}
	}
	if simple != nil {
		b.canons = append(b.canons, &simpleBody{held{out: simple}})
	}
	if relaxed != nil {
		b.canons = append(b.canons, &relaxedBody{held: held{out: relaxed}})
	}
	return b
}

// newHash returns a hash by the name it has in algorithms.
func newHash(name string) hash.Hash {
	if name == "sha1" {
		return sha1.New() //nolint:gosec // If it is configured.
	}
	return sha256.New()
}

// Write implements io.Writer. It never fails.
func (b *bodyHashes) Write(p []byte) (int, error) {
	for _, c := range b.canons {
		_, _ = c.Write(p)
	}
	return len(p), nil
}

// Close ends the body.
func (b *bodyHashes) Close() {
	for _, c := range b.canons {
		c.Close()
	}
}

// sum returns a hash, and the number of bytes that were missing for it.
func (b *bodyHashes) sum(k bodyKind) (sum []byte, missing int64) {
	h := b.hashes[k]
	return h.Sum(nil), max(h.left, 0)
}

// copyBody writes a body that is to be read.
func copyBody(w io.Writer, body *io.SectionReader) error {
	const bufferMax = 64 << 10 // Bytes.
	buffer := make([]byte, max(1, min(body.Size(), bufferMax)))
	// Without the methods of the two by which io.CopyBuffer would do without the buffer.
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, buffer)
	return err
}
