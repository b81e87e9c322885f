package mtastsdb

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/mtasts"
)

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRefresh runs for days, with domains that nobody sends to.
func TestRefresh(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		const domains = 30
		begin := time.Now()
		for i := range domains {
			d := dns.Domain{ASCII: fmt.Sprintf("d%d.example", i)}
			if err := w.dns.Set("_mta-sts." + d.ASCII + ` TXT "v=STSv1; id=1"`); err != nil {
				t.Fatal(err)
			}
			if _, _, err := w.cache.Get(t.Context(), d); err != nil {
				t.Fatal(err)
			}
		}
		w.takes = 10 * time.Second
		w.cache.StartRefresh()
		time.Sleep(12 * time.Hour)
		if n := w.fetched(); n != domains {
			t.Fatalf("got %d fetches on the first day, want the %d of sending", n, domains)
		}
		for day := 1; day <= 3; day++ {
			time.Sleep(time.Until(begin.Add(time.Duration(day)*25*time.Hour + 4*time.Hour)))
			if n := w.fetched(); n != domains*(day+1) {
				t.Errorf("day %d: got %d fetches, want %d", day, n, domains*(day+1))
			}
		}
		last := w.fetches[len(w.fetches)-domains:]
		span := last[domains-1].Sub(last[0])
		if span > refreshSpread || span < refreshSpread*8/10 || w.most > 3 {
			t.Errorf("spread over %v, %d at a time", span, w.most)
		}
		// Policies of two days are still in force after four, with DNS failing.
		w.dns.Fail("", "_mta-sts.d1.example", dnstest.Temporary)
		if p, ev, err := w.cache.Get(t.Context(), dns.Domain{ASCII: "d1.example"}); err != nil || p.Mode != mtasts.Enforce || ev.Source != Cached {
			t.Errorf("got %+v, %+v, %v", p, ev, err)
		}
		if e, err := w.db.Lookup(t.Context(), "d2.example"); err != nil || e.Used.Sub(begin) > time.Hour || !e.Inserted.Equal(e.Used) {
			t.Errorf("got %+v, %v", e, err)
		}
	})
}

// TestRefreshOutcomes shows what becomes of entries on the next day.
func TestRefreshOutcomes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		mode   mtasts.Mode
		change func(w *world)
		want   string // Mode and record id. Empty: removed.
		warned bool
	}{
		{"nothing changed", mtasts.Enforce, func(*world) {}, "enforce 1", false},
		{"a new record", mtasts.Enforce, func(w *world) { w.record("2") }, "enforce 2", false},
		{"a new policy with the old record", mtasts.Enforce, func(w *world) { w.policy = policyText(mtasts.Testing, "60") }, "testing 1", false},
		{"the record is gone", mtasts.Enforce, func(w *world) { w.record("") }, "enforce 1", false},
		{"the record is gone, as the policy said", mtasts.None, func(w *world) { w.record("") }, "", false},
		{"DNS fails", mtasts.None, func(w *world) { w.dns.Fail("", "_mta-sts.a.example", dnstest.Bogus) }, "none 1", false},
		{"the policy can't be had", mtasts.Enforce, func(w *world) { w.policy = "" }, "enforce 1", true},
		{"the policy that there is none can't be had", mtasts.None, func(w *world) { w.policy = "" }, "none 1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.policy = policyText(test.mode, "172800")
				w.get()
				put(t, w.db, failed(Entry{Domain: "failed.example"}, "1", 0))
				test.change(w)
				w.cache.StartRefresh()
				time.Sleep(29 * time.Hour)
				w.stop()
				got := ""
				entries, err := w.db.Entries(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					got += fmt.Sprintf("%s %s", e.Policy.Mode, e.RecordID)
				}
				if got != test.want || strings.Contains(w.log.String(), "level=WARN") != test.warned || strings.Contains(w.log.String(), "level=ERROR") {
					t.Errorf("got %q, want %q, log:\n%s", got, test.want, w.log)
				}
			})
		})
	}
}

// TestUnused shows that a policy is refreshed for long, but not for ever.
func TestUnused(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.get()
		w.cache.StartRefresh()
		time.Sleep(UnusedMax - 2*24*time.Hour)
		if e, err := w.db.Lookup(t.Context(), domain.ASCII); err != nil || !e.Holds(time.Now()) {
			t.Errorf("got %+v, %v", e, err)
		}
		time.Sleep(4 * 24 * time.Hour)
		if entries, err := w.db.Entries(t.Context()); err != nil || len(entries) > 0 {
			t.Errorf("got %+v, %v", entries, err)
		}
	})
}
