package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/mtastsdb"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/tlsrptdb"
	"github.com/mjl-/mox/trace"
)

// verifyOptions are for what no server has.
func verifyOptions(t testing.TB, dir string) VerifyOptions {
	return VerifyOptions{
		Dir: dir, Version: "v1.2.3", Temp: t.TempDir(), Workers: 2,
		Lock: func(string) (func() error, error) { return func() error { return nil }, nil },
	}
}

// problems returns what Verify finds, sorted, a line for each.
func problems(t testing.TB, opts VerifyOptions) (string, Summary) {
	t.Helper()
	var list []string
	sum, err := Verify(t.Context(), opts, func(p Problem) { list = append(list, p.String()) })
	if err != nil {
		t.Errorf("verifying %s: %v", opts.Dir, err)
	}
	if n := int64(len(list)); n != sum.Errors+sum.Warnings-sum.Unshown {
		t.Errorf("told of %d, %+v", n, sum)
	}
	if left, err := os.ReadDir(opts.Temp); err != nil || len(left) > 0 {
		t.Errorf("left in temporary directory: %v, %v", left, err)
	}
	slices.Sort(list)
	return strings.Join(list, "\n"), sum
}

// fill gives a world mail of all kinds: delivered, appended, copied, expunged,
// waiting in the queue, and logins.
func (w *world) fill() {
	w.t.Helper()
	must(w.t, os.WriteFile(w.data("receivedid.key"), make([]byte, 24), 0o640))
	for n := range 3 {
		must(w.t, w.deliver(message(n), "a", "b"))
	}
	must(w.t, w.deliver("Subject: large\r\n\r\n"+strings.Repeat("x", 5000)+"\r\n", "a"))
	must(w.t, w.add(message(10), "x@remote.example", "y@other.example"))
	must(w.t, w.add(message(11), "b@example.org"))
	must(w.t, w.logins.AddLoginAttempts(w.t.Context(), []authdb.LoginAttempt{{Account: "a", Result: authdb.BadPassword, Protocol: "imap", First: time.Now(), Last: time.Now(), Count: 1}}))
	for id := range int64(3) {
		w.trace.Append(trace.Event{Kind: trace.Attempted, Rcpts: []trace.Rcpt{{Address: "x@remote.example", QueueID: id + 1}}})
	}
	w.trace.Flush()
	w.append("b", "Subject: appended one\r\n\r\nx\r\n")
	w.append("b", "Subject: appended two\r\n\r\nx\r\n")
	a, err := w.store.Account(w.t.Context(), "a")
	must(w.t, err)
	a.WaitDurable(w.t.Context())
	must(w.t, a.Update(w.t.Context(), func(tx *store.Tx) error {
		inbox, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		if _, err := tx.CreateMailbox("Archive/2026", store.UseNone); err != nil {
			return err
		}
		archive, err := tx.Mailbox("Archive/2026")
		if err == nil {
			_, err = tx.SetFlags(&inbox, []store.UID{1, 2}, store.FlagChange{Op: store.FlagsAdd, Flags: store.FlagSeen, Keywords: []string{"work"}})
		}
		if err == nil {
			_, err = tx.Copy(&inbox, &archive, []store.UID{1, 2})
		}
		if err == nil {
			_, err = tx.Expunge(&inbox, []store.UID{3})
		}
		return err
	}))
	must(w.t, a.Close())
}

// append appends a message to Inbox of an account, as a client does. It is not in
// the journal.
func (w *world) append(account, text string) {
	w.t.Helper()
	a, err := w.store.Account(w.t.Context(), account)
	must(w.t, err)
	a.WaitDurable(w.t.Context())
	staged, err := a.Stage(w.t.Context(), int64(len(text)), strings.NewReader(text))
	must(w.t, err)
	err = a.Update(w.t.Context(), func(tx *store.Tx) error {
		inbox, err := tx.Mailbox("Inbox")
		if err == nil {
			_, err = tx.Append(&inbox, staged, store.AppendOptions{Flags: store.FlagFlagged})
		}
		return err
	})
	must(w.t, errors.Join(err, staged.Discard(), a.Close()))
}

// edit changes the bytes of a file.
func edit(t *testing.T, path string, fn func([]byte) []byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Remove(path)) // It may be a link to that of the server.
	must(t, os.WriteFile(path, fn(text), 0o640))
}

func flipAt(n int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[n] ^= 0x10
		return b
	}
}

func flipMiddle(b []byte) []byte { return flipAt(len(b) / 2)(b) }

func half(b []byte) []byte { return b[:len(b)/2] }

// branchFlip spoils a page that is in use: the flags of the first tree page from
// the middle on.
func branchFlip(b []byte) []byte {
	const page = 4096
	for at := 2 * page; at < len(b); at += page {
		flags := binary.NativeEndian.Uint16(b[at+8:])
		if binary.NativeEndian.Uint64(b[at:]) == uint64(at/page) && flags == 2 && binary.NativeEndian.Uint16(b[at+10:]) > 0 {
			b[at+9] ^= 0xff
		}
	}
	return b
}

// first returns the first file that a pattern in the data directory matches.
func first(t *testing.T, dir string, pattern ...string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(append([]string{dir}, pattern...)...))
	must(t, err)
	names = slices.DeleteFunc(names, func(name string) bool {
		info, err := os.Stat(name)
		return err != nil || info.IsDir()
	})
	if len(names) == 0 {
		t.Fatalf("no %v in %s", pattern, dir)
	}
	return names[0]
}

// change returns a function that changes the bytes of the file of a pattern.
func change(fn func([]byte) []byte, pattern ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { edit(t, first(t, dir, pattern...), fn) }
}

func remove(pattern ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { must(t, os.Remove(first(t, dir, pattern...))) }
}

func removeAll(path ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		must(t, os.RemoveAll(filepath.Join(append([]string{dir}, path...)...)))
	}
}

func write(text string, path ...string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		must(t, os.WriteFile(filepath.Join(append([]string{dir}, path...)...), []byte(text), 0o640))
	}
}

// replace puts another file in the place of one.
func replace(path, by string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(by)))
		must(t, err)
		edit(t, filepath.Join(dir, filepath.FromSlash(path)), func([]byte) []byte { return text })
	}
}

// addPolicy adds a row without a policy.
func addPolicy(t *testing.T, dir string) {
	db, err := database.Open(filepath.Join(dir, "data", policiesName), "mtasts", 1, mtastsdb.Entry{})
	must(t, err)
	must(t, errors.Join(db.Insert(t.Context(), &mtastsdb.Entry{Domain: "a.example"}), db.Close()))
}

// addResult adds a row without a day.
func addResult(t *testing.T, dir string) {
	db, err := database.Open(filepath.Join(dir, "data", tlsResultsName), "tlsrptresult", 1, tlsrptdb.Results{})
	must(t, err)
	must(t, errors.Join(db.Insert(t.Context(), &tlsrptdb.Results{PolicyDomain: "a.example", RecipientDomain: "a.example", Day: "never"}), db.Close()))
}

// damages are what can be wrong with a backup. Each is found by its manifest, and
// most of them without it too: what is said then of the data directory alone is in
// alone.
var damages = []struct {
	name  string
	harm  func(t *testing.T, dir string)
	want  []string // In what is said of the backup.
	alone []string // In what is said of its data; nil: it can't be found there.
}{
	{"a message is missing", removeAll("data", "accounts", "b", "msg", "a", "7"),
		[]string{"data/accounts/b/msg/a/7: the file is missing"}, []string{"accounts/b/msg/a/7: email 7: no such file"}},
	{"a message is truncated", change(half, "data", "accounts", "b", "msg", "a", "7"),
		[]string{"data/accounts/b/msg/a/7: the file has "}, []string{"accounts/b/msg/a/7: file of email 7 has "}},
	{"a bit of a message is flipped", change(flipMiddle, "data", "accounts", "b", "msg", "a", "7"),
		[]string{"data/accounts/b/msg/a/7: file of email 7 has "}, []string{"accounts/b/msg/a/7: file of email 7 has "}},
	{"a bit of a message that the journal has too is flipped", change(flipMiddle, "data", "accounts", "b", "msg", "a", "1"),
		[]string{"data/accounts/b/msg/a/1: file of email 1 has "}, nil},
	{"two messages of the same size are swapped", func(t *testing.T, dir string) {
		one, other := filepath.Join(dir, "data", "accounts", "b", "msg", "a", "7"), filepath.Join(dir, "data", "accounts", "b", "msg", "a", "9")
		must(t, errors.Join(os.Rename(one, one+"x"), os.Rename(other, one), os.Rename(one+"x", other)))
	}, []string{"data/accounts/b/msg/a/7: file of email 7 has", "data/accounts/b/msg/a/9: file of email 9 has"}, []string{"accounts/b/msg/a/7: file of email 7 has", "accounts/b/msg/a/9: file of email 9 has"}},
	{"a message that nobody knows", write("x", "data", "accounts", "a", "msg", "a", "2"),
		[]string{"data/accounts/a/msg/a/2: the manifest does not name the file"}, []string{"accounts/a/msg/a/2: file accounts/a/msg/a/2 has no email"}},
	{"a file that nobody knows", write("x", "data", "notes.txt"),
		[]string{"error: data/notes.txt: the manifest does not name the file"}, []string{"warning: notes.txt: unknown file"}},
	{"a file among accounts", write("x", "data", "accounts", "x"),
		[]string{"error: data/accounts/x: the manifest does not name the file"}, []string{"warning: accounts/x: unknown file"}},

	{"a page of an account's database", change(branchFlip, "data", "accounts", "a", "index.db"),
		[]string{"data/accounts/a/index.db: the file has checksum", "data/accounts/a/index.db: can't be read"}, []string{"accounts/a/index.db: can't be read"}},
	{"an account's database is truncated", change(half, "data", "accounts", "a", "index.db"),
		[]string{"data/accounts/a/index.db: the file has ", "data/accounts/a/index.db: can't be read"}, []string{"accounts/a/index.db: can't be read"}},
	{"an account's database is empty", change(func([]byte) []byte { return nil }, "data", "accounts", "a", "index.db"),
		[]string{"data/accounts/a/index.db: the file has 0 bytes"}, []string{"accounts/a/index.db: can't be read"}},
	{"an account's database is missing", remove("data", "accounts", "a", "index.db"),
		[]string{"data/accounts/a/index.db: the file is missing"}, []string{`accounts/a/index.db: account "a" has no database`}},
	{"an account's database is that of another", replace("data/accounts/a/index.db", "data/accounts/b/index.db"),
		[]string{`data/accounts/a/index.db: the database is that of account "b"`}, []string{`accounts/a/index.db: the database is that of account "b"`}},
	{"an account is missing", removeAll("data", "accounts", "a"),
		[]string{"data/accounts/a/index.db: the file is missing"}, []string{`are for account "a" with id`}},
	{"all accounts are missing", removeAll("data", "accounts"),
		[]string{"data/accounts: the directory of accounts is missing"}, []string{"accounts: the directory of accounts is missing"}},

	{"a page of auth.db", change(branchFlip, "data", "auth.db"),
		[]string{"data/auth.db: the file has checksum", "data/auth.db: opening database of logins"}, []string{"auth.db: opening database of logins"}},
	{"auth.db is truncated", change(half, "data", "auth.db"), []string{"data/auth.db: the file has "}, []string{"auth.db: opening database of logins"}},
	{"auth.db is missing", remove("data", "auth.db"), []string{"data/auth.db: the file is missing"}, []string{"auth.db: the database is missing"}},
	{"auth.db is that of an account", replace("data/auth.db", "data/accounts/a/index.db"),
		[]string{`data/auth.db: opening database of logins`, `it is "account", not "auth"`}, []string{`it is "account", not "auth"`}},

	{"mtasts.db is truncated", change(half, "data", policiesName), []string{"data/mtasts.db: the file has "}, []string{"mtasts.db: opening database of MTA-STS policies"}},
	{"mtasts.db is that of logins", replace("data/mtasts.db", "data/auth.db"), []string{`it is "auth", not "mtasts"`}, []string{`it is "auth", not "mtasts"`}},
	{"a policy that is none", addPolicy, []string{"data/mtasts.db: the file has "}, []string{"mtasts.db: MTA-STS policy of a.example: there is nothing in it"}},
	{"tlsrptresult.db is truncated", change(half, "data", tlsResultsName), []string{"data/tlsrptresult.db: the file has "}, []string{"tlsrptresult.db: opening database of TLS results"}},
	{"tlsrptresult.db is that of policies", replace("data/tlsrptresult.db", "data/mtasts.db"), []string{`it is "mtasts", not "tlsrptresult"`}, []string{`it is "mtasts", not "tlsrptresult"`}},
	{"a result of no day", addResult, []string{"data/tlsrptresult.db: the file has "}, []string{`tlsrptresult.db: TLS results 1, of "a.example" for "a.example": "never" is not a day`}},

	{"a line of a trace is flipped", change(flipMiddle, "data", tracesName, "mail-0000000001.log"),
		[]string{"data/trace/mail-0000000001.log: the file has checksum", "data/trace: mail-0000000001.log: lines that are damaged: 1"}, []string{"trace: mail-0000000001.log: lines that are damaged: 1"}},
	{"a file among traces", write("x", "data", tracesName, "notes"),
		[]string{"error: data/trace/notes: the manifest does not name the file"}, []string{"warning: trace/notes: unknown file"}},
	{"traces are missing", removeAll("data", tracesName), []string{"data/trace/mail-0000000001.log: the file is missing"}, nil},

	{"a page of the queue's database", change(branchFlip, "data", "queue", "index.db"), []string{"data/queue/index.db: the file has checksum", "data/queue: "}, []string{"queue: "}},
	{"the queue's database is truncated", change(half, "data", "queue", "index.db"), []string{"data/queue/index.db: the file has "}, []string{"queue: "}},
	{"the queue's database is that of an account", replace("data/queue/index.db", "data/accounts/a/index.db"), []string{`it is "account", not "queue"`}, []string{`it is "account", not "queue"`}},
	{"a content of the queue is flipped", change(flipMiddle, "data", "queue", "content", "*", "*"), []string{"data/queue/content/", "the file has checksum"}, []string{"queue: "}},
	{"a content of the queue is missing", remove("data", "queue", "content", "*", "*"), []string{"data/queue/content/", "the file is missing"}, []string{"queue: "}},
	{"the queue is missing", removeAll("data", "queue"), []string{"data/queue: the queue is missing"}, []string{"queue: the queue is missing"}},

	{"a record of the journal is flipped", change(flipAt(8192+40), "data", "journal", "*.log"),
		[]string{"data/journal/00000001.log: the file has checksum", "data/journal/00000001.log: journal: "}, []string{"journal/00000001.log: journal: "}},
	{"the header of a segment is flipped", change(flipAt(20), "data", "journal", "*.log"),
		[]string{"data/journal/00000001.log: the file has checksum", "data/journal/00000001.log: journal: "}, []string{"journal/00000001.log: journal: "}},
	{"a segment is missing", remove("data", "journal", "*.log"), []string{"data/journal/00000001.log: the file is missing"}, nil},
	{"a segment is truncated", change(func(b []byte) []byte { return b[:5000] }, "data", "journal", "*.log"), []string{"data/journal/00000001.log: the file has 5000 bytes"}, []string{"journal/00000001.log: journal: "}},
	{"the journal is missing", removeAll("data", "journal"), []string{"data/journal: there is no journal"}, []string{"journal: there is no journal"}},

	{"the configuration is damaged", change(half, "config", "mox.conf"), []string{"config/mox.conf: the file has ", "config: configuration: "}, nil},
	{"the configuration has another account", change(func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\tb:"), []byte("\tc:")) }, "config", "domains.conf"),
		[]string{`data/accounts/b: account "b" is not in domains.conf`, `data/accounts/c: account "c" is in domains.conf, and has no data`}, nil},
	{"the configuration is missing", removeAll("config"), []string{"config/mox.conf: the file is missing", "config: there is no configuration"}, nil},

	{"the key is short", write("x", "data", "receivedid.key"), []string{"data/receivedid.key: the file has 1 bytes", "data/receivedid.key: key for connection ids has 1 bytes"}, []string{"receivedid.key: key for connection ids has 1 bytes"}},
	{"the key is missing", remove("data", "receivedid.key"), []string{"data/receivedid.key: the file is missing"}, []string{"warning: receivedid.key: the key for connection ids is missing"}},

	{"a size in the manifest is another", change(func(b []byte) []byte { return bytes.Replace(b, []byte(`"size":24,`), []byte(`"size":25,`), 1) }, ManifestName),
		[]string{"data/receivedid.key: the file has 24 bytes, the manifest says 25", "manifest.jsonl: backup: manifest is damaged"}, nil},
	{"the manifest is cut", change(half, ManifestName), []string{"manifest.jsonl: backup: manifest is damaged"}, nil},
	{"the manifest is something else", write("x\n", ManifestName), []string{"manifest.jsonl: backup: manifest is damaged"}, nil},
	{"the manifest is missing", remove(ManifestName), []string{"manifest.jsonl: the manifest is missing"}, nil},
	{"a file beside all", write("x", "y"), []string{"y: the manifest does not name the file"}, nil},
}

// TestVerify damages a backup in each way. All damage is found and named, also in
// the data directory alone where that can be, and nothing is changed.
func TestVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.fill()
	good, _ := w.complete()
	if got, sum := problems(t, verifyOptions(t, good)); got != "" || sum.What != "backup" || sum.Accounts != 2 || sum.Files == 0 {
		t.Fatalf("not damaged, and %+v: %s", sum, got)
	}
	if got, sum := problems(t, verifyOptions(t, filepath.Join(good, DataDir))); got != "" || sum.What != "backup" {
		t.Fatalf("its data directory: %+v: %s", sum, got)
	}
	for _, tc := range damages {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "copy")
			must(t, os.CopyFS(dir, os.DirFS(good)))
			tc.harm(t, dir)
			before := stateOf(t, dir)
			wantProblems(t, verifyOptions(t, dir), tc.want)
			alone := filepath.Join(t.TempDir(), "alone") // Away from its manifest.
			must(t, os.CopyFS(alone, os.DirFS(filepath.Join(dir, DataDir))))
			wantProblems(t, verifyOptions(t, alone), tc.alone)
			wantState(t, dir, before)
		})
	}
}

// wantProblems fails unless Verify says all that is wanted, and only then anything.
func wantProblems(t *testing.T, opts VerifyOptions, want []string) {
	t.Helper()
	got, sum := problems(t, opts)
	for _, text := range want {
		if !strings.Contains(got, text) {
			t.Errorf("want %q in %q", text, got)
		}
	}
	if (got == "") != (want == nil) {
		t.Errorf("want %d, got %+v: %s", len(want), sum, got)
	}
}

// stateOf returns the bytes and times of all that is in a directory.
func stateOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	state := filesOf(t, dir)
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			rel, rerr := filepath.Rel(dir, path)
			must(t, rerr)
			rel = filepath.ToSlash(rel)
			state[rel] = fmt.Sprint(info.ModTime().UnixNano(), info.Mode(), state[rel])
		}
		return err
	}))
	return state
}

func wantState(t *testing.T, dir string, before map[string]string) {
	t.Helper()
	after := stateOf(t, dir)
	for path, was := range before {
		if is, ok := after[path]; !ok || is != was {
			t.Errorf("%s was changed", path)
		}
		delete(after, path)
	}
	for path := range after {
		t.Errorf("%s was made", path)
	}
}

// TestVerifyReadOnly: nothing need be written where the data is.
func TestVerifyReadOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.fill()
	dir, _ := w.complete()
	var dirs []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() {
			dirs = append(dirs, path)
			return err
		}
		return errors.Join(err, os.Chmod(path, 0o400))
	}))
	for _, path := range dirs {
		must(t, os.Chmod(path, 0o500))
	}
	before := stateOf(t, dir)
	if got, _ := problems(t, verifyOptions(t, dir)); got != "" {
		t.Errorf("found %s", got)
	}
	wantState(t, dir, before)
	for _, path := range dirs {
		must(t, os.Chmod(path, 0o700)) //nolint:gosec // A directory, to be removed.
	}
}

// TestVerifyRefuses shows what can't be verified at all.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.fill()
	dir, _ := w.complete()
	newer := verifyOptions(t, dir)
	newer.Version = "v1.2.2"
	locked := verifyOptions(t, w.data())
	locked.Lock = func(string) (func() error, error) { return nil, fs.ErrPermission }
	format := filepath.Join(t.TempDir(), "format")
	must(t, os.CopyFS(format, os.DirFS(dir)))
	edit(t, filepath.Join(format, ManifestName), func(b []byte) []byte { return bytes.Replace(b, []byte(`"format":1`), []byte(`"format":9`), 1) })
	for _, tc := range []struct {
		name string
		opts VerifyOptions
		want error
	}{
		{"nothing there", verifyOptions(t, filepath.Join(dir, "none")), fs.ErrNotExist},
		{"something else", verifyOptions(t, t.TempDir()), ErrNoData},
		{"a server's directory, not that of its data", verifyOptions(t, w.dir), ErrNoData},
		{"of a newer version", newer, ErrNewer},
		{"a newer format", verifyOptions(t, format), ErrManifestNewer},
		{"of a running server", locked, fs.ErrPermission},
	} {
		_, err := Verify(t.Context(), tc.opts, func(p Problem) { t.Errorf("%s: found %v", tc.name, p) })
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

// TestVerifyMany: of many problems of a kind some are told, and all counted.
func TestVerifyMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	dir, _ := w.complete()
	for i := range 20 {
		write("x", DataDir, fmt.Sprintf("x%d", i))(t, dir)
	}
	opts := verifyOptions(t, dir)
	opts.ShownMax = 3
	got, sum := problems(t, opts)
	if n := strings.Count(got, "the manifest does not name"); n != 3 || sum.Errors < 20 || sum.Unshown != sum.Errors+sum.Warnings-int64(strings.Count(got, "\n")+1) {
		t.Errorf("got %+v: %s", sum, got)
	}
}

// TestIsNewer compares versions.
func TestIsNewer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		made, own string
		want      bool
	}{
		{"v1.2.4", "v1.2.3", true},
		{"v1.10.0", "v1.9.9", true},
		{"v2.0.0-rc1", "v1.9.9", true},
		{"v1.2.3", "v1.2.3", false},
		{"v1.2.3+dirty", "v1.2.3", false},
		{"v0.9.9", "v1.0.0", false},
		{"(devel)", "v1.0.0", false},
		{"v1.0.0", "unknown", false},
		{"v1.0", "v0.1.0", false},
		{"", "", false},
	} {
		if got := isNewer(tc.made, tc.own); got != tc.want {
			t.Errorf("%q to %q: got %v", tc.made, tc.own, got)
		}
	}
}
