package sasl

import "fmt"

// LoginServer is the server's side of LOGIN, which no RFC has and some clients
// have alone: the server asks for a name, then for a password. Its fields are set
// when Next is done.
type LoginServer struct {
	Username string
	Password string

	asked bool // For the password.
}

// Name returns "LOGIN".
func (s *LoginServer) Name() string { return Login }

// Next takes the name, then the password. The challenges are those that clients
// know; some look at them.
func (s *LoginServer) Next(resp []byte) (challenge []byte, done bool, err error) {
	if resp == nil {
		return []byte("Username:"), false, nil
	}
	if err := checkField(resp); err != nil {
		return nil, false, err
	}
	if len(resp) == 0 {
		return nil, false, fmt.Errorf("%w: empty username or password", ErrMessage)
	}
	if !s.asked {
		s.Username, s.asked = string(resp), true
		return []byte("Password:"), false, nil
	}
	s.Password = string(resp)
	return nil, true, nil
}

// LoginClient is the client's side of LOGIN, for servers that have nothing better.
// It shows the server the password.
type LoginClient struct {
	Username string
	Password string

	named bool
}

// Name returns "LOGIN".
func (c *LoginClient) Name() string { return Login }

// Next returns the name, then the password. What the server asks differs between
// programs, the order doesn't.
func (c *LoginClient) Next(challenge []byte) (resp []byte, done bool, err error) {
	switch {
	case challenge == nil:
		return nil, false, nil
	case !c.named:
		c.named = true
		return []byte(c.Username), false, nil
	}
	return []byte(c.Password), true, nil
}
