package imap

// FilterKind tells which mailboxes a MailboxFilter is about.
type FilterKind uint8

// The kinds of mailbox filters, RFC 5465, section 6, and RFC 7377, section 2.2.
const (
	FilterSelected        FilterKind = iota + 1 // The selected mailbox.
	FilterSelectedDelayed                       // The same, for NOTIFY: removals are told when numbers may shift.
	FilterInboxes                               // Those that new messages are delivered to.
	FilterPersonal                              // All of the user.
	FilterSubscribed                            // Those whose names are subscribed to.
	FilterSubtree                               // Those named and all below them.
	FilterSubtreeOne                            // Those named and those one level below them.
	FilterMailboxes                             // Those named. There are no wildcards.
)

// filterNames has the words for the kinds, and whether names follow.
var filterNames = map[string]struct {
	kind  FilterKind
	named bool
}{
	"SELECTED":         {FilterSelected, false},
	"SELECTED-DELAYED": {FilterSelectedDelayed, false},
	"INBOXES":          {FilterInboxes, false},
	"PERSONAL":         {FilterPersonal, false},
	"SUBSCRIBED":       {FilterSubscribed, false},
	"SUBTREE":          {FilterSubtree, true},
	"SUBTREE-ONE":      {FilterSubtreeOne, true},
	"MAILBOXES":        {FilterMailboxes, true},
}

// filterNamesMax bounds the names of one filter.
const filterNamesMax = 1000

// MailboxFilter says which mailboxes NOTIFY and ESEARCH are about.
type MailboxFilter struct {
	Kind  FilterKind
	Names []string // In UTF-8, as the client wrote them: for FilterSubtree, FilterSubtreeOne and FilterMailboxes, at least one.
}

// MailboxFilter reads one filter, RFC 5465, section 8:
//
//	filter-mailboxes = "selected" / "selected-delayed" / "inboxes" / "personal" / "subscribed" /
//	                   ("subtree" / "subtree-one" / "mailboxes") SP one-or-more-mailbox
//	one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"
func (d *Decoder) MailboxFilter() MailboxFilter {
	word := d.Word()
	known, ok := filterNames[word]
	if !ok {
		d.Fail("unknown mailbox filter %+q", word)
		return MailboxFilter{}
	}
	f := MailboxFilter{Kind: known.kind}
	if known.named {
		d.SP()
		f.Names = d.filterMailboxes()
	}
	if d.err != nil {
		return MailboxFilter{}
	}
	return f
}

func (d *Decoder) filterMailboxes() (names []string) {
	if !d.Peek('(') {
		return []string{d.Mailbox()}
	}
	d.List(func() {
		if len(names) == filterNamesMax {
			d.Fail("more than %d mailboxes", filterNamesMax)
		}
		names = append(names, d.Mailbox())
	})
	return names
}
