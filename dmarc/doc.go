// Package dmarc evaluates whether a message may use the domain in its From field:
// DMARC, RFC 9989. Records of RFC 7489 are read too.
//
// Evaluate takes what SPF and DKIM found, looks up the policy, and says whether
// one of them is for the domain in From; it decides nothing about the message.
// The organisational domain is found by a walk up the tree of names, not with a
// list of public suffixes. Nothing is cached and nothing is tried again: that is
// for the resolver and for the caller.
package dmarc

const (
	// walkMax bounds the lookups to find the record and the organisational domain
	// of one name (RFC 9989, section 4.10).
	walkMax = 8

	// lookupsMax bounds the lookups of one evaluation. A sender with ten signatures
	// for names of eight labels in its own domain needs more, and gets to know the
	// alignment of the first of them.
	lookupsMax = 40

	// reportAddressesMax bounds the addresses for reports that are checked, for each
	// of which there can be a walk and another lookup.
	reportAddressesMax = 10

	// recordSizeMax bounds a record in bytes. RFC 9989 has no limit, and real ones
	// have a few hundred.
	recordSizeMax = 8 << 10

	// urisMax bounds the addresses in one tag.
	urisMax = 100
)
