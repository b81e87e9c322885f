package sasl

import (
	"crypto"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ClientOptions is what a client knows when it chooses a mechanism.
type ClientOptions struct {
	Username string
	Password string
	Rand     io.Reader

	// Channel is the TLS connection, nil for none.
	Channel *Channel

	// Certificate means the client has shown a TLS certificate, with which it can
	// use EXTERNAL.
	Certificate bool
}

// Choose returns a client for the first of the wanted mechanisms that the server
// offers and that is possible on this channel. The error is ErrMechanism if there
// is none. Those of the server may be in any case of letters.
//
// It takes PLAIN and LOGIN without TLS too: who must not send passwords in plain
// text doesn't want them then.
func Choose(wanted, offered []string, o ClientOptions) (Client, error) {
	has := func(name string) bool {
		return slices.ContainsFunc(offered, func(s string) bool { return strings.EqualFold(s, name) })
	}
	for _, name := range wanted {
		if !has(name) {
			continue
		}
		if c := newClient(name, has, o); c != nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w: the server has %q", ErrMechanism, offered)
}

// newClient returns a client for a mechanism, nil if it is not possible.
func newClient(name string, has func(string) bool, o ClientOptions) Client {
	scram := &SCRAMClient{Hash: crypto.SHA256, Rand: o.Rand, Username: o.Username, Password: o.Password, Channel: o.Channel}
	switch name {
	case External:
		if !o.Certificate {
			return nil
		}
		return &ExternalClient{}
	case SCRAM256Plus, SCRAM1Plus:
		if o.Channel.best() == "" {
			return nil
		}
		scram.Plus = true
	case SCRAM256, SCRAM1:
	case CRAMMD5:
		return &CRAMMD5Client{Username: o.Username, Password: o.Password}
	case Plain:
		return &PlainClient{Username: o.Username, Password: o.Password}
	case Login:
		return &LoginClient{Username: o.Username, Password: o.Password}
	default:
		return nil
	}
	if strings.HasPrefix(name, SCRAM1) {
		scram.Hash = crypto.SHA1
	}
	scram.PlusOffered = has(scramName(scram.Hash, true))
	return scram
}
