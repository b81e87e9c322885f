package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/journal"
)

// forge writes a record to the journal that nobody applies before a restart.
func (w *world) forge(content *Content, change func(r *record)) {
	w.t.Helper()
	data := make([]byte, content.Size())
	if _, err := content.ReaderAt().ReadAt(data, 0); err != nil {
		w.t.Fatal(err)
	}
	dl := Delivery{Content: content, Analysis: analysis(w.t, data), Received: time.Now(), To: []Recipient{{Account: w.account("a"), Prefix: []byte("A: b\r\n")}}}
	r, err := w.d.reserve(w.t.Context(), dl)
	if err != nil {
		w.t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	if _, err := w.d.journal.Append(w.t.Context(), journal.Record{Type: recordDelivery, Data: r.encode(), Files: r.file}); err != nil {
		w.t.Fatal(err)
	}
	content.giveUp()
	w.d.unreserve(dl, r, 1)
}

// verify returns what Verify says of a directory, a line for each problem.
func verify(t testing.TB, dir string, change func(*Options)) string {
	t.Helper()
	opts := Options{Dir: dir}
	if change != nil {
		change(&opts)
	}
	var problems []Problem
	err := Verify(context.WithoutCancel(t.Context()), opts, VerifyOptions{
		Content: true, Temp: t.TempDir(), Workers: 2, Report: func(p Problem) { problems = append(problems, p) },
	})
	if err != nil {
		t.Error(err)
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.String(), b.String()) })
	var b strings.Builder
	for _, p := range problems {
		if p.Warning {
			b.WriteString("warning: ")
		}
		b.WriteString(p.String() + "\n")
	}
	return b.String()
}

// damage is one thing that is wrong with a data directory.
type damage struct {
	name  string
	forge func(w *world)             // Before the server is killed; may be nil.
	harm  func(w *world, dir string) // After it; may be nil.
	opts  func(*Options)
	want  []string // In what Verify says; none if nothing is to be said.
}

// one forges a record of a small message.
func one(change func(r *record)) func(w *world) {
	return func(w *world) { w.forge(w.d.ContentBytes(testMessage(7, "waits")), change) }
}

// TestVerify damages one thing each of a directory with two messages delivered,
// one appended, and one that waits in the journal with its content in a file.
func TestVerify(t *testing.T) {
	t.Parallel()
	for _, tc := range verifyCases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, "a", "b")
			w.broken = true // By what is forged.
			w.deliver(testMessage(0, "x"), "a", "b")
			w.deliver(testMessage(1, "x"), "a")
			w.wantInbox("a", testMessage(0, "x"), testMessage(1, "x"))
			w.wantInbox("b", testMessage(0, "x"))
			_, err := appendTo(t, w.account("b"), "Inbox", testMessage(2, "x"), AppendOptions{})
			must(w, err)
			c, err := w.d.ContentFile(t.Context(), 1000, bytes.NewReader(make([]byte, 1000)))
			if err != nil {
				t.Fatal(err)
			}
			w.forge(c, nil)
			if tc.forge != nil {
				tc.forge(w)
			}
			dir := w.crashed().dir
			if tc.harm != nil {
				tc.harm(w, dir)
			}
			got := verify(t, dir, tc.opts)
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("want %q, got %s", want, got)
				}
			}
			if n := strings.Count(got, "\n"); n != len(tc.want) {
				t.Errorf("%d problems, want %d: %s", n, len(tc.want), got)
			}
			if again := verify(t, dir, tc.opts); again != got {
				t.Errorf("at the second time: %s", again)
			}
		})
	}
}

// messageFile returns the path of the nth message of Inbox in another directory.
func messageFile(w *world, dir, account string, n int) string {
	rel, err := filepath.Rel(w.dir, w.account(account).messagePath(w.email(account, n).ID))
	if err != nil {
		w.t.Fatal(err)
	}
	return filepath.Join(dir, rel)
}

// waitingFile returns the path of the content that waits in the journal.
func waitingFile(w *world, dir string) string {
	names, err := filepath.Glob(filepath.Join(dir, "journal", "files", "*"))
	if err != nil || len(names) != 1 {
		w.t.Fatalf("files of the journal: %v, %v", names, err)
	}
	return names[0]
}

func must(w *world, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// flip changes a byte in the middle of a file.
func flip(w *world, path string) {
	w.t.Helper()
	data, err := os.ReadFile(path)
	must(w, err)
	data[len(data)/2] ^= 1
	must(w, os.WriteFile(path, data, 0o600))
}

// keep writes a record for account a to a directory of the journal.
func keep(w *world, dir, sub string, change func(r *record, k *kept)) {
	w.t.Helper()
	msg := testMessage(8, "kept")
	r := &record{
		seq: 1000, inline: msg, size: int64(len(msg)), analysis: analysis(w.t, msg), received: time.Now(),
		crc: w.d.ContentBytes(msg).crc, rcpts: []recordRcpt{{accountID: w.account("a").ID(), account: "a", mailbox: "Inbox", emailID: 9001, messageID: 9002}},
	}
	k := kept{seq: r.seq, accountID: w.account("a").ID(), lastID: 9002}
	if change != nil {
		change(r, &k)
	}
	k.data = bytes.Join(r.encode(), nil)
	d := &Dir{opts: Options{Dir: dir}}
	must(w, d.keepRecord(sub, k))
}

// inFile puts the content of a record that is kept into a file beside it.
func inFile(w *world, dir string) func(r *record, k *kept) {
	return func(r *record, k *kept) {
		k.content = filepath.Join(dir, "content")
		must(w, os.WriteFile(k.content, r.inline, 0o600))
		r.inline = nil
	}
}

var verifyCases = []damage{
	{name: "nothing"},
	{name: "one more that waits", forge: one(nil)},
	{name: "an id that a message has", forge: one(func(r *record) { r.rcpts[0].messageID = 2 }), want: []string{"account a: delivery 4 in the journal has id 2, which a row has already"}},
	{name: "an id that an email has", forge: one(func(r *record) { r.rcpts[0].emailID = 1 }), want: []string{"account a: delivery 4 in the journal has id 1, which a row has already"}},
	{name: "an id that waits already", forge: one(func(r *record) { r.rcpts[0].emailID -= 2 }), want: []string{"account a: delivery 4 in the journal has id 5, which delivery 3 in the journal has too"}},
	{name: "no id", forge: one(func(r *record) { r.rcpts[0].emailID = 0 }), want: []string{"delivery 4 in the journal: it has ids 0 and 8"}},
	{name: "an id beyond all", forge: one(func(r *record) { r.rcpts[0].messageID = 1 << 61 }), want: []string{"delivery 4 in the journal: it has ids 7 and 2305843009213693952"}},
	{name: "a mailbox that never was", forge: one(func(r *record) { r.rcpts[0].mailboxID = 99 }), want: []string{`account a: delivery 4 in the journal is for mailbox 99, "Inbox", that never was`}},
	{name: "a mailbox that was not known", forge: one(func(r *record) { r.rcpts[0].mailboxID = 0 })},
	{name: "a mailbox deleted since", forge: func(w *world) {
		must(w, w.account("a").Update(w.t.Context(), func(tx *Tx) error {
			_, err := tx.CreateMailbox("gone", UseNone)
			return err
		}))
		one(func(r *record) { r.rcpts[0].mailbox, r.rcpts[0].mailboxID = "gone", w.account("a").boxID("gone") })(w)
		must(w, w.account("a").Update(w.t.Context(), func(tx *Tx) error {
			return tx.DeleteMailbox("gone")
		}))
	}},
	{name: "a mailbox that can't be", forge: one(func(r *record) { r.rcpts[0].mailbox = "a//b" }), want: []string{`delivery 4 in the journal: it is for mailbox "a//b", which can't be`}},
	{name: "a prefix that is too long", forge: one(func(r *record) { r.rcpts[0].prefix = make([]byte, PrefixMax+1) }), want: []string{"delivery 4 in the journal: it has a prefix of 65537 bytes"}},
	{name: "a structure that can't be read", forge: one(func(r *record) { r.analysis.Tree = []byte{0xff} }), want: []string{"delivery 4 in the journal: structure: "}},
	{name: "a content that is not as it was", forge: one(func(r *record) { r.crc ^= 1 }), want: []string{"delivery 4 in the journal: its content does not have its checksum"}},
	{name: "a record that says nothing", forge: func(w *world) {
		_, err := w.d.journal.Append(w.t.Context(), journal.Record{Type: recordDelivery, Data: [][]byte{{99}}})
		must(w, err)
	}, want: []string{"delivery 4 in the journal: store: malformed delivery record"}},
	{name: "an account nobody knows", forge: one(func(r *record) { r.rcpts[0].accountID = strings.Repeat("ab", 16) }),
		want: []string{`1 deliveries, the first 4 in the journal, are for account "a" with id abababababababababababababababab, which is not there and was not removed`}},
	{name: "an account that was removed", forge: one(func(r *record) { r.rcpts[0].accountID = "removed" }), opts: func(o *Options) {
		o.Removed = func(id string) (bool, error) { return id == "removed", nil }
	}},
	{name: "too much waits for the quota", opts: func(o *Options) { o.QuotaSize = func(string) int64 { return 500 } },
		want: []string{"warning: account a: 216 bytes are used and 1006 more accepted, the quota is 500"}},

	{name: "content of the journal is damaged", harm: func(w *world, dir string) { flip(w, waitingFile(w, dir)) }, want: []string{"journal: file "}},
	{name: "content of the journal is gone", harm: func(w *world, dir string) { must(w, os.Remove(waitingFile(w, dir))) }, want: []string{"journal: file "}},
	{name: "a file that no record names", harm: func(w *world, dir string) {
		must(w, os.WriteFile(filepath.Join(dir, "journal", "files", "shared-9"), nil, 0o600))
	}, want: []string{"no record of the journal names file shared-9"}},
	{name: "the journal is gone", harm: func(w *world, dir string) { must(w, os.RemoveAll(filepath.Join(dir, "journal"))) }, want: []string{"there is no journal"}},
	{name: "the journal ends too early", harm: func(w *world, dir string) {
		db, err := openDatabase(filepath.Join(dir, "accounts", "b"))
		must(w, err)
		row := accountRow{ID: 1}
		must(w, db.Get(w.t.Context(), &row))
		row.Watermark = 9
		must(w, errors.Join(db.Update(w.t.Context(), &row), db.Close()))
	}, want: []string{"account b has applied delivery 9, the journal ends at 3"}},

	{name: "a message that the journal has is gone", harm: func(w *world, dir string) { must(w, os.Remove(messageFile(w, dir, "a", 1))) }},
	{name: "a message that the journal has is torn", harm: func(w *world, dir string) { must(w, os.Truncate(messageFile(w, dir, "a", 1), 7)) }},
	{name: "another message is gone", harm: func(w *world, dir string) { must(w, os.Remove(messageFile(w, dir, "b", 1))) }, want: []string{"account b: email 3: no such file"}},
	{name: "another message is damaged", harm: func(w *world, dir string) { flip(w, messageFile(w, dir, "b", 1)) }, want: []string{"account b: file of email 3 has"}},
	{name: "a file of a message that waits", harm: func(w *world, dir string) {
		must(w, os.WriteFile(filepath.Join(filepath.Dir(messageFile(w, dir, "a", 0)), "5"), nil, 0o600))
	}},
	{name: "an account can't be read", harm: func(w *world, dir string) {
		must(w, os.Truncate(filepath.Join(dir, "accounts", "a", indexFile), 5000))
	}, want: []string{"account a: can't be read"}},

	{name: "a record aside", harm: func(w *world, dir string) { keep(w, dir, asideDir, nil) }},
	{name: "a record aside with its content", harm: func(w *world, dir string) { keep(w, dir, asideDir, inFile(w, dir)) }},
	{name: "a record aside with an id that waits already", harm: func(w *world, dir string) {
		keep(w, dir, asideDir, func(r *record, _ *kept) { r.rcpts[0].emailID = 5 })
	}, want: []string{"which delivery 1000 put aside has too"}},
	{name: "a record aside under another name", harm: func(w *world, dir string) {
		keep(w, dir, asideDir, func(_ *record, k *kept) { k.lastID = 1 })
	}, want: []string{"put aside: its last id is 9002, its name has 1"}},
	{name: "content aside is damaged", harm: func(w *world, dir string) {
		keep(w, dir, asideDir, inFile(w, dir))
		names, err := filepath.Glob(filepath.Join(dir, "journal", asideDir, "*.content"))
		must(w, err)
		flip(w, names[0])
	}, want: []string{"put aside: its content has "}},
	{name: "a record aside that says nothing", harm: func(w *world, dir string) {
		must(w, os.WriteFile(filepath.Join(dir, "journal", asideDir, "1000-x-5"), []byte{99}, 0o600))
	}, want: []string{"delivery 1000-x-5 put aside: store: malformed delivery record"}},
	{name: "a record that failed", harm: func(w *world, dir string) { keep(w, dir, failedDir, nil) }, want: []string{"could not be applied"}},
	{name: "a record that failed and has an id that a row has", harm: func(w *world, dir string) {
		keep(w, dir, failedDir, func(r *record, _ *kept) { r.rcpts[0].messageID, r.rcpts[0].emailID = 9002, 1 })
	}, want: []string{"could not be applied", "delivery 1000 that failed has id 1, which a row has already"}},
	{name: "a record that failed since nobody could read it", harm: func(w *world, dir string) {
		must(w, os.WriteFile(filepath.Join(dir, "journal", failedDir, "4-unreadable-0"), []byte{99}, 0o600))
	}, want: []string{"could not be applied"}},
}

// TestVerifyErrors: what can't be looked at is no clean result.
func TestVerifyErrors(t *testing.T) {
	t.Parallel()
	if err := Verify(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "none")}, VerifyOptions{Report: func(Problem) {}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	w := newWorld(t, nil, "a")
	w.broken = true
	one(func(r *record) { r.rcpts[0].accountID = "x" })(w)
	broken := errors.New("broken")
	if err := Verify(t.Context(), Options{Dir: w.crashed().dir, Removed: func(string) (bool, error) { return false, broken }}, VerifyOptions{Report: func(Problem) {}}); !errors.Is(err, broken) {
		t.Errorf("nobody knows what was removed: %v", err)
	}
}

// TestCheckWaiting: a live check looks at what waits, and only at that.
func TestCheckWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, "a", "b")
	w.deliver(testMessage(0, "x"), "a", "b")
	w.wantInbox("a", testMessage(0, "x"))
	w.wantInbox("b", testMessage(0, "x"))
	reached, release := w.hold(FaultCommitBefore)
	w.deliver(testMessage(1, "x"), "a")
	<-reached
	if err := w.deliverFile(testMessage(2, "x"), "a"); err != nil {
		t.Fatal(err)
	}
	found := func() string {
		t.Helper()
		problems, err := w.d.Check(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, p := range problems {
			b.WriteString(p.String() + "\n")
		}
		return b.String()
	}
	if got := found(); got != "" {
		t.Errorf("while something waits: %s", got)
	}
	rcpt := w.account("a").pendingItems()[1].rcpts[0]
	for _, tc := range []struct {
		name   string
		change func(r *recordRcpt)
		want   string
	}{
		{"an id of a row", func(r *recordRcpt) { r.emailID = 1 }, "delivery 3 in the journal has id 1, which a row has already"},
		{"an id of another", func(r *recordRcpt) { r.emailID -= 2 }, "delivery 3 in the journal has id 3, which delivery 2 in the journal has too"},
		{"an id not given", func(r *recordRcpt) { r.messageID = 100 }, "delivery 3 in the journal has id 100, the last id is 6"},
		{"a mailbox that never was", func(r *recordRcpt) { r.mailboxID = 100 }, "that never was"},
	} {
		was := *rcpt
		tc.change(rcpt)
		if got := found(); !strings.Contains(got, tc.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: got %s", tc.name, got)
		}
		*rcpt = was
	}
	file := waitingFile(w, w.dir)
	flip(w, file)
	if got := found(); !strings.Contains(got, "content of delivery 3 in the journal has") {
		t.Errorf("damaged content: got %s", got)
	}
	flip(w, file)
	release(nil)
	w.wantInbox("a", testMessage(0, "x"), testMessage(1, "x"), testMessage(2, "x"))
	if got := found(); got != "" {
		t.Errorf("when all is applied: %s", got)
	}
}
