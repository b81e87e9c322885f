// Package conformance makes docs/conformance.md: which test shows that the server
// does what an RFC says it must do.
//
// What a test shows stands in a comment beside the lines that show it, in a
// transcript or within a Go test:
//
//	# MUST 9051 6.3.2: a failed SELECT leaves no mailbox selected
//	// MUST 7162 3.1.2.1 #2,3: HIGHESTMODSEQ is above all mod-sequences
//
// That is the RFC, the section, which of the section's sentences with an
// upper-case MUST, SHALL or REQUIRED it is (from 1, and 1 if nothing is said), and
// what the server does, in own words. Collect finds these comments and Markdown
// writes the document. Where the texts of the RFCs are, a test takes each such
// sentence from them and looks whether it is shown, or else listed: in exempt.txt
// with the reason why a server can't violate it, or in open.txt if no test shows
// it yet.
//
// Only tests import this package.
package conformance
