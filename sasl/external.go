package sasl

// ExternalServer is the server's side of EXTERNAL, RFC 4422, appendix A: who the
// client is was shown outside, as by its TLS certificate. The field is set when
// Next is done.
type ExternalServer struct {
	Authorize string // Whom the client asks to be. Empty: whoever the server takes it for.
}

// Name returns "EXTERNAL".
func (s *ExternalServer) Name() string { return External }

// Next takes the one message of EXTERNAL. The challenge for it is empty.
func (s *ExternalServer) Next(resp []byte) (challenge []byte, done bool, err error) {
	if resp == nil {
		return []byte{}, false, nil
	}
	if err := checkField(resp); err != nil {
		return nil, false, err
	}
	s.Authorize = string(resp)
	return nil, true, nil
}

// ExternalClient is the client's side of EXTERNAL.
type ExternalClient struct {
	Authorize string // Empty: whoever the server takes us for.
}

// Name returns "EXTERNAL".
func (c *ExternalClient) Name() string { return External }

// Next returns the one message of EXTERNAL.
func (c *ExternalClient) Next([]byte) (resp []byte, done bool, err error) {
	return []byte(c.Authorize), true, nil
}
