// Package crashtest holds tests that end a store the hard way and look at what
// is left: kill -9 and power cuts, at random under load and at every named fault
// point of the packages journal and store.
//
// The test binary runs itself as a child that opens a store and puts it under
// load. The child tells its parent through a pipe what it is about to do, what
// was acknowledged, and what was shown. The parent keeps a ledger of that, and
// compares it with what the next start finds: everything acknowledged or shown
// is there once and whole, nothing is half, no UID is given again.
//
// A power cut needs a file system of its own, a small image on a loop device,
// and therefore root on Linux: see cut_linux_test.go.
package crashtest
