package resolver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/mjl-/mox/dns"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	q := newQuery(question{"x.example.org.", mdns.TypeA}, form{edns: true})
	q.msg.Question[0].Name = "X.example.org."
	for _, c := range []struct {
		what   string
		change func(*mdns.Msg)
		want   verdict
	}{
		{"the reply", func(*mdns.Msg) {}, right},
		{"another id", func(m *mdns.Msg) { m.Id++ }, stray},
		{"a query", func(m *mdns.Msg) { m.Response = false }, stray},
		{"another operation", func(m *mdns.Msg) { m.Opcode = mdns.OpcodeNotify }, stray},
		{"another case", func(m *mdns.Msg) { m.Question[0].Name = "x.example.org." }, otherCase},
		{"another name", func(m *mdns.Msg) { m.Question[0].Name = "y.example.org." }, stray},
		{"another type", func(m *mdns.Msg) { m.Question[0].Qtype = mdns.TypeAAAA }, stray},
		{"another class", func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS }, stray},
		{"another name in another case", func(m *mdns.Msg) { m.Question[0].Name = "Y.EXAMPLE.org." }, stray},
		{"two questions", func(m *mdns.Msg) { m.Question = append(m.Question, m.Question[0]) }, stray},
		{"no question", func(m *mdns.Msg) { m.Question = nil }, stray},
		{"no question, and a failure", func(m *mdns.Msg) { m.Question, m.Rcode = nil, mdns.RcodeFormatError }, right},
		{"no question, and no such name", func(m *mdns.Msg) { m.Question, m.Rcode = nil, mdns.RcodeNameError }, stray},
		{"a record without data", func(m *mdns.Msg) {
			m.Answer = []mdns.RR{&mdns.ANY{Hdr: mdns.RR_Header{Name: "x.example.org.", Rrtype: mdns.TypeA, Class: mdns.ClassINET}}}
		}, stray},
		{"truncated", func(m *mdns.Msg) { m.Truncated = true }, truncated},
		{"truncated, another id", func(m *mdns.Msg) { m.Truncated, m.Id = true, m.Id+1 }, stray},
	} {
		m := (&mdns.Msg{}).SetReply(q.msg)
		m.Question = []mdns.Question{q.msg.Question[0]}
		c.change(m)
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		got, verdict := q.match(packet)
		if verdict != c.want || (got == nil) != (verdict == stray || verdict == truncated) {
			t.Errorf("%s: got %v, want %v", c.what, verdict, c.want)
		}
		for n := range packet {
			if _, v := q.match(packet[:n]); v == right && c.want != right {
				t.Errorf("%s: got %v for %d bytes of it", c.what, v, n)
			}
		}
	}
}

// TestNewQuery shows what a query tells, and that it can't be guessed.
func TestNewQuery(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("abcdefghij.", 20)
	ids, cases := map[uint16]bool{}, map[string]bool{}
	for range 100 {
		m := newQuery(question{name, mdns.TypeMX}, form{edns: true, mixedCase: true}).msg
		ids[m.Id] = true
		cases[m.Question[0].Name] = true
		if !m.RecursionDesired || !m.AuthenticatedData || m.CheckingDisabled || lower(m.Question[0].Name) != name {
			t.Fatalf("got %v", m)
		}
		if opt := m.IsEdns0(); opt == nil || opt.UDPSize() != udpSize || opt.Do() {
			t.Fatalf("got %v", opt)
		}
	}
	if len(ids) < 90 || len(cases) != 100 {
		t.Errorf("got %d ids and %d names in 100 queries", len(ids), len(cases))
	}
	m := newQuery(question{name, mdns.TypeMX}, form{}).msg
	if m.IsEdns0() != nil || m.Question[0].Name != name {
		t.Errorf("got %v without EDNS and mixed case", m)
	}
	if got := mixCase(`a\098-1.z`, []byte{0xff, 0xff}); got != `A\098-1.Z` {
		t.Errorf("got %q", got)
	}
}

// TestFlights has many who wait for one, some of whom leave.
func TestFlights(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f flights
		var calls atomic.Int64
		q := question{"x.", mdns.TypeA}
		slow := func(ctx context.Context) (answer, error) {
			calls.Add(1)
			select {
			case <-time.After(time.Second):
				return answer{name: "x."}, nil
			case <-ctx.Done():
				return answer{}, ctx.Err()
			}
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				ctx := t.Context()
				if i%2 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i+1)*time.Millisecond)
					defer cancel()
				}
				a, err := f.do(ctx, q, slow)
				if i%2 == 0 && (!errors.Is(err, dns.ErrTemporary) || !errors.Is(err, context.DeadlineExceeded)) || i%2 == 1 && (err != nil || a.name != "x.") {
					t.Errorf("%d: got %+v, %v", i, a, err)
				}
			})
		}
		wg.Wait()
		if n := calls.Load(); n != 1 || len(f.by) != 0 {
			t.Errorf("got %d calls, %d flights left", n, len(f.by))
		}

		// When all have left nobody is on the way any more, and the next begins anew.
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for range 3 {
			wg.Go(func() {
				if _, err := f.do(ctx, q, slow); err == nil {
					t.Error("got no error after leaving")
				}
			})
		}
		wg.Wait()
		if len(f.by) != 0 || time.Since(start) != 100*time.Millisecond {
			t.Errorf("got %d flights left, after %v", len(f.by), time.Since(start))
		}
		if a, err := f.do(t.Context(), q, slow); err != nil || a.name != "x." || calls.Load() != 3 {
			t.Errorf("got %+v, %v, after %d calls", a, err, calls.Load())
		}
		// A flight ends by itself.
		start = time.Now()
		_, err := f.do(t.Context(), q, func(ctx context.Context) (answer, error) {
			<-ctx.Done()
			return answer{}, fmt.Errorf("%w: %w", dns.ErrTemporary, ctx.Err())
		})
		if !errors.Is(err, dns.ErrTemporary) || time.Since(start) != lookupMax {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}
