package tlsrptdb

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/tlsrpt"
)

// start is a time on the first day of tests.
var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func openPath(t *testing.T, path string) *ResultDB {
	t.Helper()
	db, err := OpenResults(path)
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

// success returns what came of a good session with a host, or of one by the policy of
// the domain.
func success(domain, host string) Results {
	r := Results{PolicyDomain: domain, RecipientDomain: domain}
	if host != "" {
		r.PolicyDomain, r.Host = host, true
	}
	r.Policies = []tlsrpt.Result{{Policy: tlsrpt.Policy{Type: tlsrpt.PolicyNone, Domain: r.PolicyDomain}, Summary: tlsrpt.Summary{Success: 1}}}
	return r
}

// failure returns what came of one that failed.
func failure(domain, host string) Results {
	r := success(domain, host)
	r.Policies[0].Summary = tlsrpt.Summary{Failure: 1}
	r.Policies[0].Failures = []tlsrpt.Failure{{Type: tlsrpt.STARTTLSNotSupported, Sessions: 1}}
	return r
}

// on gives results a day.
func (r Results) on(at time.Time) Results {
	r.Day, r.Created, r.Updated = DayOf(at), at, at
	return r
}

// describe tells results in lines.
func describe(list []Results) string {
	var b strings.Builder
	for _, r := range list {
		fmt.Fprintf(&b, "%s %s %s %v", r.Day, r.RecipientDomain, r.PolicyDomain, r.Host)
		for _, p := range r.Policies {
			fmt.Fprintf(&b, " %s %d/%d", p.Policy.Type, p.Summary.Success, p.Summary.Failure)
			for _, f := range p.Failures {
				fmt.Fprintf(&b, " %s*%d", f.Type, f.Sessions)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func add(t *testing.T, db *ResultDB, list ...Results) {
	t.Helper()
	if left, err := db.Add(t.Context(), list); err != nil || left != 0 {
		t.Fatalf("got %d left out, %v", left, err)
	}
}

func wantList(t *testing.T, db *ResultDB, domain, want string) {
	t.Helper()
	list, err := db.List(t.Context(), domain)
	if got := describe(list); err != nil || got != want {
		t.Errorf("%q: got\n%swant\n%s%v", domain, got, want, err)
	}
}

// TestResults adds results, lists and removes them, and finds them in a copy.
func TestResults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "tlsrptresult.db")
	db := openPath(t, path)
	next := start.Add(24 * time.Hour)
	add(t, db, success("a.example", "").on(start), success("a.example", "mx.a.example").on(start), success("b.example", "mx.a.example").on(start))
	add(t, db, failure("a.example", "").on(start), success("a.example", "").on(next), success("a.example", "a.example").on(next))
	const a = "20260102 a.example a.example false no-policy-found 1/0\n" +
		"20260102 a.example a.example true no-policy-found 1/0\n" +
		"20260101 a.example a.example false no-policy-found 1/1 starttls-not-supported*1\n" +
		"20260101 a.example mx.a.example true no-policy-found 1/0\n"
	const b = "20260101 b.example mx.a.example true no-policy-found 1/0\n"
	wantList(t, db, "", a+b)
	wantList(t, db, "a.example", a)
	wantList(t, db, "mx.a.example", "20260101 a.example mx.a.example true no-policy-found 1/0\n"+b)
	wantList(t, db, "c.example", "")

	var text bytes.Buffer
	if _, err := db.WriteTo(t.Context(), &text); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "copy.db"), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	copied, remove, err := OpenResultsCopy(t.Context(), filepath.Join(dir, "copy.db"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, copied, "", a+b)
	if err := remove(); err != nil {
		t.Error(err)
	}

	if n, err := db.RemoveBefore(t.Context(), DayOf(next)); err != nil || n != 3 {
		t.Errorf("removed %d, %v", n, err)
	}
	wantList(t, db, "", a[:strings.Index(a, "20260101")])
}

// TestResultsMany adds and removes more than goes into one transaction.
func TestResultsMany(t *testing.T) {
	t.Parallel()
	db := openPath(t, filepath.Join(t.TempDir(), "tlsrptresult.db"))
	var list []Results
	for i := range 2*chunk + 1 {
		list = append(list, success(fmt.Sprintf("%d.example", i), "").on(start))
	}
	add(t, db, list...)
	if got, err := db.List(t.Context(), ""); err != nil || len(got) != len(list) {
		t.Errorf("got %d, %v", len(got), err)
	}
	if n, err := db.RemoveBefore(t.Context(), "20260102"); err != nil || n != len(list) {
		t.Errorf("removed %d, %v", n, err)
	}
}

// TestPoliciesMax has a domain that changes its policy all the time.
func TestPoliciesMax(t *testing.T) {
	t.Parallel()
	db := openPath(t, filepath.Join(t.TempDir(), "tlsrptresult.db"))
	for i := range 2 * policiesMax {
		r := success("a.example", "").on(start)
		r.Policies[0].Policy.String = []string{fmt.Sprint("mode ", i)}
		add(t, db, r)
	}
	list, err := db.List(t.Context(), "")
	if err != nil || len(list) != 1 || len(list[0].Policies) != policiesMax {
		t.Errorf("got %s, %v", describe(list), err)
	}
}

// TestCheck has rows that are wrong.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(r *Results)
		want   string
	}{
		{"nothing", func(r *Results) {}, ""},
		{"a domain with a space", func(r *Results) { r.RecipientDomain = "a b" }, `"a b" is not the name of a domain`},
		{"a domain in upper case", func(r *Results) { r.PolicyDomain = "A.example" }, `"A.example" is not the name of a domain`},
		{"a domain of somebody else", func(r *Results) { r.PolicyDomain = "b.example" }, "the policy is of neither the domain nor a host"},
		{"no day", func(r *Results) { r.Day = "yesterday" }, `"yesterday" is not a day`},
		{"no policies", func(r *Results) { r.Policies = nil }, "it has 0 policies, not between 1 and 10"},
		{"a policy twice", func(r *Results) { r.Policies = append(r.Policies, r.Policies[0]) }, "it has a policy twice"},
		{"a policy of an unknown type", func(r *Results) { r.Policies[0].Policy.Type = "arc" }, `unknown type of policy "arc"`},
		{"less than no sessions", func(r *Results) { r.Policies[0].Summary.Success = -1 }, "numbers of sessions or failures are wrong"},
		{"a failure that never was", func(r *Results) { r.Policies[0].Failures = []tlsrpt.Failure{{Type: tlsrpt.TLSAInvalid}} }, `a failure of type "tlsa-invalid" in 0 sessions`},
		{"a failure of an unknown type", func(r *Results) { r.Policies[0].Failures = []tlsrpt.Failure{{Type: "bad-luck", Sessions: 1}} }, `a failure of type "bad-luck" in 1 sessions`},
	} {
		r := success("a.example", "").on(start)
		test.change(&r)
		if got := r.check(); fmt.Sprint(got) != test.want && (got != nil || test.want != "") {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
	db, err := OpenResults(filepath.Join(t.TempDir(), "tlsrptresult.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := success("a.example", "").on(start)
	r.Day = "never"
	if err := db.file.Insert(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	if problems, err := db.Check(t.Context()); err != nil || len(problems) != 1 || problems[0].Error() != `TLS results 1, of "a.example" for "a.example": "never" is not a day` {
		t.Errorf("got %v, %v", problems, err)
	}
}

// inBubble runs a test with a Collector that serves, in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, c *Collector, db *ResultDB, stop func())) *bytes.Buffer {
	t.Helper()
	path, log := filepath.Join(t.TempDir(), "tlsrptresult.db"), &bytes.Buffer{}
	synctest.Test(t, func(t *testing.T) {
		db := openPath(t, path)
		c := NewCollector(db, slog.New(slog.NewTextHandler(log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.Serve(ctx); close(done) }()
		stop := func() { cancel(); <-done }
		defer stop()
		test(t, c, db, stop)
	})
	return log
}

// TestCollector adds up results, which are written after a while and at the end.
func TestCollector(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, c *Collector, db *ResultDB, stop func()) {
		now := time.Now()
		mine := []Results{success("a.example", ""), failure("a.example", "mx.a.example")}
		for range 3 {
			c.Note(now, mine)
		}
		if mine[0].Policies[0].Summary.Success != 1 || mine[1].Policies[0].Failures[0].Sessions != 1 {
			t.Errorf("what was noted has changed: %s", describe(mine))
		}
		wantList(t, db, "", "")
		time.Sleep(writeEvery)
		synctest.Wait()
		day := DayOf(now)
		host := day + " a.example mx.a.example true no-policy-found 0/3 starttls-not-supported*3\n"
		wantList(t, db, "", day+" a.example a.example false no-policy-found 3/0\n"+host)
		c.Note(now, mine[:1])
		stop()
		wantList(t, db, "", day+" a.example a.example false no-policy-found 4/0\n"+host)
	})
}

// TestCollectorOld shows how long results stay: those of a day for 60 hours after it.
func TestCollectorOld(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, c *Collector, db *ResultDB, stop func()) {
		now := time.Now() // Midnight.
		c.Note(now.Add(23*time.Hour), []Results{success("a.example", "")})
		time.Sleep(24*time.Hour + keptFor - removeEvery)
		synctest.Wait()
		wantList(t, db, "", DayOf(now)+" a.example a.example false no-policy-found 1/0\n")
		time.Sleep(2 * removeEvery)
		synctest.Wait()
		wantList(t, db, "", "")
	})
}

// TestCollectorFull has results of more domains than may wait.
func TestCollectorFull(t *testing.T) {
	t.Parallel()
	log := inBubble(t, func(t *testing.T, c *Collector, db *ResultDB, stop func()) {
		now := time.Now()
		var list []Results
		for i := range waitingMax + 5 {
			list = append(list, success(fmt.Sprintf("%d.example", i), ""))
		}
		c.Note(now, list)
		synctest.Wait() // They are written at once.
		got, err := db.List(t.Context(), "")
		if err != nil || len(got) != waitingMax {
			t.Errorf("got %d, %v", len(got), err)
		}
	})
	if !strings.Contains(log.String(), `msg="tls results of too many domains, some are left out" count=5`) {
		t.Errorf("got log %s", log)
	}
}

// TestCollectorBroken can't write, and goes on.
func TestCollectorBroken(t *testing.T) {
	t.Parallel()
	db, err := OpenResults(filepath.Join(t.TempDir(), "tlsrptresult.db"))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := NewCollector(db, slog.New(slog.NewTextHandler(&log, nil)))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c.Note(start, []Results{success("a.example", "")})
	if err := c.Write(t.Context()); err == nil || !strings.Contains(log.String(), "recording tls results") {
		t.Errorf("got %v, log %s", err, &log)
	}
	c.removeOld(t.Context(), start)
	if !strings.Contains(log.String(), "removing old tls results") {
		t.Errorf("got log %s", &log)
	}
}
