package smtp

import (
	"encoding/base64"
	"strings"
)

// CodeAccountDisabled means that the credentials are right, and of no use now.
// RFC 5248's registry has it with DetailAccountDisabled.
const CodeAccountDisabled = 525

// Details of enhanced status codes for AUTH: RFC 4954, section 6, and the
// registry of RFC 5248.
const (
	DetailAuthLineTooLong    = "5.6"
	DetailIntegrity          = "7.7" // Somebody may be on the way, as with channel binding.
	DetailBadCredentials     = "7.8"
	DetailAuthNeedsEncrypted = "7.11" // The mechanism does.
	DetailAccountDisabled    = "7.13"
)

// AuthLineMax is the longest line in bytes within an exchange, without CRLF, RFC
// 4954, section 4. The line of AUTH itself is like that of any command.
const AuthLineMax = 12288 - len("\r\n")

// mechanismSizeMax is the longest name of a mechanism, RFC 4422, section 3.1.
const mechanismSizeMax = 20

// Auth is a parsed AUTH.
type Auth struct {
	Mechanism string // In upper case.
	Initial   []byte // Initial response, nil if there is none.
}

// ParseAuth parses the arguments of AUTH, RFC 4954, section 8:
//
//	sasl-mech [SP initial-response]
//
// All errors are *Error.
func ParseAuth(args string, opts ParseOptions) (Auth, error) {
	if opts.Tolerant {
		args = strings.Trim(args, " ")
	}
	name, initial, more := strings.Cut(args, " ")
	if opts.Tolerant {
		initial = strings.TrimLeft(initial, " ")
	}
	if !isMechanism(name) {
		return Auth{}, Errorf(CodeBadParameter, DetailBadArguments, "want the name of a mechanism")
	}
	a := Auth{Mechanism: strings.ToUpper(name)}
	switch {
	case !more:
		return a, nil
	case initial == "=":
		a.Initial = []byte{}
		return a, nil
	case initial == "":
		return Auth{}, Errorf(CodeBadParameter, DetailBadArguments, "want an initial response after the space, = for an empty one")
	}
	var err error
	a.Initial, err = ParseAuthResponse(initial)
	return a, err
}

// ParseAuthResponse decodes a client's response, which is not nil then. The
// error is an *Error.
func ParseAuthResponse(line string) ([]byte, error) {
	resp, err := base64.StdEncoding.DecodeString(line)
	if err != nil || strings.ContainsAny(line, "\r\n") { // Which the decoder passes over.
		return nil, Errorf(CodeBadParameter, DetailSyntax, "response is not in base64").Because(err)
	}
	return resp, nil
}

// isMechanism tells whether s can be the name of a mechanism.
func isMechanism(s string) bool {
	return s != "" && len(s) <= mechanismSizeMax &&
		!strings.ContainsFunc(s, func(c rune) bool { return c >= 0x80 || c != '_' && !isKeyword(byte(c)) })
}
