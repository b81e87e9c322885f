package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/trace"
)

// traceExample returns steps of all kinds: a message that is submitted for two
// recipients, one that comes, one that is refused, and what is missing.
func traceExample() admin.QueueTraceResult {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	after := func(d time.Duration) time.Time { return at.Add(d) }
	bob, eve := trace.Rcpt{Address: "bob@other.example", QueueID: 42}, trace.Rcpt{Address: "eve@bücher.example", QueueID: 43}
	yes := true
	message := func(kind trace.Kind, d time.Duration, e trace.Event, rcpts ...trace.Rcpt) trace.Event {
		e.Kind, e.Time, e.MessageID, e.From, e.Account, e.Rcpts = kind, after(d), "1@mox.example", "ann@mox.example", "ann", rcpts
		return e
	}
	events := []trace.Event{
		message(trace.Submitted, 0, trace.Event{
			Subject: "Lunch on \x1b[2JTuesday?", Size: 4321, CID: 0x5f3a, Peer: &trace.Peer{IP: "203.0.113.9", Protocol: "ESMTPSA", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"},
			Submission: &trace.Submission{
				Login: "ann@mox.example", Header: "sales@mox.example", RequireTLS: &yes, NotBefore: after(time.Hour),
				Signatures: []trace.Signature{{Domain: "mox.example", Selector: "2026a", Algorithm: "ed25519-sha256"}, {Domain: "mox.example", Selector: "2026b", Algorithm: "rsa-sha256"}},
			},
		}, bob, eve),
		message(trace.Changed, 5*time.Minute, trace.Event{Change: &trace.Change{What: "rescheduled", By: "administrator", State: "waiting", Next: after(6 * time.Minute)}}, bob),
		message(trace.Attempted, 6*time.Minute, trace.Event{Attempt: &trace.Attempt{
			Number: 1, Took: 1234 * time.Millisecond, Transport: "direct", Host: "mx2.other.example", IP: "192.0.2.26", LocalIP: "198.51.100.7", TLS: "unverified",
			Version: "TLS1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Policy: "opportunistic", STS: "testing", STSMatch: true, DANE: "none", PKIXError: "x509: certificate has expired",
			Result: trace.ResultDelayed, Code: 451, Enhanced: "4.7.1", Error: "mx2.other.example didn't take it for now: 451 4.7.1 greylisted \u009b31m", Next: after(14 * time.Minute),
			Tried: []trace.Tried{
				{Error: "no connection with mx1.other.example could be made", Policy: "dane", Cause: "connecting to 192.0.2.25:25: connection refused"},
				{Host: "mx3.other.example", IP: "192.0.2.27", Error: "mx3.other.example has a certificate that is not good: its TLSA records (DANE) are about another", Policy: "dane"},
			},
		}}, bob),
		message(trace.Attempted, 14*time.Minute, trace.Event{Attempt: &trace.Attempt{
			Number: 2, Took: 321 * time.Millisecond, Transport: "direct", Host: "mx1.other.example", IP: "192.0.2.25", TLS: "dane", Version: "TLS1.3 TLS_AES_128_GCM_SHA256",
			Policy: "dane", DANE: "usable", Result: trace.ResultDelivered, Code: 250, Enhanced: "2.0.0", Reply: "250 2.0.0 Ok: queued as 4XyZ",
		}}, bob),
		message(trace.Attempted, 15*time.Minute, trace.Event{Attempt: &trace.Attempt{
			Number: 1, Took: 20 * time.Millisecond, Transport: "relay", Host: "[192.0.2.99]", IP: "192.0.2.99", TLS: "none", Policy: "transport",
			Result: trace.ResultFailed, Code: 550, Enhanced: "5.1.1", Permanent: true, Error: "[192.0.2.99] refused it: 550 5.1.1 no such user",
		}}, eve),
		message(trace.Notified, 15*time.Minute, trace.Event{Notice: &trace.Notice{Action: "failed", To: "ann@mox.example", MessageID: "dsn1@mox.example", QueueID: 44}}, eve),
		message(trace.Notified, 15*time.Minute, trace.Event{Notice: &trace.Notice{Action: "delivered", To: "ann@mox.example", Error: "disk on fire"}}, bob),
		message(trace.Answered, 30*time.Minute, trace.Event{Answer: &trace.Answer{Action: "failed", Status: "5.2.2", Diagnostic: "552 5.2.2 mailbox full", MessageID: "dsn2@other.example", RemoteMTA: "mx1.other.example", Suppressed: true}}, bob),
		message(trace.Answered, 31*time.Minute, trace.Event{Answer: &trace.Answer{Action: "delivered", Claimed: true}}, eve),

		{
			Kind: trace.Received, Time: after(time.Hour), CID: 0x5f3b, MessageID: "in@shop.example", From: "bounce@shop.example", Size: 999, Subject: "Offers",
			Rcpts: []trace.Rcpt{{Address: "ann@mox.example"}, {Address: "tom@mox.example"}}, Peer: &trace.Peer{IP: "192.0.2.1", Hello: "mx.shop.example", Protocol: "ESMTP"},
			Evidence: &trace.Evidence{Header: "news@shop.example", Forged: 1, Authentication: []screen.Authentication{
				{Method: "spf", Result: "pass", About: "smtp.mailfrom=bounce@shop.example"},
				{Method: "dkim", Result: "fail", Reason: "signature does not match", About: "header.d=shop.example"},
			}},
		},
		{
			Kind: trace.Judged, Time: after(time.Hour), CID: 0x5f3b, MessageID: "in@shop.example", From: "bounce@shop.example", Account: "ann", Rcpts: []trace.Rcpt{{Address: "ann@mox.example"}},
			Verdict: &trace.Verdict{
				Action: "slow", Reason: "no-bad-signals", Explanation: "nothing speaks against it", Mailbox: "Lists", Delivered: true, Wait: 15 * time.Second, Rule: "ruleset 1 (news)",
				Steps: []screen.Step{{Name: "reputation (none)", Finding: "the sender is not known", Effect: "no signal"}, {Name: "content", Finding: "the account has no junk filter"}},
			},
		},
		{
			Kind: trace.Judged, Time: after(time.Hour), CID: 0x5f3b, MessageID: "in@shop.example", From: "bounce@shop.example", Account: "tom", Rcpts: []trace.Rcpt{{Address: "tom@mox.example"}},
			Verdict: &trace.Verdict{Action: "refuse", Reason: "junk-content", Explanation: "probably junk: 0.98", Mailbox: "Rejects", Reply: "451 4.7.0 error processing"},
		},
		{
			Kind: trace.Notified, Time: after(time.Hour), MessageID: "in@shop.example", From: "bounce@shop.example", Rcpts: []trace.Rcpt{{Address: "tom@mox.example"}},
			Notice: &trace.Notice{Action: "failed", To: "bounce@shop.example", MessageID: "dsn3@mox.example", QueueID: 45},
		},
		{
			Kind: trace.Refused, Time: after(2 * time.Hour), CID: 0x5f3c, From: "", Rcpts: []trace.Rcpt{{Address: "nobody@mox.example"}}, Peer: &trace.Peer{IP: "192.0.2.1", Hello: "bad"},
			Refusal: &trace.Refusal{Stage: "rcpt", Reply: "550 5.1.1 no such address", Reason: "unknown-user", Text: "the address doesn't exist"},
		},
		{
			Kind: trace.Refused, Time: after(3 * time.Hour), CID: 0x5f3d, From: "ann@mox.example", Account: "ann", Peer: &trace.Peer{IP: "203.0.113.9"},
			Refusal: &trace.Refusal{Stage: "data", Reason: "error", Text: "disk on fire"},
		},
		{Kind: "teleported", Time: after(4 * time.Hour), MessageID: "new@mox.example", From: "ann@mox.example", Rcpts: []trace.Rcpt{bob}, Text: "of a newer version"},
	}
	return admin.QueueTraceResult{
		Events: events, KeepFor: "720h0m0s",
		Gaps: []trace.Event{
			{Kind: trace.Gap, Time: after(90 * time.Minute), Missing: &trace.Missing{Restart: true}},
			{Kind: trace.Gap, Time: after(91 * time.Minute), Missing: &trace.Missing{Events: 7}},
		},
	}
}

// TestGoldenTrace compares what people see of messages with
// testdata/queuetrace.golden.
func TestGoldenTrace(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	inv := &invocation{stdout: &out}
	inv.printMessages(traceExample())
	out.WriteString("\n---\n")
	inv.printMessages(admin.QueueTraceResult{KeepFor: "720h0m0s"})
	const golden = "testdata/queuetrace.golden"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(want, out.Bytes()) {
		t.Errorf("%s differs, run make gen: %v; got:\n%s", golden, err, out.String())
	}
	if strings.ContainsAny(out.String(), "\x1b\u009b") {
		t.Error("control characters come through")
	}
}

// TestTraceNow checks what is said of the place of a message in states that the
// golden file doesn't have.
func TestTraceNow(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	rcpt := []trace.Rcpt{{Address: "bob@other.example", QueueID: 42}}
	submitted := trace.Event{Kind: trace.Submitted, Submission: &trace.Submission{}}
	for _, test := range []struct {
		name  string
		event trace.Event
		want  string
	}{
		{"submitted", submitted, "in the queue, not tried yet"},
		{"held from the start", trace.Event{Submission: &trace.Submission{Held: true}}, "held in the queue"},
		{"refused", trace.Event{Submission: &trace.Submission{}, Refusal: &trace.Refusal{}}, "refused at 2026-11-21T12:00:00Z"},
		{"delayed", trace.Event{Attempt: &trace.Attempt{Result: "delayed", Next: at}}, "waits for its next attempt, planned for 2026-11-21T12:00:00Z"},
		{"held", trace.Event{Change: &trace.Change{What: "held", State: "held", Next: at}}, "held, next attempt planned for 2026-11-21T12:00:00Z"},
		{"being delivered", trace.Event{Change: &trace.Change{What: "failed", State: "delivering"}}, "delivering"},
		{"dropped", trace.Event{Change: &trace.Change{What: "dropped", State: "retired"}}, "dropped at 2026-11-21T12:00:00Z"},
		{"copied", trace.Event{Kind: trace.Queued}, "in the queue"},
		{"told", trace.Event{Kind: trace.Notified, Notice: &trace.Notice{}}, "in the queue, not tried yet"},
	} {
		first, second := submitted, test.event
		first.Rcpts, second.Rcpts, second.Time = rcpt, rcpt, at
		got := traceNow([]trace.Event{first, second})
		if want := "=> bob@other.example (42): " + test.want; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %q, want %q", test.name, got, want)
		}
	}
	var many []trace.Event
	for range traceRcptsMax + 2 {
		e := submitted
		e.Rcpts = []trace.Rcpt{{QueueID: int64(len(many) + 1)}}
		many = append(many, e)
	}
	if got := traceNow(many); len(got) != traceRcptsMax+1 || got[traceRcptsMax] != "=> and 2 more recipients" {
		t.Errorf("many: got %q", got)
	}
}

func TestParseMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]string{
		"2026-11-20": "2026-11-20T00:00:00Z", "2026-11-20T10:30": "2026-11-20T10:30:00Z", "2026-11-20T10:30:01+01:00": "2026-11-20T09:30:01Z",
		"2h": "2026-11-21T10:00:00Z", "3d": "2026-11-18T12:00:00Z", "-2h": "", "": "", "yesterday": "",
	} {
		got, err := parseMoment(s, now)
		if text := got.UTC().Format(time.RFC3339); err == nil && text != want || err != nil && want != "" {
			t.Errorf("%q: got %s, %v, want %q", s, text, err, want)
		}
	}
}

// TestEscapeUnprintable shows that JSON keeps its value, and nothing of it acts on a
// terminal.
func TestEscapeUnprintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain": `"plain"`, "bücher €😀": `"bücher €😀"`, "\x1b[2J": `"\u001b[2J"`, "\u009b2J": `"\u009b2J"`, "\x7f": `"\u007f"`,
		"\u202eevil": `"\u202eevil"`, "\U000e0041": `"\udb40\udc41"`, "\ufffd": "\"\ufffd\"",
	} {
		text, err := appendJSON(nil, in)
		if err != nil {
			t.Fatal(err)
		}
		got := bytes.TrimSuffix(escapeUnprintable(text), []byte("\n"))
		var back string
		if err := json.Unmarshal(got, &back); string(got) != want || err != nil || back != in {
			t.Errorf("%q: got %s, which is %q, %v", in, got, back, err)
		}
	}
}
