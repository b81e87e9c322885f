package sasl

import (
	"crypto"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"
)

// SCRAMUser is what a SCRAM server needs to know of a user. All of a user's
// passwords have the same salt and iterations, since the client is told them
// before it shows which password it has.
//
// Without Keys the exchange goes on as for anybody, and fails at the proof. The
// salt then must be the same each time, as that of a user is.
type SCRAMUser struct {
	Salt       []byte
	Iterations int
	Keys       []SCRAMKeys // By password.
}

// SCRAMServer is the server's side of SCRAM, RFC 5802 and RFC 7677. Its fields
// are set before the first Next, but those of the result.
type SCRAMServer struct {
	Hash crypto.Hash // SHA1 or SHA256.
	Plus bool        // With channel binding.
	Rand io.Reader

	// Channel is the TLS connection, nil for none.
	Channel *Channel

	// PlusOffered means the variant with channel binding is announced. A client
	// that could use it and was told otherwise by somebody in between is refused.
	PlusOffered bool

	// Lookup returns what is known of a user. Its error ends the exchange.
	Lookup func(username string) (SCRAMUser, error)

	Username string // Set when Lookup is called. As sent, without preparation.
	Password int    // Index in Keys, set when done.

	step   int
	user   SCRAMUser
	first  clientFirst
	nonce  string // Of both sides.
	answer string // server-first-message.
}

// Name returns the registered name.
func (s *SCRAMServer) Name() string { return scramName(s.Hash, s.Plus) }

// Next takes the client's two messages. Done comes with the server's own proof,
// which the client waits for.
func (s *SCRAMServer) Next(resp []byte) (challenge []byte, done bool, err error) {
	if resp == nil {
		return []byte{}, false, nil
	}
	s.step++
	switch s.step {
	case 1:
		challenge, err = s.begin(string(resp))
		return challenge, false, err
	case 2:
		challenge, err = s.finish(string(resp))
		return challenge, err == nil, err
	}
	return nil, false, errors.New("sasl: exchange is over")
}

func (s *SCRAMServer) begin(message string) (challenge []byte, err error) {
	if s.first, err = parseClientFirst(message); err != nil {
		return nil, err
	}
	if err := s.checkFlag(); err != nil {
		return nil, err
	}
	if a := s.first.authorize; a != "" && a != s.first.username {
		return nil, ErrAuthorization
	}
	own, err := newNonce(s.Rand)
	if err != nil {
		return nil, err
	}
	s.Username = s.first.username
	if s.user, err = s.Lookup(s.Username); err != nil {
		return nil, err
	}
	s.nonce = s.first.nonce + own
	s.answer = serverFirst{s.nonce, s.user.Salt, s.user.Iterations}.format()
	return []byte(s.answer), nil
}

// checkFlag compares the mechanism with what the client says of channel binding,
// RFC 5802, section 6.
func (s *SCRAMServer) checkFlag() error {
	switch flag := s.first.flag; {
	case s.Plus != (flag == 'p'):
		return fmt.Errorf("%w: flag %q with %s", ErrChannelBinding, flag, s.Name())
	case flag == 'y' && s.PlusOffered:
		return fmt.Errorf("%w: client was not told that we can", ErrChannelBinding)
	case flag == 'p':
		_, err := s.Channel.Binding(s.first.binding)
		return err
	}
	return nil
}

func (s *SCRAMServer) finish(message string) (challenge []byte, err error) {
	final, err := parseClientFinal(message)
	if err != nil {
		return nil, err
	}
	if final.nonce != s.nonce {
		return nil, fmt.Errorf("%w: nonce is not that of this exchange", ErrMessage)
	}
	if len(final.proof) != s.Hash.Size() {
		return nil, fmt.Errorf("%w: proof of %d bytes", ErrMessage, len(final.proof))
	}
	want := []byte(s.first.gs2)
	if s.Plus {
		data, err := s.Channel.Binding(s.first.binding)
		if err != nil {
			return nil, err
		}
		want = append(want, data...)
	}
	if subtle.ConstantTimeCompare(final.binding, want) != 1 {
		return nil, ErrChannelBinding
	}
	return s.prove(strings.Join([]string{s.first.bare, s.answer, final.withoutProof}, ","), final.proof)
}

// prove looks for the password that the client has, and shows that we know it
// too. It compares with each, so that time doesn't tell which it was.
func (s *SCRAMServer) prove(authMessage string, proof []byte) ([]byte, error) {
	keys, found := s.user.Keys, -1
	if len(keys) == 0 {
		nobody := make([]byte, s.Hash.Size())
		keys = []SCRAMKeys{{nobody, nobody}}
	}
	for i, k := range keys {
		client := xor(proof, mac(s.Hash, k.Stored, authMessage))
		same := subtle.ConstantTimeCompare(digest(s.Hash, client), k.Stored)
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 || len(s.user.Keys) == 0 {
		return nil, ErrProof
	}
	s.Password = found
	return []byte("v=" + encode(mac(s.Hash, keys[found].Server, authMessage))), nil
}
