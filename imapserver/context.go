package imapserver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/store"
)

const (
	// contextsMax bounds the searches of a session whose results are kept true.
	contextsMax = 16

	// contextBytesMax bounds the memory in bytes for the results of all of them. The
	// first search without order is taken in any case: RFC 5267, section 4.3.1, asks
	// for one.
	contextBytesMax = 8 << 20

	// uidBytes is what a result without order needs.
	uidBytes = 4
)

// searchContext is a search whose results the client is told changes of (RFC 5267,
// section 4.3), until the mailbox is left.
type searchContext struct {
	tag     string
	about   string // The mailbox, for the correlator: of ESEARCH only.
	byUID   bool
	fetch   []imap.FetchItem // Of messages that are delivered and come into the results (RFC 5465, section 7).
	search  *searcher
	matcher matcher
	results contextResults
}

// contextResults are the results of a context as the client knows them. What put
// and take return is told to the client.
type contextResults interface {
	has(uid store.UID) bool
	// put puts in messages that are not there, take takes out some that are.
	put(ctx context.Context, uids []store.UID) ([]placed, error)
	take(uids []store.UID) []placed
	bytes() int
}

// placed are messages that come into results or leave them, side by side.
type placed struct {
	position int // Of the first, from 1; 0: where they are in the order of the mailbox.
	uids     []store.UID
}

// mailboxResults are results in the order of the mailbox. Their client finds the
// places itself.
type mailboxResults struct{ uids *ranked[store.UID] }

func newMailboxResults(found []store.UID) mailboxResults {
	return mailboxResults{newRanked(cmp.Compare[store.UID], found)}
}

func (r mailboxResults) has(uid store.UID) bool { return r.uids.has(uid) }

func (r mailboxResults) bytes() int { return r.uids.size * uidBytes }

func (r mailboxResults) put(_ context.Context, uids []store.UID) ([]placed, error) {
	for _, uid := range uids {
		r.uids.insert(uid)
	}
	return []placed{{0, uids}}, nil
}

func (r mailboxResults) take(uids []store.UID) []placed {
	for _, uid := range uids {
		r.uids.remove(uid)
	}
	return []placed{{0, uids}}
}

// searching is a search while it runs.
type searching struct {
	cmd     command
	opts    imap.SearchOptions
	key     imap.SearchKey
	by      imap.SortProgram // Nil: in the order of the mailbox.
	about   string           // See searchContext.
	search  *searcher
	matcher matcher
}

// prepare compiles a search of the selected mailbox.
func (s *session) prepare(ctx context.Context, g *searching) (err error) {
	g.search = s.searcher()
	if g.opts.Return&imap.ReturnUpdate != 0 {
		if err := s.mayUpdate(g); err != nil {
			return err
		}
		s.watch.KeepTouched(true) // From before messages are looked at.
		g.search.live = &liveSearch{now: time.Now().Unix(), last: store.UID(s.sel.largest(true))}
	}
	g.matcher, err = g.search.compile(ctx, g.key)
	return err
}

// mayUpdate refuses UPDATE if it is switched off, or if the tag is the one of another
// context: the client could not tell their changes apart.
func (s *session) mayUpdate(g *searching) error {
	name := "CONTEXT=SEARCH"
	if g.by != nil {
		name = "CONTEXT=SORT"
	}
	switch {
	case s.disabled(name):
		return imap.Bad("%s is switched off", name)
	case s.sel.contextOf(s.tag) >= 0:
		return imap.Bad("tag is in use by another search with UPDATE")
	}
	return nil
}

// contextOf returns the place of the context that a tag stands for, -1 if none.
func (sel *selection) contextOf(tag string) int {
	return slices.IndexFunc(sel.contexts, func(c *searchContext) bool { return c.tag == tag })
}

// keepUpdated makes a context of a search that has been answered with the results
// that were found, or tells the client that there will be no updates (RFC 5267,
// section 4.3.1).
func (s *session) keepUpdated(ctx context.Context, g *searching, found []store.UID) error {
	if g.opts.Return&imap.ReturnUpdate == 0 {
		return nil
	}
	g.search.progress = func(int, int) {} // Updates belong to no command that could report any.
	c := &searchContext{tag: s.tag, about: g.about, byUID: g.cmd.byUID, search: g.search, matcher: g.matcher, fetch: g.opts.Update}
	if len(s.sel.contexts) == contextsMax {
		s.refuseUpdates(c, "too many searches are kept up to date")
		return nil
	}
	if g.by == nil {
		c.results = newMailboxResults(found)
	} else {
		results, err := g.search.sortedResults(ctx, found, g.by, contextBytesMax-s.sel.contextBytes())
		if err != nil {
			return fmt.Errorf("keeping the order of %d messages: %w", len(found), err)
		}
		if results == nil {
			s.refuseUpdates(c, "too many messages to keep in order")
			return nil
		}
		c.results = results
	}
	first := g.by == nil && len(s.sel.contexts) == 0
	if !first && s.sel.contextBytes()+c.results.bytes() > contextBytesMax {
		s.refuseUpdates(c, "too many results are kept up to date")
		return nil
	}
	s.sel.contexts = append(s.sel.contexts, c)
	return nil
}

// contextBytes returns what all contexts need.
func (sel *selection) contextBytes() (n int) {
	for _, c := range sel.contexts {
		n += c.results.bytes()
	}
	return n
}

// refuseUpdates tells that there are no updates, or no more.
func (s *session) refuseUpdates(c *searchContext, why string) {
	s.out.Response("*", imap.No(`NOUPDATE "`+c.tag+`"`, "%s", why).Response)
}

// cancelRequest is a parsed CANCELUPDATE.
type cancelRequest struct{ tags []string }

// parseCancelUpdate parses the arguments of CANCELUPDATE, RFC 5267, section 5:
//
//	"CANCELUPDATE" 1*(SP quoted)
func parseCancelUpdate(d *imap.Decoder) (req cancelRequest) {
	d.SP()
	req.tags = append(req.tags, d.AString())
	for d.TakeSP() {
		req.tags = append(req.tags, d.AString())
	}
	return req
}

// cancelUpdate ends contexts (RFC 5267, section 4.3.5): all that are named, or none
// if one of them is not there.
func (s *session) cancelUpdate(_ context.Context, _ command, req cancelRequest) (imap.Response, error) {
	for _, tag := range req.tags {
		if s.sel.contextOf(tag) < 0 {
			return imap.Response{}, imap.No("", "no search with UPDATE has the tag %+q", tag)
		}
	}
	s.endContexts(func(c *searchContext) bool { return slices.Contains(req.tags, c.tag) })
	return imap.OK("", "no further updates"), nil
}

// endContexts ends those contexts for which a function holds, if there is one. When
// there are none, changes need not be kept for them.
func (s *session) endContexts(which func(*searchContext) bool) {
	if which != nil {
		s.sel.contexts = slices.DeleteFunc(s.sel.contexts, which)
	}
	if len(s.sel.contexts) == 0 {
		s.watch.KeepTouched(false)
	}
}
