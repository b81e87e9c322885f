package imapserver

import (
	"context"
	"strconv"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// quotaRoot is the name of the only quota root: limits are those of the account, so
// they hold for all its mailboxes together (RFC 9208, section 3.2). The administrator
// sets them: there is no SETQUOTA.
const quotaRoot = ""

// quotaRequest is a parsed GETQUOTA.
type quotaRequest struct{ root string }

// parseGetQuota parses the arguments of GETQUOTA, RFC 9208, section 7:
//
//	getquota = "GETQUOTA" SP quota-root-name
func parseGetQuota(d *imap.Decoder) quotaRequest {
	d.SP()
	return quotaRequest{d.AString()}
}

// getQuota tells the limits of a quota root (RFC 9208, section 4.1.1).
func (s *session) getQuota(_ context.Context, _ command, req quotaRequest) (imap.Response, error) {
	if req.root != quotaRoot {
		return imap.Response{}, imap.No("NONEXISTENT", "no such quota root")
	}
	s.writeQuota()
	return imap.OK("", "done"), nil
}

// getQuotaRoot tells which limits a mailbox is under, which need not exist (RFC 9208,
// section 4.1.2).
func (s *session) getQuotaRoot(_ context.Context, _ command, req mailboxRequest) (imap.Response, error) {
	name := req.name
	if kept, err := store.CheckMailboxName(name); err == nil {
		name = kept
	}
	s.out.Raw("* QUOTAROOT ").Mailbox(name).Raw(" ").AString(quotaRoot).CRLF()
	s.writeQuota()
	return imap.OK("", "done"), nil
}

// writeQuota writes the limits of the account with what is used of them. Where there
// are none, there is nothing to write: the grammar has no empty list.
func (s *session) writeQuota() {
	if list := quotaList(s.account.Usage()); list != "" {
		s.out.Raw("* QUOTA ").AString(quotaRoot).Raw(" (", list, ")").CRLF()
	}
}

// quotaList returns the resources that have a limit.
func quotaList(u store.Usage) (list string) {
	if u.SizeMax > 0 {
		list = "STORAGE " + kilobytes(u.Size) + " " + kilobytes(u.SizeMax)
	}
	if u.MessagesMax > 0 {
		if list != "" {
			list += " "
		}
		list += "MESSAGE " + strconv.FormatInt(u.Messages, 10) + " " + strconv.FormatInt(u.MessagesMax, 10)
	}
	return list
}

// kilobytes returns units of 1024 bytes (RFC 9208, section 5.1): with a part of one,
// one more.
func kilobytes(n int64) string {
	units := n >> 10
	if n&1023 > 0 {
		units++
	}
	return strconv.FormatInt(units, 10)
}
