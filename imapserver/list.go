package imapserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// listRequest is a parsed LIST or LSUB.
type listRequest struct {
	reference string
	patterns  []string

	// Selection options.
	subscribed, recursive, special bool

	// Return options.
	returnSubscribed bool
	status           []string // Items of STATUS, nil for none.
	metadata         []string // Entries of METADATA, nil for none.
}

// patternsMax bounds the patterns of one LIST.
const patternsMax = 100

// parseList parses the arguments of LIST, RFC 9051, section 9, with the patterns
// of RFC 5258 and the options of RFC 6154:
//
//	list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]
func parseList(d *imap.Decoder) (req listRequest) {
	d.SP()
	if d.Peek('(') {
		req.parseSelection(d)
		d.SP()
	}
	req.reference = norm.NFC.String(d.Mailbox())
	d.SP()
	if d.Peek('(') {
		d.List(func() {
			if len(req.patterns) == patternsMax {
				d.Fail("more than %d patterns", patternsMax)
			}
			req.patterns = append(req.patterns, listPattern(d))
		})
	} else {
		req.patterns = []string{listPattern(d)}
	}
	if d.TakeSP() {
		if !d.TakeWord("RETURN") {
			d.Fail("expected RETURN")
		}
		d.SP()
		d.ListOrEmpty(func() { req.parseReturn(d) })
	}
	return req
}

func (req *listRequest) parseSelection(d *imap.Decoder) {
	d.ListOrEmpty(func() {
		switch word := d.Word(); word {
		case "SUBSCRIBED":
			req.subscribed, req.returnSubscribed = true, true
		case "RECURSIVEMATCH":
			req.recursive = true
		case "SPECIAL-USE":
			req.special = true
		case "REMOTE": // There are no remote mailboxes.
		default:
			d.Fail("unknown LIST option %+q", word)
		}
	})
	if req.recursive && !req.subscribed {
		d.Fail("RECURSIVEMATCH needs SUBSCRIBED")
	}
}

func (req *listRequest) parseReturn(d *imap.Decoder) {
	switch word := d.Word(); word {
	case "SUBSCRIBED":
		req.returnSubscribed = true
	case "CHILDREN", "SPECIAL-USE": // Always returned.
	case "STATUS":
		d.Needs("LIST-STATUS")
		d.SP()
		req.status = parseStatusItems(d)
	case "METADATA": // RFC 9590, section 4.
		d.Needs("LIST-METADATA")
		d.SP()
		req.metadata = d.MetadataEntries()
	default:
		d.Fail("unknown LIST return option %+q", word)
	}
}

// listPattern reads a pattern. Names are in normal form C, so it is too.
func listPattern(d *imap.Decoder) string { return norm.NFC.String(d.ListMailbox()) }

// parseLsub parses the arguments of LSUB, RFC 3501, section 9:
//
//	lsub = "LSUB" SP mailbox SP list-mailbox
func parseLsub(d *imap.Decoder) (req listRequest) {
	d.SP()
	req.reference = norm.NFC.String(d.Mailbox())
	d.SP()
	req.patterns = []string{listPattern(d)}
	return req
}

// listName is a name that LIST may answer with.
type listName struct {
	mb         *store.Mailbox // Nil if it does not exist.
	subscribed bool
	children   bool // Mailboxes that exist are below it.
	below      bool // Names that fulfil the selection are below it.
	hidden     bool // Such names are below it that match no pattern.

	annotations []store.Annotation // If they are to be returned.
}

// names are all names of an account: those of mailboxes, of subscriptions, and
// of what is above those, in the order of LIST.
type names struct {
	order []string
	all   map[string]*listName
}

func (n *names) add(name string) *listName {
	e := n.all[name]
	if e == nil {
		e = &listName{}
		n.all[name] = e
		n.order = append(n.order, name)
	}
	return e
}

// readNames reads the names from a snapshot.
func (s *session) readNames(ctx context.Context, req *listRequest) (*names, error) {
	n := &names{all: map[string]*listName{}}
	err := s.account.View(ctx, func(tx *store.Tx) error {
		list, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for i := range list {
			n.add(list[i].Name).mb = &list[i]
		}
		if req.metadata != nil {
			if err := n.annotate(tx, list); err != nil {
				return err
			}
		}
		subscriptions, err := tx.Subscriptions()
		if err != nil {
			return err
		}
		for _, name := range subscriptions {
			n.add(name).subscribed = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing mailboxes: %w", err)
	}
	n.mark(req)
	return n, nil
}

// annotate reads the annotations of mailboxes.
func (n *names) annotate(tx *store.Tx, list []store.Mailbox) error {
	all, err := tx.MailboxAnnotations(list)
	if err != nil {
		return err
	}
	for i := range list {
		n.all[list[i].Name].annotations = all[list[i].ID]
	}
	return nil
}

// mark finds what is above other names, and puts all in order.
func (n *names) mark(req *listRequest) {
	for _, name := range n.order { // Parents added meanwhile are not looked at.
		e := n.all[name]
		selected := e.selected(req)
		hidden := selected && !req.matches(name)
		for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
			parent := n.add(name[:i])
			parent.children = parent.children || e.mb != nil
			parent.below = parent.below || selected
			parent.hidden = parent.hidden || hidden
		}
	}
	slices.SortFunc(n.order, func(a, b string) int {
		if aInbox, bInbox := a == "Inbox", b == "Inbox"; aInbox != bInbox {
			if aInbox {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
}

// selected reports whether a name fulfils the selection options.
func (e *listName) selected(req *listRequest) bool {
	return (e.mb != nil || req.subscribed) &&
		(!req.subscribed || e.subscribed) &&
		(!req.special || e.mb != nil && e.mb.Use != store.UseNone)
}

// list answers LIST (RFC 9051, section 6.3.9).
func (s *session) list(ctx context.Context, _ command, req listRequest) (imap.Response, error) {
	if len(req.patterns) == 1 && req.patterns[0] == "" {
		s.out.Raw(`* LIST (\Noselect) "/" ""`).CRLF()
		return imap.OK("", "done"), nil
	}
	if err := checkEntries(req.metadata, false); err != nil {
		return imap.Response{}, err
	}
	if req.status != nil {
		s.account.WaitDurable(ctx)
		s.awareOfStatus(req.status)
	}
	n, err := s.readNames(ctx, &req)
	if err != nil {
		return imap.Response{}, err
	}
	for _, name := range n.order {
		e := n.all[name]
		selected := e.selected(&req)
		if !selected && !(req.recursive && e.hidden) || !req.matches(name) {
			continue
		}
		s.writeList(name, e, &req)
		if selected && e.mb != nil && req.status != nil {
			if err := s.writeStatusNow(ctx, e.mb, req.status); err != nil {
				return imap.Response{}, fmt.Errorf("status of %q: %w", name, err)
			}
		}
		if selected && e.mb != nil && req.metadata != nil {
			values, _ := selectMetadata(e.annotations, &imap.GetMetadata{Entries: req.metadata, MaxSize: -1})
			s.writeMetadata(name, values)
		}
	}
	return imap.OK("", "done"), nil
}

// matches reports whether a name matches one of the patterns.
func (req *listRequest) matches(name string) bool {
	for _, p := range req.patterns {
		if matchName(req.reference+p, name) {
			return true
		}
	}
	return false
}

func (s *session) writeList(name string, e *listName, req *listRequest) {
	s.out.Raw("* LIST (", s.listAttributes(e, req.returnSubscribed), `) "/" `).Mailbox(name)
	if req.recursive && e.below {
		s.out.Raw(` ("CHILDINFO" ("SUBSCRIBED"))`)
	}
	s.out.CRLF()
}

// listAttributes returns the attributes of a name in LIST.
func (s *session) listAttributes(e *listName, returnSubscribed bool) string {
	var flags []string
	if e.mb == nil {
		flags = append(flags, `\NonExistent`)
	}
	switch {
	case s.disabled("CHILDREN"):
	case e.children:
		flags = append(flags, `\HasChildren`)
	default:
		flags = append(flags, `\HasNoChildren`)
	}
	if returnSubscribed && e.subscribed {
		flags = append(flags, `\Subscribed`)
	}
	if e.mb != nil && e.mb.Use != store.UseNone && !s.disabled("SPECIAL-USE") {
		flags = append(flags, e.mb.Use.String())
	}
	return strings.Join(flags, " ")
}

// writeListName writes a LIST response for one mailbox, with the name by which
// the client called it if that is another.
func (s *session) writeListName(attributes, name, old string) {
	s.out.Raw("* LIST (", attributes, `) "/" `).Mailbox(name)
	if old != name && !strings.EqualFold(old, "inbox") {
		s.out.Raw(` ("OLDNAME" (`).Mailbox(old).Raw("))")
	}
	s.out.CRLF()
}

// lsub answers LSUB (RFC 3501, section 6.3.9): subscribed names, and names above
// them if the pattern ends in "%" and leaves them out.
func (s *session) lsub(ctx context.Context, _ command, req listRequest) (imap.Response, error) {
	req.subscribed = true
	n, err := s.readNames(ctx, &req)
	if err != nil {
		return imap.Response{}, err
	}
	above := strings.HasSuffix(req.patterns[0], "%")
	for _, name := range n.order {
		e := n.all[name]
		if !e.subscribed && !(above && e.hidden) || !req.matches(name) {
			continue
		}
		flags := ""
		if !e.subscribed {
			flags = `\Noselect`
		}
		s.out.Raw("* LSUB (", flags, `) "/" `).Mailbox(name).CRLF()
	}
	return imap.OK("", "done"), nil
}

// matchName reports whether a name matches a pattern: "*" stands for anything,
// "%" for anything without "/". "Inbox" is matched in any case.
func matchName(pattern, name string) bool {
	folded := 0 // Bytes of name that match in any case.
	if name == "Inbox" || strings.HasPrefix(name, "Inbox/") {
		folded = len("Inbox")
	}
	// On a mismatch go back to the last wildcard and let it match one byte more.
	// Before a "*" there is nothing to go back for, and where a "%" can't go on
	// the "*" before it may.
	type mark struct{ p, n int }
	star, percent := mark{p: -1}, mark{p: -1}
	p, n := 0, 0
	for {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, percent = mark{p + 1, n}, mark{p: -1}
			p++
			continue
		case p < len(pattern) && pattern[p] == '%':
			percent = mark{p + 1, n}
			p++
			continue
		case p == len(pattern) && n == len(name):
			return true
		case p < len(pattern) && n < len(name) && equalByte(pattern[p], name[n], n < folded):
			p++
			n++
			continue
		}
		switch {
		case percent.p >= 0 && percent.n < len(name) && name[percent.n] != '/':
			percent.n++
			p, n = percent.p, percent.n
		case star.p >= 0 && star.n < len(name):
			star.n++
			p, n, percent = star.p, star.n, mark{p: -1}
		default:
			return false
		}
	}
}

func equalByte(a, b byte, fold bool) bool {
	if !fold {
		return a == b
	}
	return a|0x20 == b|0x20
}
