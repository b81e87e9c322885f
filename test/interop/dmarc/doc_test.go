// Package dmarc holds what we say about a message against what another program
// says: SPF, DKIM and DMARC together, for the same DNS.
package dmarc
