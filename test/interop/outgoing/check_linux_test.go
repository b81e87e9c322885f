package outgoing

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/mjl-/mox/trace"
)

// check sends a message from a server to the domain of a row, and holds what becomes
// of it against what is wanted.
func (w *world) check(t *testing.T, s *server, r *row) {
	t.Helper()
	id, to, header := s.id(r), s.recipient(r), ""
	if r.tlsRequiredNo {
		header = "TLS-Required: No\r\n"
	}
	msg := s.newMail(id, header)
	s.submit(t, gosmtp.MailOptions{RequireTLS: r.requireTLS, UTF8: r.utf8}, msg, to)
	connections, number, begin := 0, 0, time.Now()
	for i, want := range r.want {
		if i > 0 {
			// Not at once: senders are told of a delay after many attempts.
			eventually(func() bool { return !r.greylisted || time.Since(begin) > greylistDelay+time.Second })
			s.retry(t, to)
		}
		number++
		got := s.attempted(t, to, number)
		for ; r.greylisted && i > 0 && got.Enhanced == r.want[0].status && number < 100; number++ {
			connections += want.connections
			s.retry(t, to)
			got = s.attempted(t, to, number+1)
		}
		want.check(t, r, got)
		want.checkTLS(t, s, r, got)
		want.checkQueue(t, s, to, got)
		connections += want.connections
	}
	s.checkTrace(t, r)
	w.checkEnds(t, s, r, id, msg, connections)
	if r.sts != nil {
		r.sts.check(t, r)
	}
}

// result is the one in the trace.
func (w want) result() string {
	switch {
	case w.tls != "":
		return trace.ResultDelivered
	case w.failed():
		return trace.ResultFailed
	}
	return trace.ResultDelayed
}

// check holds an attempt against what is wanted.
func (w want) check(t *testing.T, r *row, got *trace.Attempt) {
	t.Helper()
	switch {
	case got.Result != w.result(),
		w.tls != "" && got.TLS != w.tls,
		w.tls == "" && (got.Enhanced != w.status || got.Code != w.code || got.Permanent != w.failed()),
		!strings.Contains(got.Error, w.reason),
		w.policy != "" && got.Policy != w.policy,
		got.Host != w.hostName(r),
		w.family == 4 && strings.Contains(got.IP, ":") || w.family == 6 && !strings.Contains(got.IP, ":"):
		t.Errorf("got %+v, want %+v", got, w)
	}
	// What went wrong before is told too.
	if w.tls != "" && w.host == "mx2" && !r.ownMX && len(got.Tried) == 0 {
		t.Errorf("the trace does not tell why the first host does not have the message: %+v", got)
	}
}

// checkTLS holds what the trace says about a connection against what is wanted.
func (w want) checkTLS(t *testing.T, s *server, r *row, got *trace.Attempt) {
	t.Helper()
	if got.IP == "" {
		return
	}
	if got.LocalIP != s.ip4.String() && got.LocalIP != s.ip6.String() {
		t.Errorf("it came from %s", got.LocalIP)
	}
	failed := w.status == tlsStatus || got.Policy == "tls-failed"
	if got.Policy == "" || failed && got.TLSError == "" || w.tls != "" && !failed && got.TLSError != "" {
		t.Errorf("the trace does not tell why it was so with TLS, or tells what wasn't: %+v", got)
	}
	if secure := w.tls != "" && w.tls != plain; secure && !strings.HasPrefix(got.Version, "TLS1.") || w.tls == plain && got.Version != "" {
		t.Errorf("got version %q", got.Version)
	}
	mode := "none"
	if r.sts != nil && r.sts.works() && !slices.Contains(r.bogus, "TXT _mta-sts.@") && !strings.Contains(r.records, "STSv1") {
		mode = r.sts.mode
	}
	if got.STS != mode {
		t.Errorf("got mode %q of MTA-STS, want %q", got.STS, mode)
	}
}

// checkQueue wants a message that is to be tried again to be in the queue with what
// came of the attempt, and no other.
func (w want) checkQueue(t *testing.T, s *server, to string, got *trace.Attempt) {
	t.Helper()
	left := s.queued(t, to)
	if w.result() != trace.ResultDelayed {
		if len(left) > 0 {
			t.Errorf("still in the queue: %+v", left)
		}
		return
	}
	if len(left) != 1 || len(left[0].Results) == 0 {
		t.Fatalf("not in the queue, or without results: %+v", left)
	}
	a := left[0].Results[len(left[0].Results)-1]
	if a.Permanent || a.OK || a.Enhanced != w.status || a.Code != w.code || a.Error != got.Error || a.RemoteMTA != got.Host || a.RemoteIP != got.IP {
		t.Errorf("the queue has %+v, want %+v", a, got)
	}
}

// checkTrace wants the trace of a message to begin with its submission, and to say
// that its sender was told if it failed.
func (s *server) checkTrace(t *testing.T, r *row) {
	t.Helper()
	var want []trace.Kind
	for range r.want {
		want = append(want, trace.Attempted)
	}
	if r.want[len(r.want)-1].failed() {
		want = append(want, trace.Notified)
	}
	want = append([]trace.Kind{trace.Submitted}, want...)
	var got []trace.Kind
	var events []trace.Event
	complete := func() bool {
		got, events = nil, s.trace(t, s.recipient(r))
		for _, e := range events {
			if e.Kind != trace.Changed { // That is done by us.
				got = append(got, e.Kind)
			}
		}
		return len(got) >= len(want)
	}
	eventually(complete)
	if r.greylisted {
		got = slices.Compact(got)
		want = slices.Compact(want)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got events %q, want %q", got, want)
	}
	first, last := events[0], events[len(events)-1]
	required := first.Submission.RequireTLS
	if first.Submission.Login != s.address() || (required != nil) != (r.requireTLS || r.tlsRequiredNo) || required != nil && *required != r.requireTLS {
		t.Errorf("got submission %+v", first.Submission)
	}
	if last.Kind == trace.Notified && (last.Notice.Action != "failed" || last.Notice.To != s.address() || last.Notice.Error != "") {
		t.Errorf("got notice %+v", last.Notice)
	}
}

// failed tells whether it is over, without success.
func (w want) failed() bool { return w.tls == "" && w.status[0] == '5' && !w.softened }

// hostName returns the name of the host that is wanted.
func (w want) hostName(r *row) string {
	name, whole := strings.CutPrefix(w.host, "=")
	switch {
	case w.host == "-":
		return ""
	case whole:
		return name
	}
	return cmp.Or(w.host, "mx") + "." + r.fqdn()
}

// checkEnds holds what the other side has seen against what is wanted.
func (w *world) checkEnds(t *testing.T, s *server, r *row, id, msg string, connections int) {
	t.Helper()
	copies, last := r.copies, r.want[len(r.want)-1]
	if copies == 0 && last.tls != "" {
		copies = 1
	}
	// What Postfix does and writes comes a moment later.
	if !eventually(func() bool { return w.connections(t, s, r) >= connections && len(w.messages(t, s, r, id)) >= copies }) {
		t.Error("the other side has seen less than it should")
	}
	if got := w.connections(t, s, r); got != connections {
		t.Errorf("got %d connections, want %d", got, connections)
	}
	list := w.messages(t, s, r, id)
	if len(list) != copies {
		t.Errorf("the domain has %d messages, want %d", len(list), copies)
	}
	for _, m := range list {
		if !strings.HasSuffix(m.text, msg) {
			t.Errorf("the domain has %q, want %q at its end", m.text, msg)
		}
		if last.tls != "" && m.secure != (last.tls != plain) {
			t.Errorf("the message came with TLS: %v", m.secure)
		}
		if r.requireTLS && !strings.Contains(m.mail, " REQUIRETLS") {
			t.Errorf("got MAIL %s, want REQUIRETLS", m.mail)
		}
	}
}

// overTLS is in the Received field of what Postfix has got over TLS.
var overTLS = regexp.MustCompile(` with (ESMTPS|UTF8SMTPS) `)

// connections returns how many a server has made to the ends of a row.
func (w *world) connections(t *testing.T, s *server, r *row) (n int) {
	t.Helper()
	for _, e := range r.ends() {
		switch {
		case e.postfix:
			n += w.postfixConnections(t, e, s.ip4, s.ip6)
		case e.script != nil:
			n += e.script.of(s.ip4, s.ip6).connections
		}
	}
	return n
}

// messages returns what the ends of a row have from a server.
func (w *world) messages(t *testing.T, s *server, r *row, id string) (list []taken) {
	t.Helper()
	for _, e := range r.ends() {
		if e.script != nil {
			list = append(list, e.script.of(s.ip4, s.ip6).messages...)
		}
	}
	for _, m := range w.postfixMessages(t, r.fqdn(), "Message-ID: <"+id+"@") {
		list = append(list, taken{secure: overTLS.MatchString(m), text: strings.ReplaceAll(m, "\n", "\r\n")})
	}
	return list
}
