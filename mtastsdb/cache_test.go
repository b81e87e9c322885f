package mtastsdb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/loop"
	"github.com/mjl-/mox/mtasts"
)

// world is a cache with DNS and policy hosts, in a bubble.
type world struct {
	t     *testing.T
	dns   *dnstest.Resolver
	db    *DB
	cache *Cache
	group *loop.Group
	log   *bytes.Buffer // Read when nothing runs.

	mu      sync.Mutex
	policy  string        // Of all domains. Empty: fetching fails.
	takes   time.Duration // How long a fetch takes.
	fetches []time.Time
	most    int // Fetches at a time.
	running int
}

// inWorld runs a test in a bubble, with the record of a.example in the DNS.
func inWorld(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mtasts.db")
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, log: &bytes.Buffer{}, policy: policyText(mtasts.Enforce, "172800")}
		var err error
		if w.dns, err = dnstest.New(`_mta-sts.a.example TXT "v=STSv1; id=1"`); err != nil {
			t.Fatal(err)
		}
		w.db = openPath(t, path)
		w.open()
		fn(t, w)
		w.stop()
	})
}

// open makes a cache, for the file as it is.
func (w *world) open() {
	w.t.Helper()
	w.group = loop.New(w.t.Context(), nil)
	var err error
	w.cache, err = New(Options{
		DB: w.db, Resolver: w.dns, Getter: w, Log: slog.New(slog.NewTextHandler(w.log, nil)), Rand: rand.New(rand.NewPCG(1, 2)), Group: w.group,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stop() {
	w.t.Helper()
	w.group.Stop()
	if err := w.group.Wait(w.t.Context()); err != nil {
		w.t.Error(err)
	}
}

// Get implements mtasts.Getter.
func (w *world) Get(ctx context.Context, _ mtasts.Request) (mtasts.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetches = append(w.fetches, time.Now())
	w.running++
	w.most = max(w.most, w.running)
	defer func() { w.running-- }()
	if takes := w.takes; takes > 0 {
		w.mu.Unlock()
		select {
		case <-time.After(takes):
		case <-ctx.Done():
		}
		w.mu.Lock()
	}
	if ctx.Err() != nil {
		return mtasts.Response{}, context.Cause(ctx)
	}
	if w.policy == "" {
		return mtasts.Response{Status: 404}, nil
	}
	return mtasts.Response{Status: 200, ContentType: "text/plain", Body: []byte(w.policy)}, nil
}

func (w *world) fetched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.fetches)
}

// record sets the record of a.example, "" for none.
func (w *world) record(id string) {
	w.t.Helper()
	text := "nothing"
	if id != "" {
		text = "v=STSv1; id=" + id
	}
	w.dns.Clear()
	if err := w.dns.Set(fmt.Sprintf("_mta-sts.a.example TXT %q", text)); err != nil {
		w.t.Fatal(err)
	}
}

var domain = dns.Domain{ASCII: "a.example"}

// get gets the policy of a.example, as text.
func (w *world) get() string {
	p, ev, err := w.cache.Get(w.t.Context(), domain)
	switch {
	case errors.Is(err, dns.ErrTemporary):
		return "dns fails"
	case err != nil:
		return err.Error()
	}
	s := fmt.Sprintf("%s %s", p.Mode, ev.Source)
	if ev.Failure != "" {
		s += " " + string(ev.Failure)
	}
	return s
}

// TestGet walks a domain through years. Each step sees what those before it left.
func TestGet(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		const hour, day = time.Hour, 24 * time.Hour
		for _, step := range []struct {
			name    string
			wait    time.Duration
			change  func()
			want    string
			fetches int
		}{
			{"no record", 0, func() { w.record("") }, "none none", 0},
			{"DNS fails", 0, func() { w.dns.Fail("", "_mta-sts.a.example", dnstest.Temporary) }, "dns fails", 0},
			{"a record, and nobody answers", 0, func() { w.record("1"); w.takes = fetchTimeMax + 1 }, "none failing sts-policy-fetch-error", 1},
			{"backing off", Backoff - 1, func() { w.takes = 0 }, "none failing sts-policy-fetch-error", 0},
			{"a new record, and a mistake in the policy", 0, func() { w.record("2"); w.policy = "x" }, "none failing sts-policy-invalid", 1},
			{"the policy", Backoff, func() { w.policy = policyText(mtasts.Enforce, "172800") }, "enforce fetched", 1},
			{"the same", hour, nil, "enforce cached", 0},
			{"a bad record", 0, func() { w.record("?") }, "enforce cached", 0},
			{"the record is gone", 0, func() { w.record("") }, "enforce cached", 0},
			{"DNS fails, and there is a policy", 0, func() { w.dns.Fail("", "_mta-sts.a.example", dnstest.Timeout) }, "enforce cached", 0},
			{"a new record, and the policy can't be had", hour, func() { w.record("3"); w.policy = "" }, "enforce cached sts-policy-fetch-error", 1},
			{"that again", Backoff - 1, nil, "enforce cached sts-policy-fetch-error", 0},
			{"and again", 1, nil, "enforce cached sts-policy-fetch-error", 1},
			{"the old record is back", 0, func() { w.record("2") }, "enforce cached", 0},
			{"the policy has expired", 2 * day, nil, "none failing sts-policy-fetch-error", 1},
			{"a policy for now only", hour, func() { w.policy = policyText(mtasts.Testing, "0") }, "testing fetched", 1},
			{"and once more", 0, nil, "testing fetched", 1},
			{"a policy that there is none", 0, func() { w.policy = policyText(mtasts.None, "86400") }, "none fetched", 1},
			{"the record is gone then", hour, func() { w.record("") }, "none cached", 0},
			{"it all expires", 2 * day, nil, "none none", 0},
		} {
			time.Sleep(step.wait)
			if step.change != nil {
				step.change()
			}
			before := w.fetched()
			if got := w.get(); got != step.want || w.fetched()-before != step.fetches {
				t.Errorf("%s: got %s with %d fetches, want %s with %d", step.name, got, w.fetched()-before, step.want, step.fetches)
			}
		}
		if got := strings.Count(w.log.String(), "the one before stays in force"); got != 2 {
			t.Errorf("got %d warnings, want 2:\n%s", got, w.log)
		}
	})
}

// TestEvidence shows what is known besides the policy.
func TestEvidence(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		p, ev, err := w.cache.Get(t.Context(), domain)
		if err != nil || !p.Matches(dns.Domain{ASCII: "mx.a.example"}) {
			t.Fatalf("got %+v, %v", p, err)
		}
		now := time.Now()
		if ev.Text != w.policy || !ev.Updated.Equal(now) || !ev.ValidUntil.Equal(now.Add(48*time.Hour)) || ev.Found.Record.ID != "1" || ev.RecordErr != nil {
			t.Errorf("got %+v", ev)
		}
		w.record("")
		if _, ev, err = w.cache.Get(t.Context(), domain); err != nil || !errors.Is(ev.RecordErr, mtasts.ErrNoRecord) || ev.Text != w.policy {
			t.Errorf("without a record: got %+v, %v", ev, err)
		}
		w.record("2")
		w.policy = ""
		if _, ev, err = w.cache.Get(t.Context(), domain); err != nil || ev.Found.Record.ID != "2" || !strings.Contains(ev.FailureText, "status 404") {
			t.Errorf("without a policy for the record: got %+v, %v", ev, err)
		}
	})
}

// TestStoredBeforeUsed gets a policy, and finds it after a crash.
func TestStoredBeforeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	inWorld(t, func(t *testing.T, w *world) {
		if got := w.get(); got != "enforce fetched" {
			t.Fatal(got)
		}
		// As the disk has it now, with nothing closed.
		path := filepath.Join(dir, "mtasts.db")
		var b bytes.Buffer
		if _, err := w.db.WriteTo(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, b.Bytes())
		w.stop()
		w.db = openPath(t, path)
		w.open()
		w.record("")
		if got := w.get(); got != "enforce cached" {
			t.Errorf("after a crash: got %s", got)
		}
	})
}

// TestOneFetch has many wait for a policy.
func TestOneFetch(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.takes = 10 * time.Second
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wait sync.WaitGroup
		wait.Go(func() { // The first, who starts it.
			if _, _, err := w.cache.Get(impatient, domain); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("impatient: got %v", err)
			}
		})
		for range 100 {
			wait.Go(func() {
				if got := w.get(); got != "enforce fetched" && got != "enforce cached" {
					t.Errorf("got %s", got)
				}
			})
		}
		wait.Wait()
		if n := w.fetched(); n != 1 {
			t.Errorf("got %d fetches, want 1", n)
		}
		if len(w.cache.flights) > 0 {
			t.Errorf("left: %v", w.cache.flights)
		}
	})
}

// TestManyDomains asks for more policies than are fetched at a time, and than may wait.
func TestManyDomains(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.takes = 10 * time.Second
		var wait sync.WaitGroup
		for i := range 3 * fetchesMax {
			d := dns.Domain{ASCII: fmt.Sprintf("d%d.example", i)}
			if err := w.dns.Set("_mta-sts." + d.ASCII + ` TXT "v=STSv1; id=1"`); err != nil {
				t.Fatal(err)
			}
			wait.Go(func() {
				if p, _, err := w.cache.Get(t.Context(), d); err != nil || p.Mode != mtasts.Enforce {
					t.Errorf("%s: got %+v, %v", d, p, err)
				}
			})
		}
		begin := time.Now()
		wait.Wait()
		if took := time.Since(begin); w.most != fetchesMax || took != 3*w.takes {
			t.Errorf("%d fetches at a time took %v", w.most, took)
		}

		w.cache.mu.Lock()
		for i := range flightsMax {
			w.cache.flights[flightKey{id: fmt.Sprint(i)}] = &flight{}
		}
		w.cache.mu.Unlock()
		if got := w.get(); got != ErrBusy.Error() {
			t.Errorf("got %s, want busy", got)
		}
	})
}

// TestStopped shows that a fetch that ends because we stop says nothing about a
// domain.
func TestStopped(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.takes = 10 * time.Second
		time.AfterFunc(time.Second, w.group.Stop)
		if got := w.get(); got != context.Canceled.Error() {
			t.Errorf("got %s", got)
		}
		if e, err := w.db.Lookup(t.Context(), domain.ASCII); err != nil || !e.Failed.IsZero() {
			t.Errorf("stored %+v, %v", e, err)
		}
		if got := w.get(); got != context.Canceled.Error() {
			t.Errorf("after the end: got %s", got)
		}
	})
}

// TestDiskFails shows that nothing goes on when the disk can't say what is there.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mtasts.db")
	inWorld(t, func(t *testing.T, w *world) {
		db, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		w.cache.opts.DB = db
		w.takes = time.Second
		time.AfterFunc(500*time.Millisecond, func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		if got := w.get(); !strings.HasPrefix(got, "storing MTA-STS policy of a.example: ") {
			t.Errorf("a policy that can't be stored: got %s", got)
		}
		if got := w.get(); !strings.HasPrefix(got, "looking up MTA-STS policy of a.example: ") {
			t.Errorf("a policy that can't be read: got %s", got)
		}
	})
}

// TestUsed counts how exactly use is noted.
func TestUsed(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.policy = policyText(mtasts.Enforce, "31557600")
		begin := time.Now()
		for _, step := range []struct{ wait, want time.Duration }{
			{0, 0}, {usedGrain - 1, 0}, {1, usedGrain}, {time.Hour, usedGrain},
		} {
			time.Sleep(step.wait)
			w.get()
			if e, err := w.db.Lookup(t.Context(), domain.ASCII); err != nil || e.Used.Sub(begin) != step.want {
				t.Errorf("after %v: got %v, %v, want %v", time.Since(begin), e.Used.Sub(begin), err, step.want)
			}
		}
	})
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("a cache without anything was made")
	}
}
