package sasl

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// checkField returns ErrMessage for a field that is no text, or too long.
func checkField(f []byte) error {
	if len(f) > fieldMax || !utf8.Valid(f) || bytes.IndexByte(f, 0) >= 0 {
		return fmt.Errorf("%w: field of %d bytes, or not text", ErrMessage, len(f))
	}
	return nil
}

// PlainServer is the server's side of PLAIN, RFC 4616. Its fields are set when
// Next is done. They are as the client sent them: preparing them for comparison
// is up to package auth.
type PlainServer struct {
	Username string
	Password string
}

// Name returns "PLAIN".
func (s *PlainServer) Name() string { return Plain }

// Next takes the one message of PLAIN. The challenge for it is empty.
func (s *PlainServer) Next(resp []byte) (challenge []byte, done bool, err error) {
	if resp == nil {
		return []byte{}, false, nil
	}
	fields := bytes.Split(resp, []byte{0})
	if len(fields) != 3 {
		return nil, false, fmt.Errorf("%w: %d fields instead of 3", ErrMessage, len(fields))
	}
	for _, f := range fields {
		if err := checkField(f); err != nil {
			return nil, false, err
		}
	}
	authorize, username, password := string(fields[0]), string(fields[1]), string(fields[2])
	switch {
	case username == "" || password == "":
		return nil, false, fmt.Errorf("%w: empty username or password", ErrMessage)
	case authorize != "" && authorize != username:
		return nil, false, ErrAuthorization
	}
	s.Username, s.Password = username, password
	return nil, true, nil
}

// PlainClient is the client's side of PLAIN. It shows the server the password,
// so the caller must know whom it talks to.
type PlainClient struct {
	Username string
	Password string
}

// Name returns "PLAIN".
func (c *PlainClient) Name() string { return Plain }

// Next returns the one message of PLAIN.
func (c *PlainClient) Next([]byte) (resp []byte, done bool, err error) {
	return []byte("\x00" + c.Username + "\x00" + c.Password), true, nil
}
