// Package imapserver serves IMAP4rev2 and IMAP4rev1 (RFC 9051 and RFC 3501) to
// the clients of users: it reads commands, does them on an account of package
// store, and tells each client what changed.
//
// It knows nothing of how mail comes in, how passwords are checked (package auth
// does, through an interface in Options) or how messages are kept. Package
// system makes a Server and gives it listeners.
//
// The way of a command: read.go gathers its text, command.go finds it in the
// table, parses it with its pure parser and runs it, session.go writes the one
// tagged reply. Handlers are in one file per family of commands. Sequence
// numbers shift only in sequence.go.
package imapserver
