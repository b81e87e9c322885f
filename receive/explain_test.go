package receive

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/store"
)

func (j *judged) explain(q Question, content string) []screen.Explanation {
	j.t.Helper()
	q.Content, q.Size = strings.NewReader(content), int64(len(content))
	list, err := j.Explain(j.t.Context(), q)
	if err != nil {
		j.t.Fatal(err)
	}
	return list
}

// TestExplain checks that what is explained is what happens, and that nothing
// happens.
func TestExplain(t *testing.T) {
	t.Parallel()
	j := newJudged(t, func(a *config.Account) { a.RejectsMailbox = "Rejects" }, nil)
	from := path(t, "ann@good.example")
	q := Question{
		Rcpt: path(t, "alice@example.org"), IP: netip.MustParseAddr("192.0.2.1"), Hello: dns.IPDomain{Domain: domain(t, "client.example")},
		MailFrom: &from, FirstTimeDelay: time.Minute,
	}
	content := text("ann@good.example", "x")
	e := j.explain(q, content)[0]
	if e.Action != "slow" || e.Reason != screen.NoBadSignals || e.Mailbox != "Inbox" || e.Reply != "250" || e.Wait != "1m0s" || e.Account != "alice" || e.Found || !e.TLS ||
		e.IP != "192.0.2.1" || e.Hello != "client.example" || e.MailFrom != "ann@good.example" || e.From != "ann@good.example" || len(e.Steps) == 0 {
		t.Errorf("got %+v", e)
	}
	var results []string
	for _, a := range e.Authentication {
		results = append(results, a.Method+"="+a.Result)
	}
	if got := strings.Join(results, " "); got != "iprev=pass dkim=none spf=pass dmarc=pass" {
		t.Errorf("got %s", got)
	}
	if n := j.count(); n != [3]int{} {
		t.Errorf("delivered: %v", n)
	}
	if e := j.explain(Question{Rcpt: path(t, "no@example.org")}, content)[0]; e.Reason != screen.UnknownUser || e.Reply != "550 5.1.1 no such address" {
		t.Errorf("an unknown address: got %+v", e)
	}
	if list := j.explain(Question{Rcpt: path(t, "list@example.org"), MailFrom: &from}, content); len(list) != 2 || list[0].Account != "alice" || list[1].Account != "bob" {
		t.Errorf("an alias: got %+v", list)
	}
}

// TestExplainDelivered checks that the envelope of a message that was delivered is
// found in its header.
func TestExplainDelivered(t *testing.T) {
	t.Parallel()
	j := newJudged(t, func(a *config.Account) { a.RejectsMailbox = "Rejects" }, nil)
	if got := j.deliver(mail{mailFrom: "ann@good.example", content: text("ann@good.example", "x"), signed: []string{"good.example"}}); got != "ok" {
		t.Fatal(got)
	}
	j.mark("Inbox", store.FlagJunk)
	m := j.last("Inbox")
	e := j.explain(Question{Rcpt: path(t, "alice@example.org")}, m.prefix+m.content)[0]
	if !e.Found || !e.TLS || e.IP != "192.0.2.1" || e.Hello != "client.example" || e.MailFrom != "ann@good.example" || e.Forged != 0 ||
		time.Until(e.At).Abs() > time.Minute || e.Reason != "msgfromfull" || e.Reply != "451 4.3.0 error processing" || e.Rejects != "Rejects" {
		t.Errorf("got %+v", e)
	}
	if got := e.Authentication[1]; got.Method != "dkim" || got.Result != "pass" || !strings.Contains(got.About, "header.d=good.example") {
		t.Errorf("got %+v", got)
	}
	// What another server wrote counts for nothing, and a forgery is noted.
	forged := strings.ReplaceAll(m.prefix, "by mx.example.org", "by mx.other.example")
	if e := j.explain(Question{Rcpt: path(t, "alice@example.org")}, forged+m.content)[0]; e.Found || e.IP != "" || e.Forged != 1 {
		t.Errorf("got %+v", e)
	}
}

// TestReports checks that reports are recognised, and that what is wrong with one
// is kept with it.
func TestReports(t *testing.T) {
	t.Parallel()
	j := newJudged(t, nil, nil)
	c := j.Receiver.opts.Config()
	d := c.Dynamic
	d.Domains = map[string]config.Domain{}
	for name, dom := range c.Dynamic.Domains {
		if name == "example.org" {
			dom.DMARC = &config.DMARC{Localpart: "dmarc", Account: "alice", Mailbox: "DMARC"}
		}
		d.Domains[name] = dom
	}
	cfg, err := config.Check(c.Static, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	j.Receiver.opts.Config = func() *config.Config { return cfg }
	report := func(subject string) string {
		return "From: <reports@good.example>\r\nTo: <dmarc@example.org>\r\nSubject: Report Domain: " + subject + " Submitter: good.example Report-ID: <1>\r\n" +
			"MIME-Version: 1.0\r\nContent-Type: application/gzip; name=\"good.example!" + subject + "!1600000000!1600086400.xml.gz\"\r\n" +
			"Content-Disposition: attachment; filename=\"good.example!" + subject + "!1600000000!1600086400.xml.gz\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n"
	}
	if got := j.deliver(mail{mailFrom: "reports@good.example", content: report("example.org")}, "dmarc@example.org"); got != "ok" {
		t.Fatalf("got %s", got)
	}
	m := j.last("DMARC")
	if m.email.Facts.Reason != "reporting" || strings.Contains(m.prefix, "Report-Error") {
		t.Errorf("got %s, %s", m.email.Facts.Reason, m.prefix)
	}
	if got := j.deliver(mail{mailFrom: "reports@good.example", content: report("other.example")}, "dmarc@example.org"); got != "ok" {
		t.Fatalf("got %s", got)
	}
	m = j.last("DMARC")
	if m.email.Facts.Reason != "no-bad-signals" || !strings.Contains(m.prefix, "X-Mox-DMARCReport-Error: DMARC report about a domain that is not ours") {
		t.Errorf("got %s, %s", m.email.Facts.Reason, m.prefix)
	}
}
