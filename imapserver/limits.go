package imapserver

import "time"

// How long a session waits. RFC 9051, section 5.4, asks for at least 30 minutes
// of idleness once a client is logged in.
const (
	idleMax      = 30 * time.Minute // Between commands, and in IDLE.
	commandMax   = 5 * time.Minute  // For more bytes of a command that has begun.
	preauthIdle  = 30 * time.Second // Between commands and within one before login.
	preauthMax   = 3 * time.Minute  // From the connection to the login.
	writeMax     = 5 * time.Minute  // For one write to a client that is logged in.
	preauthWrite = 30 * time.Second // For one write before login.
	byeMax       = 10 * time.Second // For the last words to a client.
	tlsMax       = time.Minute      // For a TLS handshake.
	keepAlive    = 5 * time.Minute  // Between TCP probes of a silent connection.
)

// What a client may send.
const (
	// lineMax bounds a line in bytes without CRLF. RFC 7162, section 4, wants
	// 8 KiB for those with long sets.
	lineMax = 8 << 10

	// literalMax and literalsMax bound one literal and all literals of a command,
	// in bytes; messages are not among them. literalCountMax is their number.
	literalMax      = 100 << 10
	literalsMax     = 1000 << 10
	literalCountMax = 1000

	// linesMax is what the lines of a command with literals may add to those, in
	// bytes: each alone may be short of lineMax.
	linesMax = 2 * lineMax

	// preauthLiteralMax bounds all literals of a command before login in bytes:
	// enough for a name and a password, too little to fill the memory with.
	preauthLiteralMax = 4 << 10

	// appendSizeMax is the largest message a client can append, in bytes, unless
	// Options has a lower limit. RFC 3501 has no larger ones.
	appendSizeMax = 1<<32 - 1

	// badCommandsMax is the number of BAD replies before login, after which the
	// peer is not taken for a mail program.
	badCommandsMax = 10

	// failedLoginsMax is the number of failed logins after which a connection is
	// closed.
	failedLoginsMax = 10
)

// How much is done at once, so that no read transaction is long and no batch
// needs much memory.
const (
	// entriesBatch is the number of messages whose flags are rendered at once.
	entriesBatch = 1000

	// denseItems is the number of items of a FETCH for which entriesBatch holds: with
	// many more, as nobody needs, fewer messages are rendered at once.
	denseItems = 20

	// structuresBatch is the number of messages whose structure or envelope is
	// read in one transaction.
	structuresBatch = 100

	// streamBuffer is the size in bytes of the buffer through which bodies are
	// sent under TLS, and messages are read in pieces.
	streamBuffer = 256 << 10
)
