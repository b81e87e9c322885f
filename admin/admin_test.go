package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/auth"
	"github.com/mjl-/mox/authdb"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/internal/fault"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// world is an Admin with what it administers: accounts anna, with data, and bert,
// without.
type world struct {
	*Admin
	dir      string // The data directory.
	live     *live.Config
	accounts *store.Dir
	logins   *authdb.DB
	keeper   *Keeper
	log      *logBuffer
	stops    int
	ended    []string // Accounts of which sessions were ended.
	faults   *fault.Set
}

// logBuffer keeps log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const testStatic = `DataDir: ../data
LogLevel: info
Hostname: mx.example.org
Listeners:
	local:
		IPs:
			- 127.0.0.1
Postmaster:
	Account: anna
	Mailbox: Inbox
`

var testConfig = config.Dynamic{
	Domains: map[string]config.Domain{"example.org": {}},
	Accounts: map[string]config.Account{
		"anna": {Domain: "example.org", Destinations: map[string]config.Destination{"anna@example.org": {}}},
		"bert": {Domain: "example.org", Destinations: map[string]config.Destination{"bert@example.org": {}}},
	},
}

func newWorld(t *testing.T, q *queue.DB) *world {
	t.Helper()
	w := &world{dir: filepath.Join(t.TempDir(), "data"), log: &logBuffer{}, faults: fault.New()}
	log := slog.New(logfmt.New(w.log, logfmt.NewLevels(slog.LevelInfo)))
	w.writeConfig(t)
	var err error
	if w.live, err = live.Open(w.configFile("mox.conf"), live.Options{WithoutKeys: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if w.logins, err = authdb.Open(filepath.Join(w.dir, "auth.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.logins.Close(); err != nil {
			t.Error(err)
		}
	})
	w.accounts, err = store.Open(t.Context(), store.Options{
		Dir: w.dir, Log: slog.New(slog.DiscardHandler), SegmentSize: 4 << 20, Faults: w.faults,
		Removed: func(id string) (bool, error) { return w.logins.IsRemoved(t.Context(), id) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.accounts.Close() }) // Some tests have closed it.
	a, err := w.accounts.Create(t.Context(), "anna", store.NewAccount{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	end := func(account string) { w.ended = append(w.ended, account) }
	w.keeper, err = NewKeeper(KeeperOptions{
		Log: log, Config: w.live.Current, Accounts: w.accounts, Logins: w.logins, Queue: q, Faults: w.faults, EndSessions: end,
		NewAccount: func() (store.NewAccount, error) {
			return store.NewAccount{Mailboxes: []store.NewMailbox{{Name: "Sent", Use: store.UseSent}}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Admin, err = New(Options{
		Log: log, Config: w.live.Current, Update: w.live.Update, Accounts: w.accounts, Levels: logfmt.NewLevels(slog.LevelInfo),
		Rand: rand.Reader, Logins: w.logins, Keeper: w.keeper, EndSessions: end, Queue: q, ConfigDir: w.configFile("."), FastDKIMKeys: true, Stop: func() { w.stops++ }, Version: "v1.2.3",
		Listeners: func() []Listener { return []Listener{{"local", "imaps", "127.0.0.1:993"}} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// configFile returns the path of a file of the configuration.
func (w *world) configFile(name string) string {
	return filepath.Join(filepath.Dir(w.dir), "config", name)
}

// writeConfig writes the files of the configuration.
func (w *world) writeConfig(t *testing.T) {
	t.Helper()
	dynamic, err := config.FormatDynamic(testConfig)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.Mkdir(w.configFile(""), 0o750), os.WriteFile(w.configFile("mox.conf"), []byte(testStatic), 0o640),
		os.WriteFile(w.configFile("domains.conf"), dynamic, 0o640))
	if err != nil {
		t.Fatal(err)
	}
}

// wantError checks the code of an error and that its message has some words. No
// code is for no error.
func wantError(t *testing.T, name string, err error, code Code, words string) {
	t.Helper()
	e := ErrorOf(err)
	switch {
	case e == nil && code != "":
		t.Errorf("%s: got no error, want %s with %q", name, code, words)
	case e != nil && (e.Code != code || !strings.Contains(e.Message, words)):
		t.Errorf("%s: got %s with %q, want %s with %q", name, e.Code, e.Message, code, words)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("without anything: got no error")
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s, err := w.Status(t.Context(), Nothing{})
	if err != nil || s.Version != "v1.2.3" || s.Accounts != 2 || s.Domains != 1 || s.Problem != "" || s.PID == 0 || s.Started.IsZero() ||
		len(s.Listeners) != 1 || s.DiskFree <= 0 || s.Hostname != "mx.example.org" {
		t.Errorf("got %+v, %v", s, err)
	}
	w.Stop(t.Context())
	if w.stops != 1 || !strings.Contains(w.log.String(), `m="told to stop" pkg=admin`) {
		t.Errorf("stop: was called %d times, log: %s", w.stops, w.log)
	}
}

// TestSetPassword logs in with what was set, and no longer with what was before.
func TestSetPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	logins, err := auth.New(auth.Options{
		Config: w.live.Current, Accounts: w.accounts, DB: w.logins,
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Rand: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	login := func(password string) bool {
		_, err := logins.Password(t.Context(), auth.Attempt{Protocol: "imap", RemoteIP: netip.Addr{}}, "anna@example.org", password)
		if err != nil && !errors.Is(err, auth.ErrBadCredentials) {
			t.Errorf("login with %q: %v", password, err)
		}
		return err == nil
	}
	before := ""
	for _, test := range []struct {
		name, account, password string
		code                    Code
		words                   string
	}{
		{"the first", "anna", "correct horse", "", ""},
		{"another, while the one before is remembered", "anna", "battery staple", "", ""},
		{"the shortest", "anna", "12345678", "", ""},
		{"too short", "anna", "1234567", User, "8 characters"},
		{"too short in characters", "anna", "äöüäöüä", User, "8 characters"},
		{"spaces of other kinds are the same", "anna", "correct\u00a0horse", "", ""},
		{"characters that clients can't agree on", "anna", "correct\x00horse", User, "password is not possible"},
		{"too long", "anna", strings.Repeat("x", 10_000), User, "longer than"},
		{"an account that isn't there", "carl", "correct horse", NotFound, `no account "carl"`},
		{"no account", "", "correct horse", NotFound, `no account ""`},
		{"an account without data", "bert", "correct horse", NotFound, "no such account"},
	} {
		res, err := w.SetPassword(t.Context(), SetPasswordRequest{test.account, test.password})
		wantError(t, test.name, err, test.code, test.words)
		if err == nil {
			if res.Account != test.account || !login(test.password) || before != "" && login(before) {
				t.Errorf("%s: got %+v, can log in with it: %v", test.name, res, login(test.password))
			}
			before = test.password
		}
	}
	if n := len(w.ended); n != 4 || w.ended[0] != "anna" {
		t.Errorf("sessions were ended of %v", w.ended)
	}
	if !login("correct horse") {
		t.Error("the last one that was possible does not hold")
	}
	if strings.Contains(w.log.String(), "horse") || strings.Count(w.log.String(), `m="password set" pkg=admin account=anna`) != 4 {
		t.Errorf("got log %s", w.log)
	}
	if len(cramMD5(t, w, "anna")) > 0 {
		t.Error("what CRAM-MD5 needs is kept without need")
	}
	w.live.Current().Static.AllowCRAMMD5 = true
	if _, err := w.SetPassword(t.Context(), SetPasswordRequest{"anna", "correct horse"}); err != nil || len(cramMD5(t, w, "anna")) == 0 {
		t.Errorf("what CRAM-MD5 needs is not kept: %v", err)
	}
	if err := w.accounts.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = w.SetPassword(t.Context(), SetPasswordRequest{"anna", "correct horse"})
	wantError(t, "while the server stops", err, Unavailable, "closed")
}

// cramMD5 returns what is kept of an account's password for CRAM-MD5.
func cramMD5(t *testing.T, w *world, name string) []byte {
	t.Helper()
	a, err := w.accounts.Account(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	credentials, err := a.Credentials(t.Context())
	if err != nil || len(credentials) != 1 {
		t.Fatalf("got credentials %v, %v", credentials, err)
	}
	return credentials[0].CRAMMD5
}

func TestLogLevels(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, test := range []struct {
		name, level, pkg string
		want             LogLevels
		words            string // Of the error, which is for the user.
	}{
		{"the default", "debug", "", LogLevels{"debug", map[string]string{}}, ""},
		{"a package", "error", "store", LogLevels{"debug", map[string]string{"store": "error"}}, ""},
		{"another", "trace", "http/x", LogLevels{"debug", map[string]string{"store": "error", "http/x": "trace"}}, ""},
		{"the same again", "warn", "store", LogLevels{"debug", map[string]string{"store": "warn", "http/x": "trace"}}, ""},
		{"cleared", "", "store", LogLevels{"debug", map[string]string{"http/x": "trace"}}, ""},
		{"cleared, and had none", "", "queue", LogLevels{"debug", map[string]string{"http/x": "trace"}}, ""},
		{"an unknown level", "loud", "", LogLevels{}, `unknown log level "loud"`},
		{"no level", "", "", LogLevels{}, `unknown log level ""`},
		{"an unknown level for a package", "loud", "store", LogLevels{}, `unknown log level "loud"`},
		{"not a package", "info", "Store", LogLevels{}, "not the name of a package"},
		{"the longest name", "info", strings.Repeat("x", 64), LogLevels{"debug", map[string]string{"http/x": "trace", strings.Repeat("x", 64): "info"}}, ""},
		{"a name that is too long", "info", strings.Repeat("x", 65), LogLevels{}, "not the name of a package"},
	} {
		levels, err := w.SetLogLevel(t.Context(), SetLogLevelRequest{test.level, test.pkg})
		if test.words != "" {
			wantError(t, test.name, err, User, test.words)
			continue
		}
		current, cerr := w.LogLevels(t.Context(), Nothing{})
		if err := errors.Join(err, cerr); err != nil || !reflect.DeepEqual(levels, test.want) || !reflect.DeepEqual(current, test.want) {
			t.Errorf("%s: got %v, then %v, %v, want %v", test.name, levels, current, err, test.want)
		}
	}
	for i := 2; i < levelPackagesMax; i++ {
		if _, err := w.SetLogLevel(t.Context(), SetLogLevelRequest{"info", fmt.Sprint("p", i)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.SetLogLevel(t.Context(), SetLogLevelRequest{"info", "more"})
	wantError(t, "too many packages", err, User, "100 packages")
	if _, err := w.SetLogLevel(t.Context(), SetLogLevelRequest{"warn", "p2"}); err != nil {
		t.Errorf("one that has a level, among as many as can be: %v", err)
	}
}

func TestErrorOf(t *testing.T) {
	t.Parallel()
	if e := ErrorOf(nil); e != nil {
		t.Errorf("nil: got %v", e)
	}
	for _, test := range []struct {
		name string
		err  error
		code Code
	}{
		{"one of ours", fmt.Errorf("x: %w", userError("y")), User},
		{"no account", fmt.Errorf("x: %w", store.ErrNoAccount), NotFound},
		{"no message", queue.ErrNoMessage, NotFound},
		{"a bad password", auth.ErrPassword, User},
		{"a full disk", queue.ErrDiskFull, Unavailable},
		{"a caller that went", context.Canceled, Unavailable},
		{"anything else", errors.New("x"), Server},
	} {
		e := ErrorOf(test.err)
		if e.Code != test.code || e.Error() == "" || e.Code != User && !errors.Is(e, test.err) {
			t.Errorf("%s: got %+v, want code %s and the cause", test.name, e, test.code)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want time.Duration // -1 for an error.
	}{
		{"0", 0},
		{"90m", 90 * time.Minute},
		{"1h30m", 90 * time.Minute},
		{"+1h", time.Hour},
		{"-1h30m", -90 * time.Minute},
		{"2d", 48 * time.Hour},
		{"1d12h", 36 * time.Hour},
		{"-1d12h", -36 * time.Hour},
		{"1d0", 24 * time.Hour},
		{"3650d", durationMax},
		{"3650d1ns", -1},
		{"3651d", -1},
		{"87601h", -1},
		{"99999999999h", -1},
		{"65536d", -1},
		{"99999999999999999999d", -1},
		{"", -1},
		{"-", -1},
		{"--1h", -1},
		{"1d-1h", -1},
		{"1h1d", -1},
		{"1.5d", -1},
		{"d", -1},
		{"1", -1},
		{"1w", -1},
		{"1 h", -1},
	} {
		var d Duration
		err := d.UnmarshalText([]byte(test.text))
		if (err != nil) != (test.want == -1) || err == nil && time.Duration(d) != test.want {
			t.Errorf("%q: got %v, %v, want %v", test.text, time.Duration(d), err, test.want)
		}
	}
}

func TestWhen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		text, back string
		want       queue.TimeFilter
		ok         bool
	}{
		{"", "", queue.TimeFilter{}, true},
		{"<1h", "<1h0m0s", queue.TimeFilter{At: now.Add(time.Hour), Before: true}, true},
		{">-1d", ">-24h0m0s", queue.TimeFilter{At: now.Add(-24 * time.Hour)}, true},
		{">0", ">0s", queue.TimeFilter{At: now}, true},
		{"<0", "<0s", queue.TimeFilter{At: now, Before: true}, true},
		{"1h", "", queue.TimeFilter{}, false},
		{"<", "", queue.TimeFilter{}, false},
		{"=1h", "", queue.TimeFilter{}, false},
		{"<<1h", "", queue.TimeFilter{}, false},
		{"<4000d", "", queue.TimeFilter{}, false},
	} {
		w := When{'<', time.Minute} // From before.
		err := w.UnmarshalText([]byte(test.text))
		if (err == nil) != test.ok || w.String() != test.back || w.filter(now) != test.want {
			t.Errorf("%q: got %q, %v, %v, want %q, %v, ok %v", test.text, w, w.filter(now), err, test.back, test.want, test.ok)
		}
	}
}

// FuzzWhen checks that what parses is within bounds, and means the same when it
// was written and parsed again.
func FuzzWhen(f *testing.F) {
	for _, text := range []string{"", "<1h", ">-2d", "<1d12h30m", ">+0", "<3650d", "<3650d1ns", "<0.5h", ">1d1d", "<-1h-1m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var w When
		if w.UnmarshalText([]byte(text)) != nil {
			if w != (When{}) {
				t.Fatalf("%q: got %v with an error", text, w)
			}
			return
		}
		if w.Offset.Abs() > durationMax || w.Side == 0 && w.Offset != 0 {
			t.Fatalf("%q: got %v", text, w)
		}
		written, err := w.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again When
		if err := again.UnmarshalText(written); err != nil || again != w {
			t.Fatalf("%q: written as %q, which is %v, %v, not %v", text, written, again, err, w)
		}
	})
}
