package store

import (
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/screen"
)

// TestSender says who counts for a message.
func TestSender(t *testing.T) {
	t.Parallel()
	f := ann()
	s := f.Sender()
	if s.MailFrom != "b+1@xn--bcher-kva.example" || s.IP.String() != "192.0.2.1" || s.Hello != "mx.example" || !s.HelloVerified || !s.MailFromVerified || len(s.DKIM) != 2 || s.Validation != screen.ValidationDMARC {
		t.Errorf("got %+v", s)
	}
	f.Forwarded, f.ForwardDKIM = true, "forwarder.example"
	s = f.Sender()
	if s.IP.IsValid() || s.Hello != "" || s.MailFrom != "" || s.HelloVerified || s.MailFromVerified || !slices.Equal(s.DKIM, []string{"lists.example"}) || s.From != f.From || s.FromOrg != "example" {
		t.Errorf("forwarded: got %+v", s)
	}
	f.DKIM = append(f.DKIM, "mail.forwarder.example", "xforwarder.example")
	if s := f.Sender(); !slices.Equal(s.DKIM, []string{"lists.example", "xforwarder.example"}) {
		t.Errorf("signatures below the forwarder's domain: got %q", s.DKIM)
	}
	if len(f.DKIM) != 4 {
		t.Errorf("the facts were changed: %+v", f)
	}
	if keys := (&Facts{}).Sender().Keys(); len(keys) != 0 {
		t.Errorf("nobody has keys %v", keys)
	}
}

// TestFactsBound: what is too large, or can't be a key, doesn't count.
func TestFactsBound(t *testing.T) {
	t.Parallel()
	long := string(make([]byte, 0, 1000))
	for len(long) < 1000 {
		long += "x.example."
	}
	f := Facts{HelloDomain: long, From: "a\x00b@c.example", FromOrg: long, ForwardDKIM: long, Validation: 99, MailFrom: "x@" + long}
	for i := range 30 {
		f.DKIM = append(f.DKIM, []string{"a.example", long, "", string(rune('a'+i%26)) + ".example"}[i%4])
	}
	s := f.Sender()
	if s.Hello != "" || s.From != "" || s.FromOrg != "" || s.MailFrom != "" || s.Validation != screen.ValidationStrict || len(s.DKIM) == 0 || len(s.DKIM) > dkimMax {
		t.Errorf("got %+v", s)
	}
	for i, d := range s.DKIM {
		if d == "" || len(d) > domainMax || slices.Contains(s.DKIM[:i], d) {
			t.Errorf("domain %q in %q", d, s.DKIM)
		}
	}
}

// TestJunkRules marks by mailbox.
func TestJunkRules(t *testing.T) {
	t.Parallel()
	re := regexp.MustCompile
	three := JunkRules{Automatic: true, Junk: re("^(junk|spam)"), Neutral: re("^(inbox|spam/later)"), NotJunk: re("^archive")}
	two := JunkRules{Automatic: true, Junk: three.Junk, Neutral: three.Neutral}
	rest := JunkRules{Automatic: true, Neutral: three.Neutral, NotJunk: three.NotJunk}
	neutral := JunkRules{Automatic: true, Junk: three.Junk, NotJunk: three.NotJunk}
	one := JunkRules{Automatic: true, Junk: three.Junk}
	off := three
	off.Automatic = false
	for _, tc := range []struct {
		name  string
		rules JunkRules
		box   Mailbox
		flag  Flags
		ok    bool
	}{
		{"junk by its name", three, Mailbox{Name: "Spam/2026"}, FlagJunk, true},
		{"the first expression counts", three, Mailbox{Name: "Spam/later"}, FlagJunk, true},
		{"neutral", three, Mailbox{Name: "Inbox"}, 0, true},
		{"not junk", three, Mailbox{Name: "Archive/2026"}, FlagNotJunk, true},
		{"none of three", three, Mailbox{Name: "Work"}, 0, false},
		{"the rest is not junk", two, Mailbox{Name: "Work"}, FlagNotJunk, true},
		{"the rest is junk", rest, Mailbox{Name: "Work"}, FlagJunk, true},
		{"the rest is neutral", neutral, Mailbox{Name: "Work"}, 0, true},
		{"one expression says nothing of the rest", one, Mailbox{Name: "Work"}, 0, false},
		{"one expression", one, Mailbox{Name: "Junk"}, FlagJunk, true},
		{"not enabled", off, Mailbox{Name: "Junk"}, 0, false},
		{"the one for junk, though not enabled", off, Mailbox{Name: "Werbung", Use: UseJunk}, FlagJunk, true},
		{"the one for junk, whatever its name", three, Mailbox{Name: "Archive", Use: UseJunk}, FlagJunk, true},
	} {
		if flag, ok := tc.rules.mark(&tc.box); flag != tc.flag || ok != tc.ok {
			t.Errorf("%s: got %v, %v", tc.name, flag.Names(), ok)
		}
	}

	in, junk, archive, work := Mailbox{Name: "Inbox"}, Mailbox{Name: "Junk"}, Mailbox{Name: "Archive"}, Mailbox{Name: "Work"}
	trash := Mailbox{Name: "Trash", Use: UseTrash}
	for _, tc := range []struct {
		name        string
		rules       JunkRules
		from        *Mailbox // Nil: from outside.
		to          Mailbox
		flags, want Flags
	}{
		{"comes to junk", three, nil, junk, FlagSeen, FlagSeen | FlagJunk},
		{"comes to junk marked", three, nil, junk, FlagNotJunk, FlagNotJunk},
		{"comes to Inbox marked", three, nil, in, FlagJunk, FlagJunk},
		{"is moved to junk", three, &in, junk, FlagNotJunk | FlagSeen, FlagJunk | FlagSeen},
		{"is moved to the archive", three, &in, archive, FlagJunk, FlagNotJunk},
		{"is taken back", three, &junk, in, FlagJunk, 0},
		{"is taken back, marked by hand", three, &junk, in, FlagNotJunk, FlagNotJunk},
		{"was marked by hand in a neutral one", three, &in, Mailbox{Name: "Inbox/old"}, FlagJunk, FlagJunk},
		{"is moved where there is no rule", three, &junk, work, FlagJunk, FlagJunk},
		{"is thrown away unmarked", two, &in, trash, 0, FlagNotJunk},
		{"is thrown away as junk", two, &junk, trash, FlagJunk, FlagJunk},
		{"both, moved to Inbox", three, &work, in, junkFlags, junkFlags},
	} {
		got := Flags(0)
		if tc.from == nil {
			got = tc.rules.arriving(&tc.to, tc.flags)
		} else {
			got = tc.rules.moving(tc.from, &tc.to, tc.flags)
		}
		if got != tc.want {
			t.Errorf("%s: got %v", tc.name, got.Names())
		}
	}
}

// do changes what is in mailboxes of account a.
func (w *world) do(fn func(tx *Tx) error) {
	w.t.Helper()
	if err := w.account("a").Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// move moves or copies a message.
func (w *world) move(from string, uid UID, to string, copies bool) {
	w.t.Helper()
	w.do(func(tx *Tx) error {
		src, err := tx.Mailbox(from)
		if err != nil {
			return err
		}
		dst, err := tx.Mailbox(to)
		if err != nil {
			return err
		}
		if copies {
			_, err = tx.Copy(&src, &dst, []UID{uid})
		} else {
			_, err = tx.Move(&src, &dst, []UID{uid})
		}
		return err
	})
}

// flagsOf returns the junk flags of a message.
func (w *world) flagsOf(mailbox string, uid UID) (flags Flags) {
	w.t.Helper()
	w.do(func(tx *Tx) error {
		mb, err := tx.Mailbox(mailbox)
		if err != nil {
			return err
		}
		m, err := tx.Message(mb.ID, uid)
		flags = m.Flags() & junkFlags
		return err
	})
	return flags
}

func (w *world) create(names ...string) {
	w.t.Helper()
	w.do(func(tx *Tx) error {
		for _, name := range names {
			if _, err := tx.CreateMailbox(name, UseNone); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) mark(mailbox string, uid UID, flags Flags) {
	w.t.Helper()
	w.do(func(tx *Tx) error {
		mb, err := tx.Mailbox(mailbox)
		if err == nil {
			_, err = tx.SetFlags(&mb, []UID{uid}, FlagChange{Op: FlagsReplace, Flags: flags})
		}
		return err
	})
}

// TestIntrobox: mail that was put elsewhere for a look counts where it belongs, once
// the user has decided.
func TestIntrobox(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		steps func(w *world)
		want  string // History of Inbox.
		intro string // History of the mailbox it was put into.
	}{
		{"nothing", func(*world) {}, "", ""},
		{"taken to Inbox", func(w *world) { w.move("Intro", 1, "Inbox", false) }, "+", ""},
		{"copied to Inbox", func(w *world) { w.move("Intro", 1, "Inbox", true) }, "+", ""},
		{"taken to junk", func(w *world) { w.move("Intro", 1, "Junk", false) }, "-", ""},
		{"taken elsewhere", func(w *world) { w.move("Intro", 1, "Work", false) }, "", ""},
		{"marked and left there", func(w *world) { w.mark("Intro", 1, FlagJunk) }, "-", ""},
		{"marked as junk, and taken to Inbox", func(w *world) { w.mark("Intro", 1, FlagJunk); w.move("Intro", 1, "Inbox", false) }, "-", ""},
		{"marked, and not", func(w *world) { w.mark("Intro", 1, FlagJunk); w.mark("Intro", 1, 0) }, "", ""},
		{"taken to Inbox, and unmarked", func(w *world) { w.move("Intro", 1, "Inbox", false); w.mark("Inbox", 1, 0) }, "", ""},
		{"back and forth", func(w *world) {
			w.move("Intro", 1, "Inbox", false)
			w.mark("Inbox", 1, 0)
			w.move("Inbox", 1, "Intro", false)
			w.move("Intro", 2, "Inbox", false)
		}, "", ""},
		{"after a restart", func(w *world) { w.restart(); w.move("Intro", 1, "Inbox", false); w.restart() }, "+", ""},
		{"taken to Inbox and expunged", func(w *world) { w.move("Intro", 1, "Inbox", false); expunge(w.t, w.account("a"), 1) }, "+", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelRules, "a")
			w.create("Junk", "Work")
			w.give(1, ann(), Recipient{Mailbox: "Intro", Destined: "Inbox"})
			if got := w.flagsOf("Intro", 1); got != 0 {
				t.Errorf("it came marked %v", got.Names())
			}
			tc.steps(w)
			if got := w.history("Inbox", ann()); got != tc.want {
				t.Errorf("history %q, want %q", got, tc.want)
			}
			if got := w.history("Intro", ann()); got != tc.intro {
				t.Errorf("history of the other %q, want %q", got, tc.intro)
			}
		})
	}
}

// TestMarksByMailbox: mail is marked by where it comes to, whoever puts it there,
// and sessions are told.
func TestMarksByMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelRules, "a")
	w.create("Junk", "Archive")
	watch, sel := selectBox(t, w.account("a"), "Junk")
	defer watch.Close()
	w.give(1, ann(), Recipient{})
	w.move("Inbox", 1, "Junk", true)
	w.move("Inbox", 1, "Archive", false)
	w.give(2, ann(), Recipient{Mailbox: "Junk"})
	if _, err := appendTo(t, w.account("a"), "Junk", testMessage(3, "x"), AppendOptions{Flags: FlagFlagged}); err != nil {
		t.Fatal(err)
	}
	for uid := range UID(3) {
		if got := w.flagsOf("Junk", uid+1); got != FlagJunk {
			t.Errorf("UID %d is marked %v", uid+1, got.Names())
		}
	}
	if got := w.flagsOf("Archive", 1); got != FlagNotJunk {
		t.Errorf("in the archive it is marked %v", got.Names())
	}
	changes := watch.Take(TakeAll)
	if told := follow(t, nil, changes); !slices.Equal(told, []UID{1, 2, 3}) {
		t.Errorf("told of %v", told)
	}
	for _, e := range sel.Entries([]UID{1, 2, 3}, nil) {
		if e.Flags()&junkFlags != FlagJunk {
			t.Errorf("UID %d is seen as marked %v", e.UID, e.Flags().Names())
		}
	}
	// The message first put into Inbox was junk, and then not; the other counts for
	// its mailbox.
	if in, junk := w.history("Inbox", ann()), w.history("Junk", ann()); in != "+" || junk != "-" {
		t.Errorf("histories %q and %q", in, junk)
	}
}

// TestTrainingRows: a change of class asks for training, a change of other flags
// does not.
func TestTrainingRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	ask := func(what string, want Training, fn func(tx *Tx) error) {
		t.Helper()
		var got []Training
		w.do(func(tx *Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			var err error
			if got, err = bstore.QueryTx[Training](tx.b).List(); err != nil {
				return err
			}
			_, err = bstore.QueryTx[Training](tx.b).Delete()
			return err
		})
		if want.EmailID == 0 && len(got) == 0 {
			return
		}
		if len(got) != 1 || got[0].EmailID != want.EmailID || got[0].Junk != want.Junk || got[0].NotJunk != want.NotJunk {
			t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
	set := func(flags Flags) func(tx *Tx) error {
		return func(tx *Tx) error {
			mb, err := tx.Mailbox("Inbox")
			if err == nil {
				_, err = tx.SetFlags(&mb, []UID{1}, FlagChange{Op: FlagsReplace, Flags: flags})
			}
			return err
		}
	}
	m, err := appendTo(t, w.account("a"), "Inbox", testMessage(1, "x"), AppendOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ask("seen", Training{}, set(FlagSeen))
	ask("junk", Training{EmailID: m.EmailID, Junk: true}, set(FlagSeen|FlagJunk))
	ask("junk and flagged", Training{}, set(FlagFlagged|FlagJunk))
	ask("both", Training{EmailID: m.EmailID}, set(junkFlags))
	ask("none in place of both", Training{}, set(0))
	ask("not junk", Training{EmailID: m.EmailID, NotJunk: true}, set(FlagNotJunk))
}

// TestVerdict: a reason is kept with the message, in bounds.
func TestVerdict(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a")
	for i, size := range []int{0, 100, VerdictMax, VerdictMax + 1} {
		w.give(i, ann(), Recipient{Verdict: make([]byte, size), Reason: "no-reason", List: true, Forwarded: i == 1, ForwardDKIM: "forwarder.example"})
	}
	w.restart()
	for i, want := range []int{0, 100, VerdictMax, 0} {
		e := w.email("a", i)
		f := ann()
		if len(e.Verdict) != want || e.Facts.Reason != "no-reason" || !e.Facts.List || e.Facts.Forwarded != (i == 1) || e.Facts.ForwardDKIM != "forwarder.example" {
			t.Errorf("message %d: got verdict of %d bytes and %+v", i, len(e.Verdict), e.Facts)
		}
		if e.Facts.From != f.From || e.Facts.HelloDomain != f.HelloDomain || !e.Facts.HelloVerified || !e.Facts.MailFromVerified || e.Facts.FromOrg != f.FromOrg || e.Facts.Validation != f.Validation || !slices.Equal(e.Facts.DKIM, f.DKIM) {
			t.Errorf("message %d: got %+v", i, e.Facts)
		}
	}
	bad := w.learnedMail(9, ann(), Recipient{Destined: "a//b"})
	if err := w.d.Deliver(t.Context(), bad); !errors.Is(err, ErrMailboxName) {
		t.Errorf("destined for what can't be a mailbox: %v", err)
	}
}
