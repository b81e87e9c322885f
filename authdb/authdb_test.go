package authdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/bstore"
	"github.com/mjl-/mox/database"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func open(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		problems, err := db.Check(context.WithoutCancel(t.Context()))
		if err != nil || len(problems) > 0 {
			t.Errorf("check: %v, %v", problems, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func openNew(t *testing.T) *DB {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "auth.db"))
}

func add(t *testing.T, db *DB, attempts ...LoginAttempt) {
	t.Helper()
	for i := range attempts {
		attempts[i].Count = max(1, attempts[i].Count)
	}
	if err := db.AddLoginAttempts(t.Context(), attempts); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, db *DB, account string, limit int) (lines []string) {
	t.Helper()
	attempts, err := db.LoginAttempts(t.Context(), account, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attempts {
		lines = append(lines, fmt.Sprintf("%s %s %s %dx %v-%v", a.Login, a.Protocol, a.Result, a.Count, a.First.Sub(start), a.Last.Sub(start)))
	}
	return lines
}

// TestLoginAttempts adds attempts and shows which count as one.
func TestLoginAttempts(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	at := func(d time.Duration, a LoginAttempt) LoginAttempt {
		a.First, a.Last = start.Add(d), start.Add(d)
		return a
	}
	base := LoginAttempt{Account: "anna", Login: "anna@example.org", RemoteIP: "10.0.0.1", Protocol: "imap", Mechanism: "plain", Result: OK}
	bad := base
	bad.Result = BadPassword
	shifted := base
	shifted.Login, shifted.RemoteIP = "anna@example.org1", "0.0.0.1" // The same bytes in a row.
	add(t, db, at(0, base), at(time.Hour, bad))
	add(t, db, at(2*time.Hour, base), at(3*time.Hour, shifted))
	add(t, db, at(time.Minute, bad)) // Late, for instance of another connection.
	add(t, db, LoginAttempt{Login: "x\x00\r\n\xff" + strings.Repeat("y", fieldMax), Result: BadUser, First: start, Last: start})

	got := strings.Join(list(t, db, "anna", 0), "\n")
	const want = `anna@example.org1 imap ok 1x 3h0m0s-3h0m0s
anna@example.org imap ok 2x 0s-2h0m0s
anna@example.org imap badpassword 2x 1h0m0s-1h0m0s`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := list(t, db, "anna", 1); len(got) != 1 || !strings.HasPrefix(got[0], "anna@example.org1") {
		t.Errorf("limited to one: got %q", got)
	}
	if got := list(t, db, UnknownAccount, 0); len(got) != 1 || !strings.HasPrefix(got[0], "x????yy") || len(got[0]) > fieldMax+100 {
		t.Errorf("of no account: got %q", got)
	}
	if err := db.AddLoginAttempts(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// TestFailedMax adds more failures than are kept.
func TestFailedMax(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	var attempts []LoginAttempt
	for i := range failedMax + 5 {
		when := start.Add(time.Duration(i) * time.Second)
		attempts = append(attempts, LoginAttempt{Account: "anna", Login: fmt.Sprint(i), Result: BadPassword, First: when, Last: when})
	}
	ok := LoginAttempt{Account: "anna", Login: "ok", Result: OK, First: start.Add(-time.Hour), Last: start.Add(-time.Hour)}
	add(t, db, ok)
	add(t, db, attempts...)
	got := list(t, db, "anna", 0)
	if len(got) != failedMax+1 {
		t.Errorf("got %d rows, want %d failures and one success", len(got), failedMax)
	}
	if last := got[len(got)-2]; !strings.HasPrefix(last, "5 ") {
		t.Errorf("got oldest failure %q, want number 5", last)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	var attempts []LoginAttempt
	for i := range pruneChunk + 10 {
		attempts = append(attempts, LoginAttempt{Account: "anna", Login: fmt.Sprint(i), Result: BadPassword, First: start, Last: start})
	}
	add(t, db, attempts...)
	add(t, db, LoginAttempt{Account: "bert", Login: "old", Result: OK, First: start, Last: start})
	add(t, db, LoginAttempt{Account: "bert", Login: "again", Result: BadUser, First: start, Last: start.Add(time.Nanosecond)})

	for _, step := range []struct {
		name string
		at   time.Duration
		want int
	}{
		{"last moment", AttemptsKept, 0},
		{"too old", AttemptsKept + 1, pruneChunk + 11},
		{"the rest", AttemptsKept + 2, 1},
		{"nothing left", AttemptsKept + 2, 0},
	} {
		n, err := db.PruneLoginAttempts(t.Context(), start.Add(step.at))
		if err != nil || n != step.want {
			t.Errorf("%s: got %d, %v, want %d", step.name, n, err, step.want)
		}
	}
}

// TestRemovals walks an account through its removal, over restarts.
func TestRemovals(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "auth.db")
	for _, step := range []struct {
		name    string
		do      func(*DB) error
		removed bool
		pending int
	}{
		{"an account like any other", func(*DB) error { return nil }, false, 0},
		{"marked", func(db *DB) error { return db.MarkRemoved(t.Context(), "id1", "anna", start) }, true, 1},
		{"marked again", func(db *DB) error { return db.MarkRemoved(t.Context(), "id1", "anna", start) }, true, 1},
		{"after a restart", func(*DB) error { return nil }, true, 1},
		{"finished", func(db *DB) error { return db.FinishRemoval(t.Context(), "id1") }, true, 0},
		{"finished again", func(db *DB) error { return db.FinishRemoval(t.Context(), "id1") }, true, 0},
		{"marking doesn't begin it anew", func(db *DB) error { return db.MarkRemoved(t.Context(), "id1", "anna", start) }, true, 0},
	} {
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := step.do(db); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if got, err := db.IsRemoved(t.Context(), "id1"); got != step.removed || err != nil {
			t.Errorf("%s: IsRemoved: got %v, %v", step.name, got, err)
		}
		pending, err := db.PendingRemovals(t.Context())
		if len(pending) != step.pending || err != nil {
			t.Errorf("%s: PendingRemovals: got %v, %v", step.name, pending, err)
		}
		if got, err := db.IsRemoved(t.Context(), "id2"); got || err != nil {
			t.Errorf("%s: another account: got %v, %v", step.name, got, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFinishUnknown(t *testing.T) {
	t.Parallel()
	if err := openNew(t).FinishRemoval(t.Context(), "id"); !errors.Is(err, bstore.ErrAbsent) {
		t.Errorf("got %v, want that it is absent", err)
	}
}

func TestWriteTo(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	add(t, db, LoginAttempt{Account: "anna", Login: "a", Result: OK, First: start, Last: start})
	var b bytes.Buffer
	n, err := db.WriteTo(t.Context(), &b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("got %d bytes, %v, wrote %d", n, err, b.Len())
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := list(t, open(t, path), "anna", 0); len(got) != 1 {
		t.Errorf("copy: got %q", got)
	}
}

// TestCheck shows that what doesn't belong together is found.
func TestCheck(t *testing.T) {
	t.Parallel()
	db, err := Open(filepath.Join(t.TempDir(), "auth.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	add(t, db, LoginAttempt{Account: "anna", Login: "a", Result: BadUser, First: start, Last: start})
	err = db.file.Write(t.Context(), func(tx *bstore.Tx) error {
		return errors.Join(
			tx.Update(&attemptCount{Account: "anna", Failed: 2}),
			tx.Insert(&attemptCount{Account: "carl", Failed: 1}),
			tx.Insert(&LoginAttempt{Key: "x", Account: "bert", Result: BadUser}),
			tx.Insert(&TLSPublicKey{Fingerprint: "x", Type: "ed25519", CertDER: certificate(t, newKey(t), ""), Account: "bert", LoginAddress: "b"}),
			tx.Insert(&TLSPublicKey{Fingerprint: "y", CertDER: []byte("y"), Account: "bert", LoginAddress: "b"}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	problems, err := db.Check(t.Context())
	if err != nil || len(problems) != 6 {
		t.Errorf("got %v, %v, want six problems", problems, err)
	}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "auth.db")
	if err := os.WriteFile(path, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := Open(path); !errors.Is(err, database.ErrForeign) {
		t.Errorf("got %v, %v, want ErrForeign", db, err)
	}
}

// TestPlans shows that what runs for each login reads no more rows than needed.
func TestPlans(t *testing.T) {
	t.Parallel()
	db := openNew(t)
	add(t, db, LoginAttempt{Account: "anna", Login: "a", Result: BadUser, First: start, Last: start})
	err := db.file.Write(t.Context(), func(tx *bstore.Tx) error {
		before := tx.Stats()
		err := tx.Update(&attemptCount{Account: "anna", Failed: failedMax})
		if err == nil {
			err = makeRoom(tx, "anna")
		}
		if err == nil {
			_, err = pruneSome(tx, start)
		}
		if scans := tx.Stats().PlanTableScan - before.PlanTableScan; scans != 0 {
			t.Errorf("got %d table scans", scans)
		}
		return errors.Join(err, tx.Delete(&attemptCount{Account: "anna"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	before := db.file.Stats()
	list(t, db, "anna", 1)
	after := db.file.Stats()
	if after.PlanTableScan != before.PlanTableScan || after.PlanIndexScan != before.PlanIndexScan+1 {
		t.Errorf("listing: got stats %+v, before %+v", after, before)
	}
}
