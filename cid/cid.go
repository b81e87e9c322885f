// Package cid numbers connections, and makes the numbers opaque for replies.
//
// Every line of the log about a connection has its number, in hex. Every reply
// that refuses something ends with the same number, encrypted: a user can quote
// it to the administrator, who finds the log with "mox cid", and nobody else
// learns how busy the server is. The package does no input or output; package
// system keeps the key, the servers and the command use it.
package cid

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ErrOpaque means that a text was not made by Seal with this key.
var ErrOpaque = errors.New("cid: not an id of this server")

// Key makes connection ids opaque: 16 bytes of AES key, then 8 bytes that mark
// the blocks encrypted with it. It is the content of the file receivedid.key.
type Key [24]byte

// NewKey makes a key from random bytes of r.
func NewKey(r io.Reader) (Key, error) {
	var k Key
	if _, err := io.ReadFull(r, k[:]); err != nil {
		return Key{}, fmt.Errorf("making key for connection ids: %w", err)
	}
	return k, nil
}

// ParseKey returns the key stored as b.
func ParseKey(b []byte) (Key, error) {
	if len(b) != len(Key{}) {
		return Key{}, fmt.Errorf("key for connection ids has %d bytes, want %d", len(b), len(Key{}))
	}
	return Key(b), nil
}

// Seal returns the opaque form of cid: 22 letters, digits, "-" and "_". The
// same cid has the same form, so that all replies of a connection can be
// compared.
func (k Key) Seal(cid int64) string {
	// One block under a key that is used for nothing else, and its mark, which
	// a guessed text decrypts to once in 2^64 tries.
	var block [aes.BlockSize]byte
	copy(block[:8], k[16:])
	binary.BigEndian.PutUint64(block[8:], uint64(cid))
	c, err := aes.NewCipher(k[:16])
	if err != nil {
		return "" // Not for keys of 16 bytes.
	}
	c.Encrypt(block[:], block[:])
	return base64.RawURLEncoding.EncodeToString(block[:])
}

// Open returns the cid that Seal made s of, or ErrOpaque.
func (k Key) Open(s string) (int64, error) {
	block, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if strings.ContainsAny(s, "\r\n") { // Which the decoder passes over.
		return 0, ErrOpaque
	}
	if err != nil || len(block) != aes.BlockSize {
		return 0, ErrOpaque
	}
	c, err := aes.NewCipher(k[:16])
	if err != nil {
		return 0, err
	}
	c.Decrypt(block, block)
	if subtle.ConstantTimeCompare(block[:8], k[16:]) != 1 {
		return 0, ErrOpaque
	}
	return int64(binary.BigEndian.Uint64(block[8:])), nil
}

// Format returns cid as the log has it.
func Format(cid int64) string { return strconv.FormatInt(cid, 16) }

// Counter gives out connection ids. It is safe for concurrent use.
type Counter struct{ last atomic.Int64 }

// NewCounter returns a Counter that begins with the time in microseconds, so
// that ids don't repeat after a restart unless more than a million connections
// were made per second.
func NewCounter(now time.Time) *Counter {
	c := &Counter{}
	c.last.Store(now.UnixMicro())
	return c
}

// Next returns an id that was not given out before.
func (c *Counter) Next() int64 { return c.last.Add(1) }
