// Package outgoing has a server of ours send mail in a small internet: a root and
// zones signed by ldns-signzone and served by nsd, an unbound that validates,
// Postfix as mail exchanger in many roles, policy hosts of MTA-STS, and peers of our
// own for what no good server does. Each case is a row of a table, with what RFC
// 5321, 7505, 7672, 8461 or 8689 wants to become of the message, and with what an
// administrator reads of it.
package outgoing
