package screen

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// A token is 4 bytes, of which 4 bits are the version and the rest is the Unix time
// without its lowest 8 bits, and the begin of an HMAC over them and the address.
const (
	passTimeBits = 8
	passTimeSize = 4
	passMACSize  = 12
	passBegin    = "(pass:"

	// passTriesMax bounds the tokens in a subject that are looked at.
	passTriesMax = 10
)

// FormatPass returns a token with which mail from an address gets through, made
// with a key of at least 16 random bytes of the recipient's.
func FormatPass(key []byte, from string, now time.Time) string {
	var b [passTimeSize]byte
	binary.BigEndian.PutUint32(b[:], uint32(now.Unix()>>passTimeBits)&0x0fffffff) // The version is 0.
	return passBegin + base64.RawURLEncoding.EncodeToString(append(b[:], passMAC(key, b[:], from)...)) + ")"
}

// CheckPass tells whether a subject has a token for the address, made with the key
// and not longer ago than the period.
func CheckPass(key []byte, from, subject string, now time.Time, period time.Duration) bool {
	for range passTriesMax {
		_, rest, ok := strings.Cut(subject, passBegin)
		if !ok {
			return false
		}
		token, _, ok := strings.Cut(rest, ")")
		if ok && checkPass(key, from, token, now, period) {
			return true
		}
		subject = rest
	}
	return false
}

func checkPass(key []byte, from, token string, now time.Time, period time.Duration) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) != passTimeSize+passMACSize || b[0]>>4 != 0 {
		return false
	}
	if !hmac.Equal(b[passTimeSize:], passMAC(key, b[:passTimeSize], from)) {
		return false
	}
	made := time.Unix(int64(binary.BigEndian.Uint32(b))<<passTimeBits, 0)
	return !made.After(now) && now.Sub(made) <= period
}

func passMAC(key, begin []byte, from string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(begin)
	h.Write([]byte(from))
	return h.Sum(nil)[:passMACSize]
}
