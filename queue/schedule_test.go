package queue

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// planner drives a schedule with names instead of ids.
type planner struct {
	t    *testing.T
	s    *schedule
	now  time.Time
	next int64
	name map[int64]string
}

func newPlanner(t *testing.T, l limits) *planner {
	p := &planner{t: t, now: midnight, name: map[int64]string{}}
	p.s = newSchedule(p.now, l, time.Hour, func(domain string) bool { return strings.HasPrefix(domain, "local") })
	return p
}

// add makes messages of one content, due after a time. An item is
// "account>domain", with the name of the message behind a space if there is one.
func (p *planner) add(due time.Duration, items ...string) {
	p.t.Helper()
	j := joiner{last: map[joinKey]*entry{}}
	content := p.next + 1
	for _, item := range items {
		p.next++
		route, name, ok := strings.Cut(item, " ")
		if !ok {
			name = item
		}
		account, domain, _ := strings.Cut(route, ">")
		e := p.s.add(p.next, content, account, domain)
		j.join(e, &messageRow{M: Message{ContentID: content, Domain: domain}})
		p.name[p.next] = name
		p.s.put(e, p.now.Add(due), p.now)
	}
	p.check()
}

func (p *planner) check() {
	p.t.Helper()
	for _, err := range p.s.check() {
		p.t.Fatal(err)
	}
}

// lease leases, and returns the names in it.
func (p *planner) lease() (*lease, string) {
	p.t.Helper()
	l := p.s.lease(p.now)
	p.check()
	if l == nil {
		return nil, ""
	}
	var names []string
	for _, e := range l.entries {
		names = append(names, p.name[e.id])
	}
	return l, strings.Join(names, "+")
}

// end ends a lease for good.
func (p *planner) end(l *lease) {
	p.t.Helper()
	for _, e := range p.s.end(l) {
		p.s.remove(e)
	}
	p.check()
}

// all leases until there is nothing, and returns what came in order.
func (p *planner) all() string {
	p.t.Helper()
	var names []string
	for l, name := p.lease(); l != nil; l, name = p.lease() {
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

var wide = limits{remote: 100, destination: 100, local: 100, remoteRcpts: 100, localRcpts: 100}

func TestSchedule(t *testing.T) {
	t.Parallel()
	narrow := func(remote, destination, local int) limits {
		return limits{remote, destination, local, 2, 3}
	}
	for _, tc := range []struct {
		name   string
		limits limits
		run    func(p *planner)
		want   string // What comes at once, in order.
	}{
		{"nothing", wide, func(*planner) {}, ""},
		{"in the order of their times", wide, func(p *planner) {
			p.add(2, "a>x 2")
			p.add(1, "a>x 1")
			p.add(3, "a>x 3")
			p.now = p.now.Add(2)
		}, "1 2"},
		{"senders take turns", wide, func(p *planner) {
			p.add(0, "a>x a1")
			p.add(0, "a>y a2")
			p.add(0, "a>z a3")
			p.add(0, "b>x b1")
			p.add(0, "b>x b2")
			p.add(0, "c>x c1")
		}, "a1 b1 c1 a2 b2 a3"},
		{"destinations of one sender take turns", wide, func(p *planner) {
			p.add(0, "a>x x1")
			p.add(0, "a>x x2")
			p.add(0, "a>y y1")
		}, "x1 y1 x2"},
		{"messages of one content and domain go together", wide, func(p *planner) {
			p.add(0, "a>x 1", "a>y 2", "a>x 3")
		}, "1+3 2"},
		{"but not those that are not due", wide, func(p *planner) {
			p.add(0, "a>x 1", "a>x 2")
			e := p.s.entries[2]
			p.s.take(e)
			p.s.put(e, p.now.Add(1), p.now)
		}, "1"},
		{"and not more than a server must take", narrow(9, 9, 9), func(p *planner) {
			p.add(0, "a>x 1", "a>x 2", "a>x 3", "a>x 4", "a>x 5")
		}, "1+2 3+4 5"},
		{"hand-overs take more at a time", narrow(9, 9, 9), func(p *planner) {
			p.add(0, "a>local 1", "a>local 2", "a>local 3", "a>local 4")
		}, "1+2+3 4"},
		{"not more than may run", narrow(2, 9, 1), func(p *planner) {
			p.add(0, "a>x 1")
			p.add(0, "a>y 2")
			p.add(0, "a>z 3")
			p.add(0, "a>local 4")
			p.add(0, "a>local 5")
		}, "4 1 2"},
		{"not more for one destination", narrow(9, 1, 9), func(p *planner) {
			p.add(0, "a>x a1")
			p.add(0, "b>x b1")
			p.add(0, "b>y b2")
		}, "a1 b2"},
		{"no such limit for hand-overs", narrow(9, 1, 9), func(p *planner) {
			p.add(0, "a>local 1")
			p.add(0, "a>local 2")
		}, "1 2"},
		{"what fails does not wait for a place", narrow(1, 1, 1), func(p *planner) {
			p.add(0, "a>x 1")
			p.add(0, "a>x 2")
			p.add(0, "a>x 3")
			e := p.s.entries[3]
			p.s.take(e)
			e.fail = true
			p.s.put(e, p.now, p.now)
		}, "3 1"},
		{"nothing that is held", wide, func(p *planner) {
			p.add(0, "a>x 1", "a>x 2")
			e := p.s.entries[1]
			p.s.take(e)
			p.s.hold(e)
		}, "2"},
		{"a domain that became ours is handed over", wide, func(p *planner) {
			p.add(0, "a>x 1", "a>x 2")
			p.add(0, "b>x 3")
			p.s.isLocal = func(string) bool { return true }
		}, "1+2 3"},
		{"a time far away", wide, func(p *planner) { p.add(1<<62, "a>x") }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPlanner(t, tc.limits)
			tc.run(p)
			p.check()
			if got := p.all(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestScheduleParked has three senders wait for one destination: they get their
// places in the order in which they came.
func TestScheduleParked(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, limits{10, 1, 10, 100, 500})
	for i := range 3 {
		for _, account := range []string{"a", "b", "c"} {
			p.add(0, fmt.Sprintf("%s>x %s%d", account, account, i))
		}
	}
	p.add(0, "a>y other")
	running, got := p.lease()
	other, name := p.lease()
	if name != "other" {
		t.Fatalf("got %q beside %q", name, got)
	}
	p.end(other)
	for {
		p.end(running)
		var name string
		if running, name = p.lease(); running == nil {
			break
		}
		got += " " + name
		if again, name := p.lease(); again != nil {
			t.Fatalf("%q is delivered too", name)
		}
	}
	if want := "a0 b0 c0 a1 b1 c1 a2 b2 c2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := len(p.s.remote.lanes) + len(p.s.remote.senders) + len(p.s.remote.destinations); n != 0 {
		t.Errorf("%d lanes, senders and destinations are left", n)
	}
}

// TestScheduleFair has one sender with 10,000 messages, to one domain and to many,
// and another with one: it must not wait for more than one round.
func TestScheduleFair(t *testing.T) {
	t.Parallel()
	for _, domains := range []int{1, 7, 10000} {
		p := newPlanner(t, limits{20, 5, 10, 100, 500})
		for i := range 10000 {
			p.next++
			p.s.put(p.s.add(p.next, p.next, "bulk", fmt.Sprintf("x%d", i%domains)), p.now, p.now)
		}
		var running []*lease
		for l := p.s.lease(p.now); l != nil; l = p.s.lease(p.now) {
			running = append(running, l)
		}
		p.add(0, "small>x0 small")
		ends := 0
		for name := ""; name != "small"; {
			if len(running) == 0 {
				t.Fatalf("%d domains: nothing runs", domains)
			}
			p.s.end(running[0])
			running = running[1:]
			ends++
			for l := p.s.lease(p.now); l != nil; l = p.s.lease(p.now) {
				running = append(running, l)
				if l.entries[0].id == p.next {
					name = "small"
				}
			}
		}
		// The message waits for a delivery to end, and if its domain is taken for one
		// more to that.
		if ends > 3 {
			t.Errorf("%d domains: the other sender waited for %d deliveries", domains, ends)
		}
	}
}

// TestScheduleRandom does random things for a long time and checks after each that
// the structure is whole, and at the end that nothing was forgotten.
func TestScheduleRandom(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	p := newPlanner(t, limits{4, 2, 3, 2, 3})
	ours := map[string]bool{}
	p.s.isLocal = func(domain string) bool { return ours[domain] }
	var leases []*lease
	waiting := map[int64]bool{}
	domain := func() string { return fmt.Sprintf("d%d", rng.IntN(4)) }
	pick := func() *entry {
		for _, e := range p.s.entries { // Any will do.
			return e
		}
		return nil
	}
	put := func(e *entry) {
		switch rng.IntN(10) {
		case 0:
			p.s.hold(e)
		case 1:
			e.fail = true
			p.s.put(e, p.now, p.now)
		default:
			p.s.put(e, p.now.Add(time.Duration(rng.IntN(20))), p.now)
		}
	}
	for step := range 20000 {
		switch op := rng.IntN(10); {
		case op < 2 && len(p.s.entries) < 200:
			route := fmt.Sprintf("a%d>%s", rng.IntN(4), domain())
			items := []string{route, route, route}[:1+rng.IntN(3)]
			first := p.next + 1
			p.add(time.Duration(rng.IntN(5)), items...)
			for id := first; id <= p.next; id++ {
				waiting[id] = true
			}
		case op < 6:
			l := p.s.lease(p.now)
			if l == nil {
				break
			}
			leases = append(leases, l)
			first := l.entries[0]
			for _, e := range l.entries {
				if e.account != first.account || e.domain != first.domain || e.content != first.content {
					t.Fatalf("step %d: %+v and %+v together", step, first, e)
				}
			}
		case op < 8 && len(leases) > 0:
			i := rng.IntN(len(leases))
			for _, e := range p.s.end(leases[i]) {
				if rng.IntN(2) == 0 {
					delete(waiting, e.id)
					p.s.remove(e)
					continue
				}
				put(e)
			}
			leases[i] = leases[len(leases)-1]
			leases = leases[:len(leases)-1]
		case op == 8:
			if e := pick(); e != nil && p.s.take(e) {
				put(e)
			}
			if rng.IntN(20) == 0 {
				d := domain()
				ours[d] = !ours[d]
			}
		default:
			p.now = p.now.Add(time.Duration(rng.IntN(5)))
		}
		p.check()
	}
	for _, l := range leases {
		for _, e := range p.s.end(l) {
			put(e)
		}
	}
	for _, e := range p.s.entries {
		if e.place == held && p.s.take(e) {
			p.s.put(e, p.now, p.now)
		}
	}
	p.now = p.now.Add(time.Hour)
	for len(waiting) > 0 {
		l := p.s.lease(p.now)
		if l == nil {
			t.Fatalf("%d messages do not come", len(waiting))
		}
		for _, e := range p.s.end(l) {
			delete(waiting, e.id)
			p.s.remove(e)
		}
	}
	if n := len(p.s.entries); n != 0 {
		t.Errorf("%d messages are left", n)
	}
}

// TestScheduleClock has times as rows hold them, without a monotonic reading: how
// far they are from now counts, and from then on only the time that passes.
func TestScheduleClock(t *testing.T) {
	t.Parallel()
	start := time.Now()
	s := newSchedule(start, wide, time.Hour, func(string) bool { return false })
	minute := start.Add(time.Minute)
	s.put(s.add(1, 1, "a", "x"), minute.Round(0).Add(time.Minute), minute)
	s.put(s.add(2, 2, "a", "x"), time.Time{}, minute)
	s.put(s.add(3, 3, "a", "x"), time.Unix(1<<40, 0), minute)
	if l := s.lease(minute); l == nil || l.entries[0].id != 2 {
		t.Errorf("a time long ago: got lease %+v", l)
	}
	wait, ok := s.wait(minute)
	if !ok || wait < time.Minute-time.Second || wait > time.Minute+time.Second {
		t.Errorf("got wait %s, %v", wait, ok)
	}
	if l := s.lease(minute.Add(59 * time.Second)); l != nil {
		t.Error("leased before its time")
	}
	if l := s.lease(minute.Add(61 * time.Second)); l == nil || l.entries[0].id != 1 {
		t.Errorf("at its time: got lease %+v", l)
	}
}

func TestLeaseExpires(t *testing.T) {
	t.Parallel()
	p := newPlanner(t, wide)
	p.add(0, "a>x 1")
	p.add(0, "a>x 2")
	first, _ := p.lease()
	p.now = p.now.Add(time.Minute)
	second, _ := p.lease()
	p.now = p.now.Add(time.Hour - time.Minute - 1)
	if l := p.s.expired(p.now); l != nil {
		t.Error("expired too early")
	}
	if wait, ok := p.s.wait(p.now); !ok || wait != 1 {
		t.Errorf("got wait %s, %v", wait, ok)
	}
	p.now = p.now.Add(1)
	if l := p.s.expired(p.now); l != first {
		t.Errorf("got %+v", l)
	}
	p.end(first)
	if l := p.s.expired(p.now); l != nil {
		t.Error("the second expired too early")
	}
	p.end(second)
	if _, ok := p.s.wait(p.now); ok {
		t.Error("waiting for nothing")
	}
	if got := p.s.end(first); got != nil {
		t.Errorf("ended again: %v", got)
	}
}
