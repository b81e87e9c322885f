package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5" // All there is to CRAM-MD5. Nothing else uses it.
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// CRAMMD5Server is the server's side of CRAM-MD5, RFC 2195. Its fields but the
// challenge are set when Next is done.
type CRAMMD5Server struct {
	Challenge string // New for each exchange, in the form of a Message-ID.

	Username string
	Digest   []byte // To be compared with CRAMMD5Digest.
}

// Name returns "CRAM-MD5".
func (s *CRAMMD5Server) Name() string { return CRAMMD5 }

// Next sends the challenge, then takes name and digest. There may be spaces in
// the name: the last one counts.
func (s *CRAMMD5Server) Next(resp []byte) (challenge []byte, done bool, err error) {
	if resp == nil {
		return []byte(s.Challenge), false, nil
	}
	i := bytes.LastIndexByte(resp, ' ')
	if i <= 0 {
		return nil, false, fmt.Errorf("%w: no username, or no digest", ErrMessage)
	}
	if err := checkField(resp[:i]); err != nil {
		return nil, false, err
	}
	digest := make([]byte, md5.Size)
	if n, err := hex.Decode(digest, fit(resp[i+1:], hex.EncodedLen(md5.Size))); err != nil || n != md5.Size {
		return nil, false, fmt.Errorf("%w: digest is not %d bytes in hexadecimal", ErrMessage, md5.Size)
	}
	s.Username, s.Digest = string(resp[:i]), digest
	return nil, true, nil
}

// fit returns b, or nothing if it is not of this size.
func fit(b []byte, size int) []byte {
	if len(b) != size {
		return nil
	}
	return b
}

// CRAMMD5Client is the client's side of CRAM-MD5.
type CRAMMD5Client struct {
	Username string
	Password string // As the server has it: nothing says how to prepare it.
}

// Name returns "CRAM-MD5".
func (c *CRAMMD5Client) Name() string { return CRAMMD5 }

// Next answers the server's challenge.
func (c *CRAMMD5Client) Next(challenge []byte) (resp []byte, done bool, err error) {
	if challenge == nil {
		return nil, false, nil
	}
	m := hmac.New(md5.New, []byte(c.Password))
	m.Write(challenge)
	return []byte(c.Username + " " + hex.EncodeToString(m.Sum(nil))), true, nil
}

// CRAMMD5KeySize is the length in bytes of what CRAMMD5Key returns.
const CRAMMD5KeySize = 2 * md5.Size

// CRAMMD5Key derives what a server keeps of a password: the states of MD5 after
// the inner and the outer pad (RFC 2195, section 3). Who has it can log in with
// CRAM-MD5, but would have to guess for the password.
func CRAMMD5Key(password string) ([]byte, error) {
	block := make([]byte, md5.BlockSize)
	if len(password) > md5.BlockSize {
		sum := md5.Sum([]byte(password))
		copy(block, sum[:])
	} else {
		copy(block, password)
	}
	var key []byte
	for _, pad := range []byte{0x36, 0x5c} {
		h := md5.New()
		padded := bytes.Clone(block)
		for i := range padded {
			padded[i] ^= pad
		}
		h.Write(padded)
		state, err := md5State(h)
		if err != nil {
			return nil, err
		}
		key = append(key, state...)
	}
	return key, nil
}

// CRAMMD5Digest returns what a client with the password of key answers.
func CRAMMD5Digest(key []byte, challenge string) ([]byte, error) {
	if len(key) != CRAMMD5KeySize {
		return nil, fmt.Errorf("CRAM-MD5 key of %d bytes", len(key))
	}
	inner, err := md5From(key[:md5.Size])
	if err != nil {
		return nil, err
	}
	outer, err := md5From(key[md5.Size:])
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(inner, challenge); err != nil {
		return nil, err
	}
	outer.Write(inner.Sum(nil))
	return outer.Sum(nil), nil
}

// Package crypto/md5 can give away and take its state: a mark, the state itself,
// a block that is not full yet, and the number of bytes before.
const md5Mark = "md5\x01"

var errMD5State = errors.New("state of MD5 has another form than expected")

// md5State returns the state of h, which has taken whole blocks.
func md5State(h hash.Hash) ([]byte, error) {
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return nil, errMD5State
	}
	b, err := m.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if len(b) != len(md5Mark)+md5.Size+md5.BlockSize+8 || !bytes.HasPrefix(b, []byte(md5Mark)) {
		return nil, errMD5State
	}
	return b[len(md5Mark):][:md5.Size], nil
}

// md5From returns an MD5 in a state that it had after one block.
func md5From(state []byte) (hash.Hash, error) {
	b := append([]byte(md5Mark), state...)
	b = append(b, make([]byte, md5.BlockSize)...)
	b = binary.BigEndian.AppendUint64(b, md5.BlockSize)
	h := md5.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errMD5State
	}
	return h, u.UnmarshalBinary(b)
}
