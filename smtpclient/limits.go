package smtpclient

import "time"

// Limits of one reply. RFC 5321, section 4.5.3.1.5, has 512 bytes for a line, and
// none for their number. What is more is ErrProtocol.
const (
	// replyLineMax bounds a line in bytes, without line end. Challenges of AUTH can
	// be this long (RFC 4954, section 4).
	replyLineMax = 12288

	// replyLinesMax bounds the lines; servers with many extensions have 30.
	replyLinesMax = 500

	// replySizeMax bounds all lines together in bytes.
	replySizeMax = 64 << 10
)

// Limits of what is kept of a reply for people: it gets into logs, the queue and
// notifications.
const (
	textLinesMax = 20
	textLineMax  = 512 // Bytes.

	// nameMax bounds the name of a server in bytes, as DNS does.
	nameMax = 255
)

const (
	// commandLineMax bounds AUTH with an initial response in bytes, without CRLF.
	// RFC 5321, section 4.5.3.1.4.
	commandLineMax = 510

	// authRoundsMax bounds the challenges of one exchange. SCRAM has two.
	authRoundsMax = 10

	// mechanismsMax bounds the mechanisms taken from EHLO.
	mechanismsMax = 50

	// pipelineMax bounds commands without reply in bytes: they must fit in the
	// window of TCP, or both sides could wait for each other (RFC 2920, section 3.1).
	pipelineMax = 4096

	// blockSize is the size in bytes in which content is read and sent.
	blockSize = 32 << 10

	// chunkSize is the size of chunks of BDAT in bytes. Each costs a round trip, and
	// after each the server can say that it has had enough.
	chunkSize = 1 << 20
)

const (
	// handshakeWait bounds a TLS handshake.
	handshakeWait = time.Minute

	// quitWait bounds the wait for the reply to QUIT.
	quitWait = 3 * time.Second

	// lastWordsWait bounds the wait for what a server said before it stopped
	// listening.
	lastWordsWait = 5 * time.Second
)
