package imap

// MultiSearch is what ESEARCH takes (RFC 7377, section 4).
type MultiSearch struct {
	In []MailboxFilter // Empty: the selected mailbox.
	Search
}

// filtersMax bounds the mailbox filters of one command.
const filtersMax = 100

// MultiSearch reads the arguments of ESEARCH, after the space. If it fails it still
// returns the result options, as Search does.
//
//	esearch = "ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program
//	esearch-source-opts = "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"
//	source-mbox = filter-mailboxes *(SP filter-mailboxes)
//
// There are no scope options that we know.
func (d *Decoder) MultiSearch() (s MultiSearch) {
	if d.TakeWord("IN") {
		d.SP()
		d.List(func() { s.In = append(s.In, d.sourceMailboxes(len(s.In))) })
		d.SP()
	}
	s.Search = d.Search()
	if d.err != nil {
		s.In = nil
	}
	return s
}

// sourceMailboxes reads one filter of a list that has some already. Unless Pedantic
// what only NOTIFY has for the selected mailbox is taken for it.
func (d *Decoder) sourceMailboxes(already int) MailboxFilter {
	switch {
	case d.Peek('('):
		d.Fail("unknown scope option")
	case already == filtersMax:
		d.Fail("more than %d mailbox filters", filtersMax)
	}
	f := d.MailboxFilter()
	if f.Kind == FilterSelectedDelayed {
		if d.Pedantic {
			d.Fail("selected-delayed is not for ESEARCH")
		}
		f.Kind = FilterSelected
	}
	return f
}
