package imapserver

import (
	"context"
	"errors"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

// handler parses the arguments of a command and runs it.
type handler func(*session, context.Context, command, *imap.Decoder) (imap.Response, error)

// command is what the session must know of a command before running it.
type command struct {
	states  state // States in which it is legal, RFC 9051, section 3.
	byUID   bool  // Its set names UIDs, and its answers do.
	bySeq   bool  // Sequence numbers must not shift before its reply, RFC 9051, section 7.5.1.
	numbers bool  // It takes or answers with sequence numbers: not after ENABLE UIDONLY.
	leaves  bool  // It leaves the mailbox, and so works for one that was deleted.
	run     handler

	// streams is not nil for a command that reads its last literal itself. It
	// parses the arguments up to that.
	streams func(*imap.Decoder) error
}

// commands returns every command we answer, by upper-case name.
// TestCommandsHaveTranscripts fails for an entry without a testdata/*.txt.
func commands() map[string]command {
	return map[string]command{
		"CAPABILITY": {states: anyState, run: bind(parseNothing, (*session).capability)},
		"NOOP":       {states: anyState, run: bind(parseNothing, (*session).noop)},
		"LOGOUT":     {states: anyState, run: bind(parseNothing, (*session).logout)},
		"ID":         {states: anyState, run: bind(parseID, (*session).id)},

		"STARTTLS":     {states: notAuthenticated, run: bind(parseNothing, (*session).startTLSCommand)},
		"LOGIN":        {states: notAuthenticated, run: bind(parseLogin, (*session).loginCommand)},
		"AUTHENTICATE": {states: notAuthenticated, run: bind(parseAuthenticate, (*session).authenticate)},

		"UNAUTHENTICATE": {states: loggedIn, run: bind(parseNothing, (*session).unauthenticate)},

		"ENABLE":      {states: loggedIn, run: bind(parseEnable, (*session).enable)},
		"NAMESPACE":   {states: loggedIn, run: bind(parseNothing, (*session).namespace)},
		"SELECT":      {states: loggedIn, run: bind(parseSelect, (*session).selectMailbox)},
		"EXAMINE":     {states: loggedIn, run: bind(parseSelect, (*session).examine)},
		"CREATE":      {states: loggedIn, run: bind(parseCreate, (*session).create)},
		"DELETE":      {states: loggedIn, run: bind(parseMailbox, (*session).deleteMailbox)},
		"RENAME":      {states: loggedIn, run: bind(parseRename, (*session).rename)},
		"SUBSCRIBE":   {states: loggedIn, run: bind(parseMailbox, (*session).subscribe)},
		"UNSUBSCRIBE": {states: loggedIn, run: bind(parseMailbox, (*session).unsubscribe)},
		"LIST":        {states: loggedIn, run: bind(parseList, (*session).list)},
		"LSUB":        {states: loggedIn, run: bind(parseLsub, (*session).lsub)},
		"STATUS":      {states: loggedIn, run: bind(parseStatus, (*session).status)},
		"APPEND":      {states: loggedIn, run: bind(parseAppend, (*session).append), streams: until(parseAppend)},
		"COMPRESS":    {states: loggedIn, run: bind(parseCompress, (*session).compress)},
		"NOTIFY":      {states: loggedIn, run: bind(parseNotify, (*session).setNotify)},
		"IDLE":        {states: loggedIn, run: bind(parseNothing, (*session).idle)},

		"GETMETADATA":  {states: loggedIn, run: bind(parseGetMetadata, (*session).getMetadata)},
		"SETMETADATA":  {states: loggedIn, run: bind(parseSetMetadata, (*session).setMetadata)},
		"GETQUOTA":     {states: loggedIn, run: bind(parseGetQuota, (*session).getQuota)},
		"GETQUOTAROOT": {states: loggedIn, run: bind(parseMailbox, (*session).getQuotaRoot)},

		"CHECK":    {states: selected, run: bind(parseNothing, (*session).noop)},
		"CLOSE":    {states: selected, leaves: true, run: bind(parseNothing, (*session).closeMailbox)},
		"UNSELECT": {states: selected, leaves: true, run: bind(parseNothing, (*session).unselectMailbox)},
		"EXPUNGE":  {states: selected, run: bind(parseNothing, (*session).expunge)},
		"SEARCH":   {states: selected, bySeq: true, numbers: true, run: bindSearch(parseSearch, (*session).search)},
		"SORT":     {states: selected, bySeq: true, numbers: true, run: bindSearch(parseSort, (*session).sort)},
		"THREAD":   {states: selected, bySeq: true, numbers: true, run: bind(parseThread, (*session).thread)},
		"FETCH":    {states: selected, bySeq: true, numbers: true, run: bind(parseFetch, (*session).fetch)},
		"STORE":    {states: selected, bySeq: true, numbers: true, run: bind(parseStore, (*session).store)},
		"COPY":     {states: selected, numbers: true, run: bind(parseCopy, (*session).copyMessages)},
		"MOVE":     {states: selected, numbers: true, run: bind(parseCopy, (*session).moveMessages)},

		"ESEARCH":      {states: loggedIn, byUID: true, run: bindSearch(parseMultiSearch, (*session).multiSearch)},
		"CANCELUPDATE": {states: selected, run: bind(parseCancelUpdate, (*session).cancelUpdate)},

		"REPLACE":     {states: selected, numbers: true, run: bind(parseReplace, (*session).replace), streams: until(parseReplace)},
		"UID REPLACE": {states: selected, byUID: true, run: bind(parseReplace, (*session).replace), streams: until(parseReplace)},

		"UIDBATCHES": {states: selected, run: bind(parseUIDBatches, (*session).uidBatches)},

		"UID EXPUNGE": {states: selected, byUID: true, run: bind(parseUIDExpunge, (*session).uidExpunge)},
		"UID SEARCH":  {states: selected, byUID: true, run: bindSearch(parseSearch, (*session).search)},
		"UID SORT":    {states: selected, byUID: true, run: bindSearch(parseSort, (*session).sort)},
		"UID THREAD":  {states: selected, byUID: true, run: bind(parseThread, (*session).thread)},
		"UID FETCH":   {states: selected, byUID: true, run: bind(parseFetch, (*session).fetch)},
		"UID STORE":   {states: selected, byUID: true, run: bind(parseStore, (*session).store)},
		"UID COPY":    {states: selected, byUID: true, run: bind(parseCopy, (*session).copyMessages)},
		"UID MOVE":    {states: selected, byUID: true, run: bind(parseCopy, (*session).moveMessages)},
	}
}

// unknownCommand is the name of what is not in the table, for metrics.
const unknownCommand = "(unknown)"

// lookup reads the tag and name of a command, and finds it in the table. The
// tag is "*" if there is none to reply to.
func (s *session) lookup(d *imap.Decoder) (tag, name string, cmd command, err error) {
	tag = d.Tag()
	if d.Err() != nil {
		return "*", unknownCommand, command{}, d.Err()
	}
	d.SP()
	name = d.Word()
	if name == "UID" {
		d.SP()
		name += " " + d.Word()
	}
	if d.Err() != nil {
		return tag, unknownCommand, command{}, d.Err()
	}
	cmd, ok := s.server.commands[name]
	switch {
	case !ok || s.disabled(commandCapabilities[name]):
		return tag, unknownCommand, command{}, imap.Bad("unknown command %+q", name)
	case cmd.states&s.state() == 0:
		return tag, name, command{}, imap.Bad("%s", notAllowed(cmd.states, s.state()))
	case cmd.numbers && s.uidOnly:
		return tag, name, command{}, imap.BadCode("UIDREQUIRED", "there are no sequence numbers after ENABLE UIDONLY")
	case cmd.states == selected && s.sel.gone && !cmd.leaves:
		return tag, name, command{}, imap.No("NONEXISTENT", "mailbox was deleted")
	}
	return tag, name, cmd, nil
}

// notAllowed tells a client why a command is not legal now.
func notAllowed(legal, now state) string {
	switch {
	case now == notAuthenticated:
		return "log in first"
	case legal == notAuthenticated:
		return "logged in already"
	}
	return "no mailbox is selected"
}

// bind joins a pure parser to a handler. The handler runs only if the whole
// command parsed, so no command can take half an effect on a syntax error.
func bind[T any](
	parse func(*imap.Decoder) T,
	run func(*session, context.Context, command, T) (imap.Response, error),
) handler {
	return func(s *session, ctx context.Context, cmd command, d *imap.Decoder) (imap.Response, error) {
		req := parse(d)
		if err := d.End(); err != nil {
			return imap.Response{}, err
		}
		return run(s, ctx, cmd, req)
	}
}

// until makes of a parser what tells whether it could parse all.
func until[T any](parse func(*imap.Decoder) T) func(*imap.Decoder) error {
	return func(d *imap.Decoder) error {
		parse(d)
		return d.End()
	}
}

// nothing is the request of commands without arguments.
type nothing struct{}

func parseNothing(*imap.Decoder) nothing { return nothing{} }

// mailboxRequest is the request of commands that take a mailbox name.
type mailboxRequest struct{ name string }

func parseMailbox(d *imap.Decoder) mailboxRequest {
	d.SP()
	return mailboxRequest{d.Mailbox()}
}

// storeResponses gives the response for each error of package store that a
// client can cause, with the codes of RFC 5530. A handler that knows better
// returns an *imap.Error itself; an error in neither is ours: [SERVERBUG].
var storeResponses = []struct {
	err  error
	resp imap.Response
}{
	{store.ErrNoMailbox, imap.Response{Type: "NO", Code: "NONEXISTENT", Text: "no such mailbox"}},
	{store.ErrMailboxExists, imap.Response{Type: "NO", Code: "ALREADYEXISTS", Text: "mailbox exists already"}},
	{store.ErrMailboxName, imap.Response{Type: "NO", Code: "CANNOT", Text: "mailbox name is not possible"}},
	{store.ErrHasChildren, imap.Response{Type: "NO", Code: "HASCHILDREN", Text: "mailbox has mailboxes below it"}},
	{store.ErrInbox, imap.Response{Type: "NO", Code: "CANNOT", Text: "not possible with Inbox"}},
	{store.ErrNotSubscribed, imap.Response{Type: "NO", Code: "NONEXISTENT", Text: "not subscribed"}},
	{store.ErrTooMany, imap.Response{Type: "NO", Code: "LIMIT", Text: "there are too many already"}},
	{store.ErrSameMailbox, imap.Response{Type: "NO", Code: "CANNOT", Text: "source and destination are the same mailbox"}},
	{store.ErrExpunged, imap.Response{Type: "NO", Code: "EXPUNGEISSUED", Text: "some messages are gone"}},
	{store.ErrOverQuota, imap.Response{Type: "NO", Code: "OVERQUOTA", Text: "account is over its quota"}},
	{store.ErrTooManyAnnotations, imap.Response{Type: "NO", Code: "METADATA TOOMANY", Text: "there are too many annotations already"}},
	{store.ErrSpecialUse, imap.Response{Type: "NO", Code: "USEATTR", Text: "special use is not possible"}},
	{store.ErrDiskFull, imap.Response{Type: "NO", Code: "UNAVAILABLE", Text: "no room at the moment"}},
	{store.ErrBusy, imap.Response{Type: "NO", Code: "UNAVAILABLE", Text: "server is too busy"}},
	{store.ErrKeyword, imap.Response{Type: "NO", Code: "LIMIT", Text: "keyword is not possible, or there are too many"}},
	{store.ErrClosed, imap.Response{Type: "NO", Code: "UNAVAILABLE", Text: "account is not available"}},
	{context.Canceled, imap.Response{Type: "NO", Code: "UNAVAILABLE", Text: "server is shutting down"}},
}

// statusFor maps any error a handler returns to the response the client sees.
// The error itself is for the log only: it may name paths and other users.
func statusFor(err error) imap.Response {
	var e *imap.Error
	if errors.As(err, &e) {
		return e.Response
	}
	for _, m := range storeResponses {
		if errors.Is(err, m.err) {
			return m.resp
		}
	}
	return imap.Response{Type: "NO", Code: "SERVERBUG", Text: "internal error"}
}
