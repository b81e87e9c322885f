package store

import (
	"time"
)

// schemaVersion counts the changes to the rows that older versions can't read.
const schemaVersion = 1

// rowTypes are the types kept in an account's index.db.
var rowTypes = []any{
	accountRow{}, Mailbox{}, MailboxGone{}, Subscription{},
	Message{}, Email{}, Structure{}, Expunged{}, Erase{},
	Handover{}, Credential{}, Reputation{}, Reject{}, Training{}, SentTo{}, SentHour{}, Arrival{},
	Annotation{},
}

// accountRow is the only one of its type, changed in every commit.
type accountRow struct {
	ID        int64  // Always 1.
	AccountID string // Random, for OBJECTID, sharing and the journal. A new account of an old name gets another.
	Name      string

	// ModSeq counts changes to the account. It grows with every commit that changes
	// what a client can see and is never reused, so a client that knows it can ask
	// what changed since (RFC 7162, section 3).
	ModSeq int64

	// Commit numbers the commits, also those that no client can see. A snapshot is
	// known by it (journal.md, rule 19).
	Commit int64

	// LastID is the highest id given to an Email or a Message, or one above it. Lowest
	// is the lowest id that was given but not yet stored at the last commit: a file
	// below it without a row can't be, so the next open need not look there.
	LastID int64
	Lowest int64

	UIDValidity int64 // The last given, 32 bits.
	Size        int64 // Bytes of all Emails that have a Message: prefix and file.
	Rejects     int64 // Number of Reject rows.
	RejectSize  int64 // Bytes of Size that are of Rejects, and don't count against the quota.

	// JournalID and Watermark name the last record of the journal that is applied.
	JournalID string
	Watermark int64
}

// quotaSize returns the bytes that count against the quota.
func (r *accountRow) quotaSize() int64 { return r.Size - r.RejectSize }

// Mailbox is a mailbox that exists. Its counts and ModSeq change with its messages.
type Mailbox struct {
	ID          int64
	Name        string `bstore:"nonzero,unique"` // NFC, "/" between the parts; "Inbox" for the one.
	CreateSeq   int64
	ModSeq      int64 // Highest of itself and of all messages that are or were in it.
	UIDValidity uint32
	UIDNext     UID
	Use         SpecialUse
	Keywords    []string // In order of first use, since messages refer to them by place; only grows.

	Total   int64 // Messages, those with \Deleted included.
	Deleted int64
	Unseen  int64
	Size    int64 // Bytes of all messages.

	UnseenFrom UID   // No message with a lower UID is unseen: where to look for the first.
	PurgedSeq  int64 // Highest ModSeq of an Expunged row that was purged: changes since a lower one are not known.

	ForOthers bool // Messages were put here that were destined for another mailbox.
}

// MailboxGone stands for a deleted mailbox, so that clients can be told.
// While Draining its messages are being removed, a part at a time.
type MailboxGone struct {
	ID       int64
	Name     string
	ModSeq   int64
	Draining bool `bstore:"index"`
}

// Subscription is a name that LSUB returns, of a mailbox that need not exist.
type Subscription struct {
	Name string
}

// Message is a place in a mailbox. The row is narrow, since a flag change
// rewrites it: what never changes is in Email.
type Message struct {
	ID        int64
	MailboxID int64 `bstore:"nonzero,unique MailboxID+UID,index MailboxID+ModSeq"`
	UID       UID
	ModSeq    int64
	CreateSeq int64
	EmailID   int64    `bstore:"nonzero,index"`
	Bits      int64    // Flags, keywords by place in the mailbox's list, bitMore.
	More      []string // Keywords after the first 52 of the mailbox.
	Size      int64    // As in Email: the dense array is made from this type alone.
	Received  int64    // INTERNALDATE, Unix seconds.
	Saved     int64    // When it came into this mailbox, Unix seconds (RFC 8514).
}

// Flags returns the system flags.
func (m Message) Flags() Flags { return Flags(m.Bits) & flagsAll }

// Email is content: one message file, immutable, with what was learned at
// receipt. Several Messages can refer to it.
type Email struct {
	ID        int64
	CreateSeq int64
	Size      int64 // Prefix and file.
	FileSize  int64
	CRC       uint32 // CRC-32C of the file.
	Prefix    []byte // Header lines added for this recipient, before the file.
	Received  time.Time

	MessageKey  int64  `bstore:"index"` // Hash of MessageID, see key. 0: none.
	MessageID   string // Canonical, without brackets.
	SubjectKey  int64  `bstore:"index SubjectKey+Received"`
	Subject     string // Base subject (RFC 5256, section 2.1).
	ThreadID    int64  `bstore:"index"` // The id of the first Email of the thread.
	Ancestors   []int64
	MissingLink bool   // An Email between this and its parent is not known.
	Preview     string // Begin of the text, at most 256 characters.

	MailboxID  int64 // Where it was first put, or would have been: its reputations are of that mailbox.
	DestinedID int64 // The mailbox it would have been put into, if it was put elsewhere for a look; 0: none.
	Reject     bool  // It was refused, and is kept for a while: see Reject.
	Class      Class // How it counts in reputations.
	Facts      Facts
	Verdict    []byte // Why it was put there, in the form of who decided it; at most VerdictMax bytes.
}

// Facts is what was learned while a message came in. For messages that users
// add themselves all is zero.
type Facts struct {
	RemoteIP   string
	LocalIP    string
	EHLO       string
	MailFrom   string // As given in MAIL FROM, "" for the null path.
	RcptTo     string
	TLSVersion uint16 // 0 for plain text.
	TLSCipher  uint16
	SMTPUTF8   bool
	Reason     string // Of screen's verdict.
	CID        int64  // Connection id in the log.

	// Who it is from, as far as was found out: see Sender. Domains are in A-labels and
	// lower case, without dot at the end.
	HelloDomain      string   // Of EHLO, "" for none.
	HelloVerified    bool     // SPF passes for it.
	MailFromVerified bool     // SPF passes for its domain.
	From             string   // The one address in From with its localpart in lower case, "" if there is not exactly one.
	FromOrg          string   // Organisational domain of From.
	Validation       int      // A screen.Validation.
	DKIM             []string // Domains with a signature that passes, at most dkimMax.

	// Of the recipient, as RcptTo and Reason.
	Forwarded   bool   // From another mailbox of the user: the forwarder doesn't count.
	ForwardDKIM string // Domain of the forwarder: signatures of it and of those below don't count.
	List        bool   // From a mailing list that the user has a rule for.
}

// Structure is what answers IMAP without opening the message file.
type Structure struct {
	EmailID       int64
	Tree          []byte // message.Part in binary form; offsets count from the file, not the prefix.
	Envelope      []byte // As in a FETCH response.
	BodyStructure []byte // As in a FETCH response.
	Header        []byte // Header fields in the form of headerFields, for Field. Empty: not known.
}

// Expunged stands for a message that is no more, of which clients must be told.
type Expunged struct {
	ID        int64
	MailboxID int64 `bstore:"nonzero,index MailboxID+ModSeq"`
	ModSeq    int64 `bstore:"index"`
	UID       UID
	EmailID   int64
	At        int64 // Unix seconds.
}

// Erase stands for an Email whose last Message is gone. It, its structure and
// its file go when no session can ask for them any more.
type Erase struct {
	EmailID int64
	ModSeq  int64 // Of the removal.
}

// Handover says that a queued message was delivered here, so that it isn't again.
// It stays until the queue confirms that its row is retired.
type Handover struct {
	Key     string
	EmailID int64
	At      time.Time
}

// Credential is a secret with which the user can log in: the account password,
// later app passwords. Secrets are kept only in derived forms.
type Credential struct {
	ID       int64
	Kind     string // "password".
	Name     string
	Scopes   []string // "imap", "smtp"; none: all.
	Argon2id Argon2id
	SCRAM1   SCRAM
	SCRAM256 SCRAM
	CRAMMD5  []byte // As package sasl makes it; only if the configuration asks for it.
	Created  time.Time
	LastUsed time.Time
	Revoked  time.Time // Zero: valid.
}

// Argon2id is a password hash with its parameters (RFC 9106).
type Argon2id struct {
	Salt   []byte
	Time   uint32
	Memory uint32 // KiB.
	Lanes  uint8
	Hash   []byte
}

// SCRAM is what a server keeps for SCRAM (RFC 5802, section 3).
type SCRAM struct {
	Salt       []byte
	Iterations int32
	StoredKey  []byte
	ServerKey  []byte
}

// Reputation is what is known of a sender, for one screen.Key and mailbox: the
// newest classified messages, as many as decisions look at and some more, and sums
// over all. See reputation.go.
type Reputation struct {
	Key     string // See reputationKey.
	Changed int64  `bstore:"index"` // Day since 1970.
	Junk    int64
	NotJunk int64

	// Recent has every classified message that is newer than Floor and FloorID, which
	// are those of the newest that is not kept any more.
	Recent  []byte // See appendKept.
	Floor   int64
	FloorID int64
}

// Reject is a message that was refused, and is kept for the user to look at.
type Reject struct {
	EmailID    int64
	MessageKey int64 `bstore:"index"` // As in Email.
	ContentKey int64 `bstore:"index"` // Hash of the content, see contentKey.
	Expires    int64 `bstore:"index"` // Unix seconds; 0: the message was accepted since.
	Size       int64 // Prefix and file.
}

// Training is left by a change of junk flags for the junk filter's trainer.
type Training struct {
	EmailID int64
	ModSeq  int64
	Junk    bool
	NotJunk bool
}
