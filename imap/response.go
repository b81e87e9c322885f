package imap

import (
	"fmt"
	"strings"
)

// Response is a status response: OK, NO, BAD, BYE or PREAUTH, tagged or not
// (RFC 9051, section 7.1).
type Response struct {
	Type string // In upper case.
	Code string // Response code without brackets, such as "TRYCREATE"; may be empty.
	Text string // For a person. Written by us; text of a peer in it is formatted with %+q.
}

// Append appends the response without tag and CRLF. Control characters and
// bytes outside of ASCII become "?", so that no text can end the line: that
// should not happen, and is not the caller's duty.
func (r Response) Append(b []byte) []byte {
	b = append(b, r.Type...)
	b = append(b, ' ')
	if r.Code != "" {
		b = append(b, '[')
		b = appendText(b, r.Code)
		b = append(b, "] "...)
	}
	if r.Text == "" {
		return append(b, '-') // The grammar asks for at least one character.
	}
	return appendText(b, r.Text)
}

func (r Response) String() string { return string(r.Append(nil)) }

func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			b = append(b, '?')
		} else {
			b = append(b, c)
		}
	}
	return b
}

// Error is an error with the response that its client gets. Err is the cause,
// for the log only, and may be nil.
type Error struct {
	Response
	Err error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Response.String() + ": " + e.Err.Error()
	}
	return e.Response.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// OK returns an OK response. The code may be empty.
func OK(code, format string, args ...any) Response {
	return Response{"OK", code, fmt.Sprintf(format, args...)}
}

// No returns an error for a command that is understood but can't be done. The
// code may be empty; those of RFC 5530 tell a client what to do about it.
func No(code, format string, args ...any) *Error {
	return &Error{Response: Response{"NO", code, fmt.Sprintf(format, args...)}}
}

// Bad returns an error for a command that is against the protocol.
func Bad(format string, args ...any) *Error {
	return &Error{Response: Response{"BAD", "", fmt.Sprintf(format, args...)}}
}

// BadCode is Bad with a response code.
func BadCode(code, format string, args ...any) *Error {
	return &Error{Response: Response{"BAD", code, fmt.Sprintf(format, args...)}}
}

// Bye returns an error after which the connection is closed.
func Bye(code, format string, args ...any) *Error {
	return &Error{Response: Response{"BYE", code, fmt.Sprintf(format, args...)}}
}

// Line returns the response as an untagged line without CRLF, for a refusal
// before there is a session.
func (r Response) Line() string {
	var b strings.Builder
	b.WriteString("* ")
	b.WriteString(r.String())
	return b.String()
}
