package trace

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/mjl-/mox/screen"
)

// attempted is an event as deliveries make them.
func attempted(i int64) Event {
	return Event{
		Kind: Attempted, CID: CID(0x5f0000000000 + i), MessageID: fmt.Sprintf("%d.abcdefghijk@mox.example", i), From: "ann@mox.example", Account: "ann",
		Rcpts: []Rcpt{{fmt.Sprintf("user%d@other.example", i%10000), i}}, Subject: "Lunch on Tuesday?", Size: 4321,
		Attempt: &Attempt{
			Number: 1, Took: 123 * time.Millisecond, Transport: "direct", Host: "mx1.other.example", IP: "192.0.2.25", LocalIP: "198.51.100.7",
			TLS: "dane", Version: "TLS1.3 TLS_AES_128_GCM_SHA256", Policy: "dane", DANE: "usable", Result: ResultDelivered, Code: 250, Enhanced: "2.0.0",
			Reply: "250 2.0.0 Ok: queued as 4XyZ123456z",
		},
	}
}

// received is an event as incoming mail makes them.
func received(i int64) Event {
	return Event{
		Kind: Received, CID: CID(0x5f0000000000 + i), MessageID: fmt.Sprintf("%d.abcdefghijk@other.example", i), From: "bob@other.example",
		Rcpts: []Rcpt{{"ann@mox.example", 0}}, Size: 4321,
		Peer: &Peer{IP: "192.0.2.25", LocalIP: "198.51.100.7", Hello: "mx1.other.example", Protocol: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"},
		Evidence: &Evidence{Header: "bob@other.example", Authentication: []screen.Authentication{
			{Method: "iprev", Result: "pass", About: "policy.iprev=192.0.2.25 (mx1.other.example)"},
			{Method: "dkim", Result: "pass", About: "header.d=other.example header.s=k header.a=ed25519-sha256 header.b=JwnTaqsfLGNz header.i=@other.example"},
			{Method: "spf", Result: "pass", About: "smtp.mailfrom=bob@other.example"},
			{Method: "dmarc", Result: "pass", About: "header.from=other.example (policy reject)"},
		}},
	}
}

// BenchmarkAppend is what an event costs who appends it, and, in ns/written, what it
// costs with writing.
func BenchmarkAppend(b *testing.B) {
	for _, test := range []struct {
		name  string
		event func(int64) Event
	}{{"attempted", attempted}, {"received", received}} {
		b.Run(test.name, func(b *testing.B) {
			l, err := Open(Options{Dir: b.TempDir(), KeepFor: time.Hour, SizeMax: 1 << 30, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			e := test.event(1)
			start := time.Now()
			for i := 0; b.Loop(); i++ {
				l.Append(e)
				if i%(pendingMax/2) == 0 { // A server does something else too.
					b.StopTimer()
					l.write()
					b.StartTimer()
				}
			}
			l.write()
			if s := l.Stats(); s.Dropped > 0 {
				b.Errorf("dropped %d", s.Dropped)
			}
			b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(b.N), "ns/written")
			b.ReportMetric(float64(l.Stats().Bytes)/float64(b.N), "B/event")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkLookup looks for a message in a log of 1 GiB, or what is named by
// -trace.size, in MiB.
func BenchmarkLookup(b *testing.B) {
	l, err := Open(Options{Dir: b.TempDir(), KeepFor: time.Hour, SizeMax: 1 << 30, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	events := int64(0)
	for l.Stats().Bytes < lookupSize {
		for range pendingMax / 2 {
			events++
			l.Append(attempted(events))
		}
		l.write()
	}
	for _, test := range []struct {
		name string
		q    Query
		want int
	}{
		{"oldest message", Query{ID: 1}, 1},
		{"newest message", Query{ID: events}, 1},
		{"none", Query{MessageID: "nobody@mox.example"}, 0},
		{"recipient with mail all the time", Query{Address: "user77@other.example"}, int((events + 9999 - 77) / 10000)},
		{"sender of all", Query{Address: "ann@mox.example"}, EventsMax},
	} {
		b.Run(test.name, func(b *testing.B) {
			for b.Loop() {
				f, err := l.Lookup(b.Context(), test.q)
				if err != nil || len(f.Events) != test.want {
					b.Fatalf("%d events of %d, %v", len(f.Events), events, err)
				}
			}
			b.ReportMetric(float64(events), "events")
		})
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// lookupSize is the size of the log in bytes.
const lookupSize = 256 << 20
