package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mjl-/mox/store"
)

const (
	// verifiedTime is how long a successful check is remembered. Mail programs
	// open several connections at a time and come back every few minutes.
	verifiedTime = 15 * time.Minute

	// verifiedMax bounds how many are remembered, at about 100 bytes each.
	verifiedMax = 10_000
)

// verified remembers which passwords were found right, so that not each
// connection costs a hash. It holds no passwords: of each only a code made with
// a key that exists in this process alone. The code covers the stored hash too,
// so that it means nothing once the password was changed.
type verified struct {
	key []byte

	mu    sync.Mutex
	until map[[sha256.Size]byte]time.Time
}

func newVerified(random io.Reader) (*verified, error) {
	key := make([]byte, sha256.Size)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fmt.Errorf("making key for verified passwords: %w", err)
	}
	return &verified{key: key, until: map[[sha256.Size]byte]time.Time{}}, nil
}

func (v *verified) code(c store.Credential, prepared string) (code [sha256.Size]byte) {
	m := hmac.New(sha256.New, v.key)
	var size [8]byte
	for _, field := range [][]byte{c.Argon2id.Salt, c.Argon2id.Hash, []byte(prepared)} {
		binary.BigEndian.PutUint64(size[:], uint64(len(field)))
		m.Write(size[:])
		m.Write(field)
	}
	m.Sum(code[:0])
	return code
}

// has tells whether the password was found to be that of the credential lately.
func (v *verified) has(c store.Credential, prepared string) bool {
	code := v.code(c, prepared)
	v.mu.Lock()
	defer v.mu.Unlock()
	until, ok := v.until[code]
	return ok && time.Now().Before(until)
}

// add remembers that the password is that of the credential.
func (v *verified) add(c store.Credential, prepared string) {
	code, now := v.code(c, prepared), time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.until) >= verifiedMax {
		for code, until := range v.until {
			if !now.Before(until) {
				delete(v.until, code)
			}
		}
	}
	if len(v.until) < verifiedMax {
		v.until[code] = now.Add(verifiedTime)
	}
}
