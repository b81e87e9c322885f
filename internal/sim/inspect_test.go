package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// inspection looks at all that a node has in the end.
type inspection struct {
	world *world
	node  *node
}

// inspect is called when a process serves nothing any more, and has its files open.
func (in *inspection) inspect(p *process) {
	in.node = p.node
	ctx := context.WithoutCancel(in.world.t.Context())
	bad := func(format string, args ...any) {
		in.world.t.Errorf("%s: %s", in.node.name, fmt.Sprintf(format, args...))
	}
	problems, err := p.sys.Accounts().Check(ctx, true)
	for _, problem := range problems {
		bad("store: %v", problem)
	}
	if err != nil {
		bad("checking the store: %v", err)
	}
	for _, err := range p.sys.Queue().Check(ctx) {
		bad("queue: %v", err)
	}
	left, err := p.sys.Queue().List(ctx, queue.Filter{}, queue.Sort{})
	for _, m := range left {
		bad("still in the queue: %s to %s, %d attempts, %v", m.Subject, m.Rcpt, m.Attempts, m.Results)
	}
	if err != nil {
		bad("listing the queue: %v", err)
	}
	if keys, err := p.sys.Queue().Unconfirmed(ctx, 10); err != nil || len(keys) > 0 {
		bad("keys that were not confirmed: %v, %v", keys, err)
	}
	if spools, err := filepath.Glob(filepath.Join(p.dir, "data", "tmp", "*")); err != nil || len(spools) > 0 {
		bad("left in tmp: %q, %v", spools, err)
	}
	names, err := p.sys.Accounts().Accounts()
	if err != nil {
		bad("listing accounts: %v", err)
	}
	for _, name := range names {
		if err := in.account(ctx, p.sys.Accounts(), name); err != nil {
			bad("account %s: %v", name, err)
		}
	}
}

// account looks at all messages of an account.
func (in *inspection) account(ctx context.Context, dir *store.Dir, name string) (err error) {
	a, err := dir.Account(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if keys, err := a.HandoverKeys(ctx); err != nil || len(keys) > 0 {
		in.world.t.Errorf("%s: account %s keeps keys for the queue: %q, %v", in.node.name, name, keys, err)
	}
	var emails []store.Email
	err = a.View(ctx, func(tx *store.Tx) error {
		boxes, err := tx.Mailboxes()
		for _, mb := range boxes {
			for uid := store.UID(1); uid < mb.UIDNext && err == nil; uid++ {
				var m store.Message
				if m, err = tx.Message(mb.ID, uid); err != nil {
					break
				}
				var e store.Email
				if e, err = tx.Email(m.EmailID); err == nil {
					emails = append(emails, e)
				}
			}
		}
		return err
	})
	for i := 0; i < len(emails) && err == nil; i++ {
		err = in.email(a, &emails[i])
	}
	return err
}

// email notes a message that arrived.
func (in *inspection) email(a *store.Account, e *store.Email) error {
	f, err := a.OpenMessage(e.ID)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	l, place := in.world.ledger, in.node.name+"/"+a.Name()
	l.mu.Lock()
	defer l.mu.Unlock()
	part, err := message.Parse(f, int64(len(content)))
	if err != nil {
		return err
	}
	if report, err := dsn.Parse(f, &part); err == nil {
		l.notification(place, report, string(content))
		return nil
	}
	id := idPattern.FindString(e.MessageID)
	m := l.letters[id]
	switch {
	case m == nil:
		l.strays = append(l.strays, fmt.Sprintf("%q in %s", e.MessageID, place))
	case !strings.HasSuffix(string(content), m.content):
		l.strays = append(l.strays, fmt.Sprintf("%q in %s, changed:\n%s", e.MessageID, place, content))
	case !m.goesTo(e.Facts.RcptTo, place):
		l.strays = append(l.strays, fmt.Sprintf("%q in %s, for %s", e.MessageID, place, e.Facts.RcptTo))
	case e.Received.Add(in.world.moved(m)).Before(m.notBefore):
		l.strays = append(l.strays, fmt.Sprintf("%q in %s at %v, and not after %v", e.MessageID, place, e.Received, m.notBefore))
	default:
		l.copies[id+" "+e.Facts.RcptTo+" "+place]++
	}
	return nil
}

// moved returns by how much the clock of the node of a sender was set in all. A
// message that is to be held is held by that clock.
func (w *world) moved(m *letter) time.Duration {
	name, _, _ := strings.Cut(m.place(), "/")
	for _, n := range w.nodes {
		if n.name == name {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.moved
		}
	}
	return 0
}

// goesTo tells whether a recipient of m has a copy in a place.
func (m *letter) goesTo(addr, place string) bool {
	for _, r := range m.to {
		for _, p := range r.places {
			if r.addr == addr && p == place {
				return true
			}
		}
	}
	return false
}

// notification notes one that arrived. l.mu is held.
func (l *ledger) notification(place string, r *dsn.Report, content string) {
	id := idPattern.FindString(r.Original.Get("Message-Id"))
	m := l.letters[id]
	if m == nil || m.place() != place {
		l.strays = append(l.strays, fmt.Sprintf("notification in %s:\n%s", place, content))
		return
	}
	for _, about := range r.Recipients {
		key := id + " " + about.Final.Text
		switch about.Action {
		case dsn.Failed:
			l.failed[key]++
		case dsn.Delayed:
			l.delayed[key]++
		case dsn.Delivered, dsn.Relayed, dsn.Expanded:
			l.told[key]++
		default:
			l.strays = append(l.strays, fmt.Sprintf("notification in %s about %q:\n%s", place, about.Action, content))
		}
	}
}
