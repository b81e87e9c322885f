package mtastsdb

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/mtasts"
)

// named returns an entry with a policy of a mode, for another domain.
func named(name string, mode mtasts.Mode, used float64) Entry {
	e := held(mode)
	e.Domain, e.Used = name, at(used)
	return e
}

// left returns the domains that have entries.
func left(t *testing.T, db *DB) string {
	t.Helper()
	entries, err := db.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Domain, ".example"))
	}
	return strings.Join(names, " ")
}

// TestMakeRoom shows what goes first when there are too many entries, and that no
// enforced policy does.
func TestMakeRoom(t *testing.T) {
	t.Parallel()
	db := openPath(t, t.TempDir()+"/mtasts.db")
	expired := named("expired.example", mtasts.Enforce, 9)
	expired.ValidUntil, expired.Updated = at(-1), at(-1).Add(-expired.Policy.MaxAge)
	for _, e := range []Entry{
		named("enforced.example", mtasts.Enforce, 0), named("tested.example", mtasts.Testing, 1), named("none.example", mtasts.None, 9), expired,
		failed(Entry{Domain: "fails.example", Used: at(9)}, "1", 0), failed(Entry{Domain: "failed.example", Used: at(1)}, "1", 0),
	} {
		put(t, db, e)
	}
	if n, err := db.makeRoom(t.Context(), at(0)); n != 0 || err != nil {
		t.Errorf("with room: removed %d, %v", n, err)
	}
	for _, want := range []string{
		"enforced expired fails none tested", "enforced expired none tested", "enforced none tested", "enforced tested", "enforced", "enforced",
	} {
		db.max = max(1, len(strings.Fields(left(t, db))))
		if _, err := db.makeRoom(t.Context(), at(0)); err != nil {
			t.Fatal(err)
		}
		if got := left(t, db); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestFull gets policies when there is no room for more.
func TestFull(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.db.max = 2
		known := map[string]bool{}
		get := func(name, want string) {
			t.Helper()
			if !known[name] {
				known[name] = true
				if err := w.dns.Set(fmt.Sprintf("_mta-sts.%s.example TXT %q", name, "v=STSv1; id=1")); err != nil {
					t.Fatal(err)
				}
			}
			p, ev, err := w.cache.Get(t.Context(), dns.Domain{ASCII: name + ".example"})
			if err != nil || p.Mode != mtasts.Enforce || ev.Source != Fetched || ev.Text == "" {
				t.Errorf("%s: got %+v, %+v, %v", name, p, ev, err)
			}
			if got := left(t, w.db); got != want {
				t.Errorf("%s: got entries %s, want %s", name, got, want)
			}
		}
		get("a", "a")
		get("b", "a b")
		get("c", "a b") // It is used, and not kept.
		get("c", "a b")
		w.db.max = 3
		get("d", "a b d")
		time.Sleep(48 * time.Hour) // All expire, and are not looked through more than once an hour.
		synctest.Wait()
		get("e", "b d e")
	})
}

// TestForced refreshes the policy of a domain because somebody wants that.
func TestForced(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for _, step := range []struct {
			name   string
			change func()
			want   string
		}{
			{"for the first time", nil, "enforce "},
			{"again, at once", nil, "enforce "},
			{"another policy for the same record", func() { w.policy = policyText(mtasts.Testing, "172800") }, "testing "},
			{"it can't be had", func() { w.policy = "" }, "testing sts-policy-fetch-error"},
			{"that again, without waiting", func() { w.policy = policyText(mtasts.None, "172800") }, "none "},
			{"the record is gone", func() { w.record("") }, " "},
			{"it still is", nil, " "},
			{"it never was, and the host fails", func() { w.record("1"); w.policy = "" }, " sts-policy-fetch-error"},
			{"DNS fails", func() { w.dns.Fail("", "_mta-sts.a.example", dnstest.Temporary) }, "dns fails"},
		} {
			if step.change != nil {
				step.change()
			}
			e, err := w.cache.Refresh(t.Context(), domain)
			got := fmt.Sprintf("%s %s", e.Policy.Mode, e.Failure)
			if errors.Is(err, dns.ErrTemporary) {
				got = "dns fails"
			} else if err != nil || e.Domain != domain.ASCII {
				t.Errorf("%s: got %+v, %v", step.name, e, err)
			}
			if got != step.want {
				t.Errorf("%s: got %q, want %q", step.name, got, step.want)
			}
		}
	})
}

// TestEvents shows what is counted.
func TestEvents(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		var got []string
		w.cache.opts.Observe = func(e Event) { got = append(got, fmt.Sprintf("%s %s %v", e.Kind, e.Result, e.Took)) }
		w.takes = time.Second
		w.get()
		w.get()
		w.record("2")
		w.policy = "x"
		w.get()
		w.dns.Fail("", "_mta-sts.a.example", dnstest.Temporary)
		time.Sleep(48 * time.Hour)
		w.get()
		want := "fetch ok 1s, get fetched 0s, get cached 0s, fetch sts-policy-invalid 1s, get cached 0s, get error 0s"
		if strings.Join(got, ", ") != want {
			t.Errorf("got %s", strings.Join(got, ", "))
		}
	})
}
