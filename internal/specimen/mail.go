package specimen

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/store"
)

// mailbox names of Main besides those every account has.
const (
	archive = "Archive"
	nested  = "Lists/go/nüts + bolts"
	many    = "Keywords"
	trash   = "Trash"
	renamed = "Renamed"
)

// manyKeywords is more than fit into the bits of a row.
const manyKeywords = 60

// makeAccounts makes the accounts and the mail in them, all of it applied.
func (s *specimen) makeAccounts(ctx context.Context) error {
	return s.withStore(ctx, nil, func(d *store.Dir) error {
		for _, name := range append([]string{gone}, accounts...) {
			if err := s.makeAccount(ctx, d, name); err != nil {
				return err
			}
		}
		for _, step := range []func(context.Context, *store.Dir) error{s.deliverAll, s.fillMain, s.changeMain, s.nextSegment} {
			if err := step(ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeFilter trains the junk filter of Main with what is marked there.
func (s *specimen) makeFilter(ctx context.Context) error {
	withFilter := func(o *store.Options) {
		o.JunkParams = func(name string) (junk.Params, bool) { return config.DefaultJunkFilter().Params(), name == Main }
	}
	return s.withStore(ctx, withFilter, func(d *store.Dir) error {
		return withAccount(ctx, d, Main, func(a *store.Account) error {
			_, err := a.Retrain(ctx, nil)
			return err
		})
	})
}

// makeAccount makes one account with its first mailboxes and a password.
func (s *specimen) makeAccount(ctx context.Context, d *store.Dir, name string) error {
	c, err := s.password(nil, auth.WithCRAMMD5)
	if err != nil {
		return err
	}
	a, err := d.Create(ctx, name, store.NewAccount{Credentials: []store.Credential{c}, Mailboxes: []store.NewMailbox{
		{Name: "Sent", Use: store.UseSent}, {Name: archive, Use: store.UseArchive}, {Name: trash, Use: store.UseTrash},
		{Name: "Drafts", Use: store.UseDrafts}, {Name: "Junk", Use: store.UseJunk},
	}})
	if err != nil {
		return err
	}
	return a.Close()
}

// deliver delivers a message to an account's Inbox. It is on disk, and perhaps not
// applied, when it returns.
func (s *specimen) deliver(ctx context.Context, d *store.Dir, n int, msg []byte, names ...string) error {
	content := d.ContentBytes(msg)
	if len(msg) > store.InlineMax {
		var err error
		if content, err = d.ContentFile(ctx, int64(len(msg)), bytes.NewReader(msg)); err != nil {
			return err
		}
	}
	analysis, err := store.Analyze(content.ReaderAt(), int64(len(msg)))
	if err != nil {
		return err
	}
	dl := store.Delivery{Content: content, Analysis: analysis, Received: at(n), Facts: store.Facts{
		RemoteIP: "192.0.2.1", LocalIP: "192.0.2.2", EHLO: "remote.example", MailFrom: "ann@remote.example",
		TLSVersion: 0x0304, TLSCipher: 0x1301, SMTPUTF8: true, CID: 77,
		HelloDomain: "remote.example", HelloVerified: true, MailFromVerified: true, From: "ann@remote.example", FromOrg: "remote.example",
		Validation: int(screen.ValidationStrict), DKIM: []string{"remote.example", "forwarder.example"},
	}}
	for _, name := range names {
		a, err := d.Account(ctx, name)
		if err != nil {
			return err
		}
		defer a.Close()
		dl.To = append(dl.To, store.Recipient{
			Announce: name == Main, Account: a, RcptTo: name + "@" + Domain, Flags: marks[n%3], Reason: "no-reason", Verdict: []byte(`{"reason":"no-reason"}`), List: true, Keywords: []string{"delivered"},
			Forwarded: n%2 == 0, ForwardDKIM: "forwarder.example", Prefix: []byte("Delivered-To: " + name + "@" + Domain + "\r\nReturn-Path: <ann@remote.example>\r\n"),
		})
	}
	return d.Deliver(ctx, dl)
}

// deliverAll delivers messages that came in over SMTP: one for all accounts, a
// large one, and a thread.
func (s *specimen) deliverAll(ctx context.Context, d *store.Dir) error {
	for _, m := range []struct {
		n   int
		msg []byte
		to  []string
	}{
		{1, text(1, "to all"), accounts},
		{2, large(2, "larger than fits into the journal", store.InlineMax), []string{Main, Waiting}},
		{3, reply(3, 1, "to all"), []string{Main}},
		{4, reply(4, 1000, "answers what is not here"), []string{Main}},
		{5, parts(5, "has parts"), []string{Main}},
		{6, []byte("no header\r\n"), []string{Main}},
	} {
		if err := s.deliver(ctx, d, m.n, m.msg, m.to...); err != nil {
			return err
		}
	}
	if err := s.reject(ctx, d); err != nil {
		return err
	}
	return waitApplied(ctx, d, accounts)
}

// marks are the flags of messages as they come in, in turn.
var marks = [...]store.Flags{0, store.FlagJunk, store.FlagNotJunk}

// reject leaves a message that was refused, and stays for as long as the data.
func (s *specimen) reject(ctx context.Context, d *store.Dir) error {
	return withAccount(ctx, d, Main, func(a *store.Account) error {
		msg := text(7, "refused")
		content := d.ContentBytes(msg)
		analysis, err := store.Analyze(content.ReaderAt(), content.Size())
		if err != nil {
			return err
		}
		return d.Deliver(ctx, store.Delivery{Content: content, Analysis: analysis, Received: s.now.Add(farAhead), To: []store.Recipient{
			{Account: a, Mailbox: "Rejects", Destined: "Inbox", Reject: true, RcptTo: Main + "@" + Domain, Reason: "no-reason"},
		}})
	})
}

// waitApplied waits until the accounts have applied what was delivered.
func waitApplied(ctx context.Context, d *store.Dir, names []string) error {
	for _, name := range names {
		err := withAccount(ctx, d, name, func(a *store.Account) error {
			a.WaitDurable(ctx)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nextSegment delivers to the account that will be removed, so that what the others
// have applied before is no more in the journal.
func (s *specimen) nextSegment(ctx context.Context, d *store.Dir) error {
	for range 2 {
		if err := s.deliver(ctx, d, 90, large(90, "fills a segment", segment*2/3), gone); err != nil {
			return err
		}
	}
	return waitApplied(ctx, d, []string{gone})
}

// appended is a message that a client appends.
type appended struct {
	mailbox  string
	subject  string
	flags    store.Flags
	keywords []string
}

// manyNames returns more keywords than fit into the bits of a row.
func manyNames() (names []string) {
	for i := range manyKeywords {
		names = append(names, fmt.Sprintf("kw%02d", i))
	}
	return names
}

// appends are the messages of Main that did not come in over SMTP, in the order of
// their numbers, from firstAppended on.
var appends = []appended{
	{"Inbox", "seen and answered", store.FlagSeen | store.FlagAnswered, nil},
	{"Inbox", "flagged, forwarded", store.FlagFlagged | store.FlagForwarded, []string{"todo"}},
	{"Inbox", "marked as deleted", store.FlagDeleted, nil},
	{"Inbox", "copied to Archive, same file", store.FlagSeen, []string{"todo"}},
	{"Inbox", "moved to Trash", 0, nil},
	{"Inbox", "expunged", store.FlagDeleted, nil},
	{"Inbox", "expunged while a session reads it", store.FlagDeleted, nil},
	{"Drafts", "draft", store.FlagDraft | store.FlagSeen, nil},
	{"Junk", "junk, phishing", store.FlagJunk | store.FlagPhishing, nil},
	{archive, "not junk, notified", store.FlagNotJunk | store.FlagMDNSent, nil},
	{nested, "in a mailbox below others", 0, []string{"list"}},
	{many, "has more keywords than fit into a row", store.FlagSeen, manyNames()},
	{many, "has the last keyword only", 0, []string{fmt.Sprintf("kw%02d", manyKeywords-1)}},
	{renamed, "in a renamed mailbox", store.FlagSeen, nil},
	{"Deleted mailbox", "gone with its mailbox", 0, nil},
}

// firstAppended is the number of the first of appends.
const firstAppended = 100

// find returns the UID that a message of appends has, if it was not moved.
func find(subject string) (uid store.UID) {
	i := 0
	for appends[i].subject != subject {
		i++
	}
	for _, m := range appends[:i+1] {
		if m.mailbox == appends[i].mailbox {
			uid++
		}
	}
	if appends[i].mailbox == "Inbox" {
		uid += 6 // Those that deliverAll brings.
	}
	return uid
}

// fillMain appends messages as clients do.
func (s *specimen) fillMain(ctx context.Context, d *store.Dir) error {
	return withAccount(ctx, d, Main, func(a *store.Account) error {
		err := a.Update(ctx, func(tx *store.Tx) error {
			for _, name := range []string{nested, many, "Before", "Deleted mailbox"} {
				if _, err := tx.CreateMailbox(name, store.UseNone); err != nil {
					return err
				}
			}
			return tx.RenameMailbox("Before", renamed)
		})
		for i, m := range appends {
			if err == nil {
				err = appendOne(ctx, a, firstAppended+i, m)
			}
		}
		return err
	})
}

// appendOne appends a message.
func appendOne(ctx context.Context, a *store.Account, n int, m appended) error {
	msg := text(n, m.subject)
	staged, err := a.Stage(ctx, int64(len(msg)), bytes.NewReader(msg))
	if err != nil {
		return err
	}
	return a.Update(ctx, func(tx *store.Tx) error {
		mb, err := tx.Mailbox(m.mailbox)
		if err != nil {
			return err
		}
		_, err = tx.Append(&mb, staged, store.AppendOptions{Flags: m.flags, Keywords: m.keywords, Received: at(n)})
		return err
	})
}

// changeMain does what leaves rows of other kinds: copies, moves, deletions,
// subscriptions, another password, counts of what was sent.
func (s *specimen) changeMain(ctx context.Context, d *store.Dir) error {
	return withAccount(ctx, d, Main, func(a *store.Account) error {
		if err := a.Update(ctx, moveAround); err != nil {
			return err
		}
		credentials, err := a.Credentials(ctx)
		if err != nil {
			return err
		}
		phone, err := s.password(credentials)
		if err != nil {
			return err
		}
		phone.Name, phone.Scopes = "phone", []string{"imap"}
		if err := a.SetPassword(ctx, phone); err != nil {
			return err
		}
		if err := a.Update(ctx, func(tx *store.Tx) error { return tx.UseCredential(credentials[0].ID, s.now) }); err != nil {
			return err
		}
		to := []store.SentTo{{Address: "bob@remote.example", First: at(0), Last: at(1)}}
		hours := []store.SentHour{{Hour: s.now.Unix() / 3600, Messages: 3, FirstTime: 1}}
		return a.RecordSent(ctx, to, hours, 0)
	})
}

// annotate leaves annotations of the account and of Inbox.
func annotate(tx *store.Tx, inbox int64) error {
	if err := tx.SetAnnotations(0, []store.AnnotationChange{{Name: "/private/vendor/example/x", Value: []byte{0, 1, 255}}}); err != nil {
		return err
	}
	return tx.SetAnnotations(inbox, []store.AnnotationChange{{Name: "/private/comment", Value: []byte("where mail comes in")}, {Name: "/shared/comment", Value: []byte{}}})
}

// moveAround changes mailboxes and their messages.
func moveAround(tx *store.Tx) error {
	var boxes [3]store.Mailbox
	for i, name := range []string{"Inbox", archive, trash} {
		var err error
		if boxes[i], err = tx.Mailbox(name); err != nil {
			return err
		}
	}
	if _, err := tx.Copy(&boxes[0], &boxes[1], []store.UID{find("copied to Archive, same file")}); err != nil {
		return err
	}
	if _, err := tx.Move(&boxes[0], &boxes[2], []store.UID{find("moved to Trash")}); err != nil {
		return err
	}
	if _, err := tx.Expunge(&boxes[0], []store.UID{find("expunged")}); err != nil {
		return err
	}
	if err := annotate(tx, boxes[0].ID); err != nil {
		return err
	}
	if err := tx.Unsubscribe(trash); err != nil {
		return err
	}
	if err := tx.Subscribe("Not there"); err != nil {
		return err
	}
	return tx.DeleteMailbox("Deleted mailbox")
}
