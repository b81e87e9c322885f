package specimen

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// TestMake looks at a specimen: it has rows of all types, is sound, and has the
// mail it should have once it is opened.
func TestMake(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "specimen")
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	if err := Make(t.Context(), dir, log); err != nil {
		t.Fatal(err)
	}
	if err := Make(t.Context(), dir, log); !errors.Is(err, ErrExists) {
		t.Errorf("making it again: got %v", err)
	}
	data := filepath.Join(dir, "data")
	rows := countRows(t, data)
	for _, kind := range []string{"account", "auth", "queue", "mtasts", "tlsrptresult"} {
		if len(rows[kind]) == 0 {
			t.Errorf("there is no database of kind %q", kind)
		}
	}
	for kind, types := range rows {
		for name, n := range types {
			if n == 0 {
				t.Errorf("database %q: no rows of type %s: make some, so that later versions are tested with them", kind, name)
			}
		}
	}
	wantStates(t, data)
	wantFiles(t, data)
	verify(t, data, log)
	wantMail(t, data, log)
	verify(t, data, log)
}

// countRows counts the rows of each type, by kind of database.
func countRows(t *testing.T, data string) map[string]map[string]int64 {
	t.Helper()
	rows := map[string]map[string]int64{}
	err := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".db" {
			return err
		}
		d, err := database.Describe(path)
		if rows[d.Kind] == nil {
			rows[d.Kind] = map[string]int64{}
		}
		for _, typ := range d.Types {
			rows[d.Kind][typ.Name] += typ.Rows
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// wantFiles fails if the journal has nothing in one of the places where a
// delivery can be.
func wantFiles(t *testing.T, data string) {
	t.Helper()
	for _, pattern := range []string{"journal/*.log", "journal/files/*", "journal/aside/*", "journal/failed/*", "queue/journal/*.log", "queue/content/*/*", "accounts/mia/msg/*/*"} {
		if found, err := filepath.Glob(filepath.Join(data, pattern)); err != nil || len(found) == 0 {
			t.Errorf("there is nothing at %s: %v", pattern, err)
		}
	}
}

// verify checks everything, without changing it.
func verify(t *testing.T, data string, log *slog.Logger) {
	t.Helper()
	s := specimen{dir: filepath.Dir(data), log: log}
	failed := 0
	err := store.Verify(t.Context(), store.Options{Dir: data, Log: log, Removed: s.isRemoved}, store.VerifyOptions{
		Content: true,
		Report: func(p store.Problem) {
			switch {
			case strings.HasSuffix(p.Text, "could not be applied"):
				failed++
			case strings.HasPrefix(p.Text, "no record of the journal names file shared-"):
				// A start removes what a kill left there.
			default:
				t.Errorf("verifying: %s", p)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if failed != 1 {
		t.Errorf("verifying: got %d records that could not be applied, want 1", failed)
	}
	for _, err := range queue.CheckDir(t.Context(), queueOptions(copyQueue(t, data), log)) {
		t.Errorf("checking the queue: %v", err)
	}
	err = s.withLogins(func(db *authdb.DB) error {
		problems, err := db.Check(t.Context())
		return errors.Join(err, errors.Join(problems...))
	})
	if err != nil {
		t.Errorf("checking logins: %v", err)
	}
}

// copyQueue copies the queue to another data directory, and returns that.
func copyQueue(t *testing.T, data string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "queue"), os.DirFS(filepath.Join(data, "queue"))); err != nil {
		t.Fatal(err)
	}
	return to
}

func queueOptions(data string, log *slog.Logger) queue.Options {
	return queue.Options{
		Dir: filepath.Join(data, "queue"), Log: log, Rand: rand.Reader, Schedule: queue.DefaultSchedule(),
		Local: func(domain string) bool { return domain == Domain },
	}
}

// wantStates fails unless the queue has its messages. What the sender was not
// told of is dropped when it is opened, here in a copy.
func wantStates(t *testing.T, data string) {
	t.Helper()
	q, err := queue.Open(t.Context(), queueOptions(copyQueue(t, data), slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	got := map[string]bool{}
	for _, state := range []queue.State{"", queue.Retired} {
		list, err := q.List(t.Context(), queue.Filter{State: state}, queue.Sort{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			got[fmt.Sprintf("%s: %s %s", m.Subject, m.State, m.Outcome)] = true
		}
	}
	want := []string{
		"delivered: retired delivered", "dropped: retired dropped", "failed: retired failed", "held by a rule: held ", "held: held ",
		"notification: waiting ", "through the queue: retired delivered", "to gone@remote.example: retired failed", "to often@remote.example: retired failed", "to returned@remote.example: retired failed",
		"waiting after an attempt: waiting ", "waiting for its time: waiting ", "waiting in the log: waiting ", "was being delivered: waiting ",
	}
	if list := slices.Sorted(maps.Keys(got)); !slices.Equal(list, want) {
		t.Errorf("queue: got %q, want %q", list, want)
	}
}

// wantMail fails unless accounts have what the subjects say, once deliveries that
// wait are applied.
func wantMail(t *testing.T, data string, log *slog.Logger) {
	t.Helper()
	waits := []string{"waits in the journal, to two", "waits in a file of the journal"}
	begin := []string{"to all", "larger than fits into the journal"}
	want := map[string][]string{
		"mia Inbox": slices.Concat(begin, []string{
			"Re: to all", "Re: answers what is not here", "has parts", "", "seen and answered", "flagged, forwarded",
			"marked as deleted", "copied to Archive, same file",
		}, waits),
		"mia Archive":               {"not junk, notified", "copied to Archive, same file", "through the queue"},
		"mia Trash":                 {"moved to Trash"},
		"mia Drafts":                {"draft"},
		"mia Junk":                  {"junk, phishing"},
		"mia Lists/go/nüts + bolts": {"in a mailbox below others"},
		"mia Keywords":              {"has more keywords than fit into a row", "has the last keyword only"},
		"mia Renamed":               {"in a renamed mailbox"},
		"mia Rejects":               {"refused"},
		"noa Inbox":                 slices.Concat(begin, []string{"waits in the journal"}, waits),
		"ole Inbox":                 {"to all", "put aside"},
		"pam Inbox":                 {"to all"},
	}
	s := specimen{dir: filepath.Dir(data), log: log}
	got := map[string][]string{}
	err := s.withStore(t.Context(), nil, func(d *store.Dir) error {
		for _, name := range accounts {
			if err := withAccount(t.Context(), d, name, func(a *store.Account) error { return subjects(t, a, got) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for box := range maps.Keys(want) {
		if !slices.Equal(got[box], want[box]) {
			t.Errorf("%s: got %q, want %q", box, got[box], want[box])
		}
		delete(got, box)
	}
	if len(got) > 0 {
		t.Errorf("there is mail in other mailboxes: %q", got)
	}
}

// subjects adds the subjects of an account's messages, in the order of UIDs.
func subjects(t *testing.T, a *store.Account, got map[string][]string) error {
	t.Helper()
	a.WaitDurable(t.Context())
	return a.View(t.Context(), func(tx *store.Tx) error {
		boxes, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for _, box := range boxes {
			for uid := range box.UIDNext {
				m, err := tx.Message(box.ID, uid)
				if errors.Is(err, store.ErrExpunged) || uid == 0 {
					continue
				} else if err != nil {
					return err
				}
				subject, err := subject(a, m.EmailID)
				if err != nil {
					return err
				}
				name := a.Name() + " " + box.Name
				got[name] = append(got[name], subject)
			}
		}
		return nil
	})
}

// subject reads the subject in a message file.
func subject(a *store.Account, id int64) (string, error) {
	f, err := a.OpenMessage(id)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(f); err != nil {
		return "", err
	}
	header, _, _ := strings.Cut(b.String(), "\r\n\r\n")
	_, rest, found := strings.Cut(header, "\r\nSubject: ")
	if !found {
		return "", nil
	}
	line, _, _ := strings.Cut(rest, "\r\n")
	return line, nil
}
