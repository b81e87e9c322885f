// Package backup copies all that a server has while mail flows, looks whether
// such a copy is whole, and makes a data directory of one.
//
// A backup is a directory with config/, data/, moxversion and a manifest, which
// names each file with its size and checksum. It is a plain tree on purpose: what
// is in it can be read, and put back, without this program. Message files are
// links to those of the server where the file system allows that: they never
// change, so a backup beside the data takes little time and room. It does not
// save from a broken disk there; that takes a copy of the backup elsewhere.
//
// The package knows which files there are, and leaves what is in them to the
// stores, which copy and check themselves. Package admin offers its functions to
// administrators.
package backup
