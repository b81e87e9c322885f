package imap

// NotifyEvents is a set of events that NOTIFY can ask for.
type NotifyEvents uint8

// The events, RFC 5465, section 5. AnnotationChange, of annotations of messages, is
// not among them.
const (
	NotifyMessageNew NotifyEvents = 1 << iota
	NotifyMessageExpunge
	NotifyFlagChange
	NotifyMailboxName
	NotifySubscriptionChange
	NotifyMailboxMetadataChange
	NotifyServerMetadataChange

	notifyMessageEvents = NotifyMessageNew | NotifyMessageExpunge | NotifyFlagChange
)

// notifyNames are the events by name in upper case.
var notifyNames = map[string]NotifyEvents{
	"MESSAGENEW": NotifyMessageNew, "MESSAGEEXPUNGE": NotifyMessageExpunge, "FLAGCHANGE": NotifyFlagChange,
	"MAILBOXNAME": NotifyMailboxName, "SUBSCRIPTIONCHANGE": NotifySubscriptionChange,
	"MAILBOXMETADATACHANGE": NotifyMailboxMetadataChange, "SERVERMETADATACHANGE": NotifyServerMetadataChange,
}

// badEvent is the response code for events that are not known: it lists those that
// are (RFC 5465, section 3.1).
const badEvent = "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange ServerMetadataChange)"

const (
	// notifyGroupsMax bounds the groups of one NOTIFY, and notifyNamesMax the names of
	// mailboxes in all of them.
	notifyGroupsMax = 100
	notifyNamesMax  = 1000
)

// Notify is what a client wants to be told of. The zero value is NOTIFY NONE.
type Notify struct {
	Set    bool // SET: else there are no groups.
	Status bool // STATUS: mailboxes are described first.
	Groups []NotifyGroup
}

// NotifyGroup asks for events in some mailboxes.
type NotifyGroup struct {
	Filter MailboxFilter
	Events NotifyEvents // None for NONE.
	Fetch  []FetchItem  // What to send of new messages: only for the selected mailbox.

	unknown bool // Events that are not known were asked for.
}

// OnSelected tells whether the group is about the selected mailbox.
func (g *NotifyGroup) OnSelected() bool {
	return g.Filter.Kind == FilterSelected || g.Filter.Kind == FilterSelectedDelayed
}

// Notify reads the arguments of NOTIFY, RFC 5465, section 8:
//
//	notify = "NOTIFY" SP ("SET" [SP "STATUS"] SP event-groups / "NONE")
func (d *Decoder) Notify() (n Notify) {
	if d.TakeWord("NONE") {
		return n
	}
	if !d.TakeWord("SET") {
		d.Fail("expected SET or NONE")
	}
	n.Set = true
	d.SP()
	if d.TakeWord("STATUS") {
		n.Status = true
		d.SP()
	}
	n.Groups = append(n.Groups, d.notifyGroup())
	for d.TakeSP() && len(n.Groups) <= notifyGroupsMax {
		n.Groups = append(n.Groups, d.notifyGroup())
	}
	if d.err == nil {
		d.checkNotify(&n)
	}
	if d.err != nil {
		return Notify{}
	}
	return n
}

// notifyGroup reads one group:
//
//	event-group = "(" filter-mailboxes SP events ")"
//	events      = ("(" event *(SP event) ")") / "NONE"
//
// The parentheses around events may be missing, as in the examples of the RFC.
func (d *Decoder) notifyGroup() (g NotifyGroup) {
	d.Expect('(')
	g.Filter = d.MailboxFilter()
	d.SP()
	switch {
	case d.TakeWord("NONE"):
	case d.Peek('(') || d.Pedantic:
		d.List(func() { d.notifyEvent(&g) })
	default:
		d.notifyEvent(&g)
		for d.TakeSP() {
			d.notifyEvent(&g)
		}
	}
	d.Expect(')')
	return g
}

// notifyEvent reads one event:
//
//	event = "MessageNew" [SP "(" fetch-att *(SP fetch-att) ")"] / atom
func (d *Decoder) notifyEvent(g *NotifyGroup) {
	event, ok := notifyNames[d.Word()]
	g.Events |= event
	g.unknown = g.unknown || !ok
	if event != NotifyMessageNew || d.pos+1 >= len(d.text) || d.text[d.pos:d.pos+2] != " (" {
		return
	}
	d.SP()
	g.Fetch = append(g.Fetch, d.FetchItems()...)
	if !g.OnSelected() {
		d.Fail("data of new messages is only for the selected mailbox")
	} else if len(g.Fetch) > fetchItemsMax {
		d.Fail("more than %d items", fetchItemsMax)
	}
}

// checkNotify checks what the grammar does not say.
func (d *Decoder) checkNotify(n *Notify) {
	selected, names := 0, 0
	unknown := false
	for i := range n.Groups {
		g := &n.Groups[i]
		if g.OnSelected() {
			selected++
		}
		names += len(g.Filter.Names)
		unknown = unknown || g.unknown
	}
	switch {
	case unknown:
		d.FailWith(No(badEvent, "an event is not known"))
		return
	case selected > 1:
		d.Fail("the selected mailbox can be in one group only")
	case len(n.Groups) > notifyGroupsMax || names > notifyNamesMax:
		d.FailWith(No("NOTIFICATIONOVERFLOW", "more than %d groups or %d mailboxes", notifyGroupsMax, notifyNamesMax))
	}
	for i := range n.Groups {
		d.checkNotifyGroup(&n.Groups[i])
	}
}

// checkNotifyGroup checks which events come together, RFC 5465, sections 5 and 6.1.
func (d *Decoder) checkNotifyGroup(g *NotifyGroup) {
	const both = NotifyMessageNew | NotifyMessageExpunge
	switch {
	case g.Events&notifyMessageEvents != 0 && g.Events&both != both:
		d.Fail("MessageNew and MessageExpunge go together, and FlagChange needs them")
	case g.OnSelected() && g.Events&^notifyMessageEvents != 0:
		d.Fail("the selected mailbox has events of messages only")
	}
}
