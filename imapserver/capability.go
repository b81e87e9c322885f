package imapserver

import "github.com/mjl-/mox/imap"

// commandCapabilities has the capability of each command that came with one. Where
// it is switched off the command is unknown.
var commandCapabilities = map[string]string{
	"ENABLE": "ENABLE", "ID": "ID", "NAMESPACE": "NAMESPACE", "IDLE": "IDLE", "UNSELECT": "UNSELECT",
	"MOVE": "MOVE", "UID MOVE": "MOVE", "UID EXPUNGE": "UIDPLUS",

	"COMPRESS": "COMPRESS=DEFLATE", "UNAUTHENTICATE": "UNAUTHENTICATE", "NOTIFY": "NOTIFY",
	"GETMETADATA": "METADATA", "SETMETADATA": "METADATA",
	"GETQUOTA": "QUOTA", "GETQUOTAROOT": "QUOTA", "SETQUOTA": "QUOTA",
	"REPLACE": "REPLACE", "UID REPLACE": "REPLACE", "UIDBATCHES": "UIDBATCHES",
	"SORT": "SORT", "UID SORT": "SORT", "THREAD": "THREAD", "UID THREAD": "THREAD", "COMPARATOR": "I18NLEVEL",
	"ESEARCH": "MULTISEARCH", "CANCELUPDATE": "CONTEXT",
}

// switchOff takes from the session what is switched off for its account. It holds
// until the client logs in again: what it was told it can do, it can.
func (s *session) switchOff(account string) {
	s.off = nil
	if s.server.opts.Disabled != nil {
		s.off = imap.NewOff(s.server.opts.Disabled(account))
	}
	s.out.Off = s.off
}

// disabled reports whether a capability, named as it is announced but in upper case,
// is switched off for the account that is logged in.
func (s *session) disabled(name string) bool { return s.off.Has(name) }
