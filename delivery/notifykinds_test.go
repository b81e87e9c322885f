package delivery

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dsn"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtp"
)

// wants has what a sender is told of for each value of NOTIFY: RFC 3461, section 4.1.
var wants = map[smtp.Notify]string{
	"":                      "failed delayed",
	"NEVER":                 "",
	"SUCCESS":               "delivered relayed expanded",
	"FAILURE":               "failed",
	"DELAY":                 "delayed",
	"SUCCESS,FAILURE":       "delivered relayed expanded failed",
	"SUCCESS,DELAY":         "delivered relayed expanded delayed",
	"FAILURE,DELAY":         "failed delayed",
	"SUCCESS,FAILURE,DELAY": "delivered relayed expanded failed delayed",
}

// senders are the kinds of them, with what they can be told of at most.
var senders = []struct {
	name    string
	message queue.Message
	can     string
}{
	{"ours", queue.Message{Account: "alice", MailFrom: "alice@example.org"}, "delivered relayed expanded failed delayed"},
	{"a stranger, who perhaps has sent nothing", queue.Message{MailFrom: "x@other.example"}, "failed delayed"},
	{"the null sender of a user", queue.Message{Account: "alice"}, ""},
	{"the null sender", queue.Message{}, ""},
	{"a report of ours", queue.Message{Account: "mox", MailFrom: "reports@example.org", Report: "tls"}, "failed"},
	{"a report without an account", queue.Message{MailFrom: "reports@example.org", Report: "dmarc"}, "failed"},
	{"a report from the null sender", queue.Message{Report: "tls"}, ""},
}

// events are what can come of an attempt, with what there is to tell of it.
var events = []struct {
	name  string
	try   try
	after time.Duration
	tell  dsn.Action
}{
	{"a server without DSN has it", try{arrival: arrivedElsewhere}, 0, dsn.Relayed},
	{"a server with DSN has it", try{arrival: arrivedAware}, 0, ""},
	{"an account has it", try{arrival: arrivedMailbox}, 0, dsn.Delivered},
	{"the members of a list have it", try{arrival: arrivedList}, 0, dsn.Expanded},
	{"it is refused", try{failure: &failure{enhanced: "5.1.1", permanent: true}}, 0, dsn.Failed},
	{"a list refuses it", try{failure: &failure{enhanced: "5.7.2", permanent: true}, arrival: arrivedList}, 0, dsn.Failed},
	{"its time is over", try{failure: &failure{enhanced: "4.4.1"}}, 4 * time.Hour, dsn.Failed},
	{"it waits for a short time", try{failure: &failure{enhanced: "4.4.1"}}, 0, ""},
	{"it waits for long", try{failure: &failure{enhanced: "4.4.1"}}, time.Hour, dsn.Delayed},
	{"we stop meanwhile", try{failure: &failure{enhanced: "4.3.2", interrupted: true}}, time.Hour, ""},
}

// TestDecideNotice has all that senders can ask for, with all that can come of it.
func TestDecideNotice(t *testing.T) {
	t.Parallel()
	for notify, wanted := range wants {
		for _, sender := range senders {
			for _, event := range events {
				m := sender.message
				m.ID, m.Queued, m.Attempts, m.Notify = 7, testQueued, 4, notify
				tr := event.try
				tr.start, tr.end = testQueued.Add(event.after), testQueued.Add(event.after)
				v := decide(&m, tr, testSchedule, 0)
				want := event.tell
				if !slices.Contains(strings.Fields(wanted), string(want)) || !slices.Contains(strings.Fields(sender.can), string(want)) {
					want = ""
				}
				if v.notice != want || v.report.DelayTold != (want == dsn.Delayed) {
					t.Errorf("NOTIFY=%s, %s, %s: got %q, told %v, want %q", notify, sender.name, event.name, v.notice, v.report.DelayTold, want)
				}
			}
		}
	}
}

// TestWholeFields cuts the begin of a message where more of it was not read.
func TestWholeFields(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, head string
		max        int
		want       string
	}{
		{"all of a short message", "A: 1\r\nB: 2\r\n\r\nbody", 100, "A: 1\r\nB: 2\r\n\r\n"},
		{"the header ends before", "A: 1\r\n\r\nbody", 12, "A: 1\r\n\r\n"},
		{"a message without body", "A: 1\r\n", 100, "A: 1\r\n"},
		{"within a field", "A: 1\r\nB: 2", 10, "A: 1\r\n"},
		{"behind a field that may go on", "A: 1\r\nB: 2\r\n", 12, "A: 1\r\n"},
		{"within a folded field", "A: 1\r\nB: 2\r\n 3\r\n\t4", 18, "A: 1\r\n"},
		{"within the only field", "A: 1\r\n 2", 8, ""},
		{"no line at all", "A: 1", 4, ""},
	} {
		if got := wholeFields([]byte(test.head), test.max); string(got) != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestSuccessText compares what people read with files.
func TestSuccessText(t *testing.T) {
	t.Parallel()
	m := queue.Message{MailFrom: "alice@example.org", Subject: "greetings", MessageID: "<1@example.org>", Queued: testQueued}
	to := func(rcpt string, a dsn.Action) success { return success{rcpt: &queue.Message{Rcpt: rcpt}, action: a} }
	for name, list := range map[string][]success{
		"delivered": {to("bob@example.org", dsn.Delivered)},
		"expanded":  {to("list@example.org", dsn.Expanded), to("bob@example.org", dsn.Delivered), to("jürgen@example.org", dsn.Delivered)},
		"relayed":   {to("one@other.example", dsn.Relayed), to("two@other.example", dsn.Relayed)},
	} {
		checkGolden(t, name+".txt", noticeSubject(list[0].action, m.Subject)+"\n\n"+successText(&m, list))
	}
	for action, want := range map[dsn.Action]string{dsn.Delivered: "Your message was delivered", dsn.Expanded: "Your message was delivered", dsn.Relayed: "Your message was passed on"} {
		if got := noticeSubject(action, ""); got != want {
			t.Errorf("%s: got subject %q, want %q", action, got, want)
		}
	}
}
