// Package message understands internet messages: header fields (RFC 5322), the
// tree of MIME parts (RFC 2045 and 2046), encoded-words and parameters in other
// charsets (RFC 2047 and 2231), addresses, dates, Message-IDs and subjects.
//
// Mail is written by every program ever made, so nothing here refuses a message
// for being odd: Parse gives the best tree it can and offsets that always slice
// the message, and the readers of values give what they could make out. All work
// is bounded by named limits. The package knows nothing of accounts, of files
// beyond an io.ReaderAt, or of what is done with a message: the store keeps the
// parsed Part, package imap turns it into ENVELOPE and BODYSTRUCTURE, receiving
// and submitting read and write header fields.
package message
