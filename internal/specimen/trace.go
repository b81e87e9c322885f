package specimen

import (
	"context"
	"time"

	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/trace"
)

// makeTrace writes the way of a message that was sent, and of one that came.
func (s *specimen) makeTrace(context.Context) error {
	l, err := trace.Open(trace.Options{Dir: s.path("trace"), KeepFor: 30 * 24 * time.Hour, SizeMax: 1 << 20, Log: s.log})
	if err != nil {
		return err
	}
	message := trace.Event{MessageID: "sent@" + Domain, From: Main + "@" + Domain, Account: Main, Rcpts: []trace.Rcpt{{Address: "bob@other.example", QueueID: 1}}}
	one := message
	one.Kind, one.Submission = trace.Submitted, &trace.Submission{Login: Main + "@" + Domain, Header: Main + "@" + Domain}
	l.Append(one)
	one = message
	one.Kind, one.Attempt = trace.Attempted, &trace.Attempt{Number: 1, Transport: "direct", Host: "mx.other.example", IP: "192.0.2.25", TLS: "unverified", Policy: "opportunistic", Result: trace.ResultDelivered}
	l.Append(one)
	l.Append(trace.Event{
		Kind: trace.Judged, MessageID: "came@other.example", From: "bob@other.example", Account: Main, Rcpts: []trace.Rcpt{{Address: Main + "@" + Domain}},
		Verdict: &trace.Verdict{Action: "accept", Reason: screen.NoBadSignals, Mailbox: "Inbox", Delivered: true},
	})
	l.Append(trace.Event{Kind: trace.Refused, From: "spam@other.example", Refusal: &trace.Refusal{Stage: "rcpt", Reply: "550 5.1.1 no such address"}})
	return l.Close()
}
