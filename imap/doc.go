// Package imap is the wire grammar of IMAP4rev2 and IMAP4rev1 (RFC 9051 and
// RFC 3501), both ways: a Decoder for what clients send, an Encoder for what a
// server answers, and the values they speak of: number sets, flags, mailbox
// names, dates, FETCH items, SEARCH keys, response codes.
//
// It knows no mailboxes, sessions or sockets, and reads nothing by itself: the
// caller gathers a whole command, literals included, and bounds its size.
// Package imapserver is its caller; imapclient can use the same values.
package imap
