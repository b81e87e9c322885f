package sasl

import (
	"crypto"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/secure/precis"
)

// SCRAMClient is the client's side of SCRAM, RFC 5802 and RFC 7677. It learns
// whether the server knows the password, and gives away nothing of it but the
// means to guess.
type SCRAMClient struct {
	Hash     crypto.Hash // SHA1 or SHA256.
	Plus     bool        // With channel binding.
	Rand     io.Reader
	Username string
	Password string

	// Channel is the TLS connection, nil for none.
	Channel *Channel

	// PlusOffered means the server announced the variant with channel binding.
	PlusOffered bool

	step        int
	gs2         string
	bare        string // client-first-message-bare.
	nonce       string
	authMessage string
	server      []byte // ServerKey.
}

// Name returns the registered name.
func (c *SCRAMClient) Name() string { return scramName(c.Hash, c.Plus) }

// Next returns the two messages, and then checks the server's proof. Done before
// that is impossible: a server that says nothing more has not proved anything.
func (c *SCRAMClient) Next(challenge []byte) (resp []byte, done bool, err error) {
	c.step++
	switch c.step {
	case 1:
		resp, err = c.begin()
		return resp, false, err
	case 2:
		resp, err = c.prove(string(challenge))
		return resp, false, err
	case 3:
		if err := c.check(string(challenge)); err != nil {
			return nil, false, err
		}
		return []byte{}, true, nil
	}
	return nil, false, errors.New("sasl: exchange is over")
}

func (c *SCRAMClient) begin() (resp []byte, err error) {
	if c.nonce, err = newNonce(c.Rand); err != nil {
		return nil, err
	}
	binding := c.Channel.best()
	switch {
	case c.Plus && binding == "":
		return nil, fmt.Errorf("%w: none to use", ErrChannelBinding)
	case c.Plus:
		c.gs2 = "p=" + binding + ",,"
	case binding != "" && !c.PlusOffered:
		c.gs2 = "y,,"
	default:
		c.gs2 = "n,,"
	}
	c.bare = "n=" + nameEncoder.Replace(c.Username) + ",r=" + c.nonce
	return []byte(c.gs2 + c.bare), nil
}

func (c *SCRAMClient) prove(challenge string) (resp []byte, err error) {
	first, err := parseServerFirst(challenge)
	switch {
	case err != nil:
		return nil, err
	case len(first.nonce) <= len(c.nonce) || !strings.HasPrefix(first.nonce, c.nonce):
		return nil, fmt.Errorf("%w: server's nonce is not ours with more", ErrMessage)
	case first.iterations < SCRAMIterationsMin || first.iterations > SCRAMIterationsMax:
		return nil, fmt.Errorf("%w: %d iterations, not within %d and %d", ErrMessage, first.iterations, SCRAMIterationsMin, SCRAMIterationsMax)
	}
	input := []byte(c.gs2)
	if c.Plus {
		data, err := c.Channel.Binding(c.Channel.best())
		if err != nil {
			return nil, err
		}
		input = append(input, data...)
	}
	client, server, err := saltedKeys(c.Hash, prepare(c.Password), first.salt, first.iterations)
	if err != nil {
		return nil, err
	}
	withoutProof := "c=" + encode(input) + ",r=" + first.nonce
	c.server = server
	c.authMessage = c.bare + "," + challenge + "," + withoutProof
	proof := xor(client, mac(c.Hash, digest(c.Hash, client), c.authMessage))
	return []byte(withoutProof + ",p=" + encode(proof)), nil
}

// check verifies the server's signature.
func (c *SCRAMClient) check(challenge string) error {
	signature, err := parseServerFinal(challenge)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(signature, mac(c.Hash, c.server, c.authMessage)) != 1 {
		return ErrProof
	}
	return nil
}

// prepare returns the form of a password that the server has derived its keys
// from, as far as we can tell (RFC 8265, section 4.2). What can't be prepared is
// taken as it is: there are servers that don't prepare either.
func prepare(password string) string {
	if p, err := precis.OpaqueString.String(password); err == nil {
		return p
	}
	return password
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
