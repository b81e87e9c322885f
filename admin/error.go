package admin

import (
	"context"
	"errors"
	"fmt"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// Code says what kind of error it is, for programs.
type Code string

// The codes. A face may have more, for its own kinds of mistakes.
const (
	User        Code = "user"        // The request can't be done as it is.
	NotFound    Code = "notFound"    // There is no such account, message, ….
	Unavailable Code = "unavailable" // Not now, or not by this server; the same request may work later.
	Server      Code = "server"      // Something is wrong with the server. Its log says more.
)

// Error is an error as an administrator reads it.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	err     error  // Cause, or nil.
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, nil if there is none or it was not in this process.
func (e *Error) Unwrap() error { return e.err }

func userError(format string, args ...any) error {
	return &Error{Code: User, Message: fmt.Sprintf(format, args...)}
}

// codes gives the code for each error of the stores and of auth that is not the
// server's fault.
var codes = []struct {
	err  error
	code Code
}{
	{auth.ErrPassword, User},
	{authdb.ErrKey, User},
	{queue.ErrFilter, User},
	{queue.ErrHoldRule, User},
	{backup.ErrDestination, User},
	{backup.ErrRunning, Unavailable},
	{backup.ErrRoom, Unavailable},
	{store.ErrNoAccount, NotFound},
	{store.ErrNoJunkFilter, User},
	{queue.ErrNoMessage, NotFound},
	{queue.ErrNoHoldRule, NotFound},
	{store.ErrClosed, Unavailable},
	{store.ErrBusy, Unavailable},
	{store.ErrDiskFull, Unavailable},
	{queue.ErrClosed, Unavailable},
	{queue.ErrDiskFull, Unavailable},
	{context.Canceled, Unavailable},
	{context.DeadlineExceeded, Unavailable},
}

// ErrorOf returns any error as an *Error, nil for nil. Those who read it
// administer the server, so nothing is kept from them.
func ErrorOf(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &Error{c.code, err.Error(), err}
		}
	}
	return &Error{Server, err.Error(), err}
}
