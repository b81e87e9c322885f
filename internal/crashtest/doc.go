// Package crashtest holds tests that end a server the hard way and look at what is
// left: kill -9 and power cuts, at random under load and at every named fault
// point of the packages journal, store and queue.
//
// The test binary runs itself as a child that opens a store, or a whole System,
// and puts it under load. The child tells its parent through a pipe what it is
// about to do, what was acknowledged, and what was shown. The parent keeps a ledger
// of that, and compares it with what the next start finds: everything acknowledged
// or shown is there once and whole, nothing is half, no UID is given again.
//
// Mail to others goes to a server that lives in the parent, the sink, and knows
// what it took. After each crash the next start takes new mail, and then all mail
// goes where it belongs: into accounts once, to the sink at most once for each
// attempt that the queue has recorded, and to the sender a notice of each failure.
//
// A power cut needs a file system of its own, a small image on a loop device,
// and therefore root on Linux: see cut_linux_test.go.
package crashtest
