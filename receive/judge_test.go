package receive

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// judgedKey signs for all domains of judgedZone with a key.
var judgedKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))

// judgedZone has senders: good.example with SPF, DKIM and DMARC, strict.example that
// has no server at the peer's address, soft.example without policies, list.example
// and fwd.example that pass on mail of others.
func judgedZone() string {
	key := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(judgedKey.Public().(ed25519.PublicKey))
	return `
1.2.0.192.in-addr.arpa.    PTR mx.good.example.
mx.good.example.           A 192.0.2.1
9.100.51.198.in-addr.arpa. PTR nowhere.example.
good.example.              MX 10 mx.good.example.
good.example.              TXT "v=spf1 ip4:192.0.2.1 -all"
k._domainkey.good.example. TXT "` + key + `"
_dmarc.good.example.       TXT "v=DMARC1; p=reject; rua=mailto:reports@good.example"
soft.example.              MX 10 mx.good.example.
strict.example.            MX 10 mx.good.example.
strict.example.            TXT "v=spf1 -all"
list.example.              MX 10 mx.good.example.
list.example.              TXT "v=spf1 ip4:192.0.2.1 -all"
k._domainkey.list.example. TXT "` + key + `"
fwd.example.               MX 10 mx.good.example.
fwd.example.               TXT "v=spf1 ip4:192.0.2.1 -all"
k._domainkey.fwd.example.  TXT "` + key + `"
2.0.0.127.bl.example.      A 127.0.0.2
9.100.51.198.bl.example.   A 127.0.0.2
9.100.51.198.bl.example.   TXT "spam came from there"
1.0.0.127.all.example.     A 127.0.0.2
2.0.0.127.all.example.     A 127.0.0.2
9.100.51.198.all.example.  A 127.0.0.2
`
}

// judged is an env whose messages are judged, by alice's and bob's settings.
type judged struct {
	*env
	dns *dnstest.Resolver
	got []DMARC
}

func newJudged(t *testing.T, alice, bob func(*config.Account)) *judged {
	t.Helper()
	r, err := dnstest.New(judgedZone())
	if err != nil {
		t.Fatal(err)
	}
	j := &judged{dns: r}
	j.env = newEnv(t, func(o *Options) {
		o.Resolver = r
		o.EvaluatedDMARC = func(d DMARC) { j.got = append(j.got, d) }
		cfg := judgedConfig(t, o.Config(), alice, bob)
		o.Config = func() *config.Config { return cfg }
	})
	return j
}

// judgedConfig changes the settings of two accounts.
func judgedConfig(t *testing.T, c *config.Config, alice, bob func(*config.Account)) *config.Config {
	t.Helper()
	d := c.Dynamic
	d.Accounts = map[string]config.Account{}
	for name, a := range c.Dynamic.Accounts {
		if change := map[string]func(*config.Account){"alice": alice, "bob": bob}[name]; change != nil {
			destinations := a.Destinations
			a.Destinations = map[string]config.Destination{}
			for k, v := range destinations {
				a.Destinations[k] = v
			}
			change(&a)
		}
		d.Accounts[name] = a
	}
	cfg, err := config.Check(c.Static, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// rules sets the rulesets of alice's address.
func rules(list ...config.Ruleset) func(*config.Account) {
	return func(a *config.Account) { a.Destinations["alice@example.org"] = config.Destination{Rulesets: list} }
}

// mail is a message to alice from a peer with TLS.
type mail struct {
	ip, mailFrom string
	content      string
	signed       []string // Domains.
	plain        bool
	lists        []string // Blocklists that are asked.
}

// text returns a message from an address.
func text(from, subject string) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <alice@example.org>\r\nSubject: %s\r\nMessage-ID: <%s@x>\r\n\r\nhello\r\n", from, subject, strings.ReplaceAll(subject, " ", "."))
}

func (j *judged) transaction(m mail) *Transaction {
	tx := j.begin(m.mailFrom)
	if m.ip != "" {
		tx.Peer.IP = netip.MustParseAddr(m.ip)
	}
	if !m.plain {
		tx.Peer.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	}
	for _, zone := range m.lists {
		tx.Peer.Blocklists = append(tx.Peer.Blocklists, domain(j.t, zone))
	}
	return tx
}

// deliver sends a message and returns the outcome.
func (j *judged) deliver(m mail, to ...string) string {
	j.t.Helper()
	if len(to) == 0 {
		to = []string{"alice@example.org"}
	}
	content := m.content
	for _, d := range m.signed {
		content = sign(j.t, d, content) + content
	}
	return outcome(j.send(j.transaction(m), content, to...))
}

// sign returns a signature of a domain for a message.
func sign(t *testing.T, d, content string) string {
	t.Helper()
	h, err := dkim.Sign(strings.NewReader(content), int64(len(content)), dkim.SignOptions{
		Author:    smtp.Address{Localpart: "x", Domain: domain(t, d)},
		Selectors: []dkim.Selector{{Name: "k", Key: judgedKey, Hash: "sha256"}}, Now: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// last returns the newest message of a mailbox of alice.
func (j *judged) last(mailbox string) got {
	j.t.Helper()
	list := j.mailbox("alice", mailbox)
	if len(list) == 0 {
		j.t.Fatalf("no message in %s", mailbox)
	}
	return list[len(list)-1]
}

// mark marks all messages in a mailbox of alice.
func (j *judged) mark(mailbox string, flags store.Flags) {
	j.t.Helper()
	a, err := j.store.Account(j.t.Context(), "alice")
	if err != nil {
		j.t.Fatal(err)
	}
	defer a.Close()
	a.WaitDurable(j.t.Context())
	err = a.Update(j.t.Context(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox(mailbox)
		if err != nil {
			return err
		}
		var uids []store.UID
		for uid := store.UID(1); uid < mb.UIDNext; uid++ {
			uids = append(uids, uid)
		}
		_, err = tx.SetFlags(&mb, uids, store.FlagChange{Op: store.FlagsAdd, Flags: flags})
		return err
	})
	if err != nil {
		j.t.Fatal(err)
	}
}

// TestAuthenticated checks what is found out about a message, and where it is
// kept.
func TestAuthenticated(t *testing.T) {
	t.Parallel()
	j := newJudged(t, nil, nil)
	if got := j.deliver(mail{mailFrom: "ann@good.example", content: text("Ann@good.example", "x"), signed: []string{"good.example"}}); got != "ok" {
		t.Fatalf("got %s", got)
	}
	m := j.last("Inbox")
	want := `^Return-Path: <ann@good\.example>\r\n` +
		`Delivered-To: alice@example\.org\r\n` +
		`X-Mox-Reason: no-bad-signals; nothing speaks against it\r\n` +
		`Authentication-Results: mx\.example\.org; ` +
		`iprev=pass \(mx\.good\.example\) policy\.iprev=192\.0\.2\.1; ` +
		`dkim=pass header\.d=good\.example header\.s=k header\.a=ed25519-sha256 header\.b="?[\w+/=]{12}"? header\.i="?[\w@.]+"?; ` +
		`spf=pass smtp\.mailfrom=ann@good\.example; ` +
		`dmarc=pass \(policy reject\) header\.from=good\.example policy\.dmarc=none\r\n` +
		`Received-SPF: pass \(mx\.example\.org\) client-ip=192\.0\.2\.1; envelope-from="ann@good\.example"; helo=client\.example; receiver=mx\.example\.org; identity=mailfrom; mechanism="ip4:192\.0\.2\.1"\r\n` +
		`Received: `
	if !regexp.MustCompile(want).MatchString(strings.ReplaceAll(m.prefix, "\r\n ", " ")) {
		t.Errorf("got %s", m.prefix)
	}
	f := m.email.Facts
	if f.From != "ann@good.example" || f.FromOrg != "good.example" || screen.Validation(f.Validation) != screen.ValidationStrict || !f.MailFromVerified || f.HelloVerified ||
		len(f.DKIM) != 1 || f.DKIM[0] != "good.example" || f.HelloDomain != "client.example" || f.RemoteIP != "192.0.2.1" || f.TLSVersion != tls.VersionTLS13 || f.Reason != "no-bad-signals" {
		t.Errorf("got %+v", f)
	}
	r, err := screen.ParseRecord(m.email.Verdict)
	if err != nil || r.Reason != screen.NoBadSignals || r.Action != "accept" || len(r.Steps) < 3 {
		t.Errorf("got %+v, %v", r, err)
	}
	if len(j.got) != 1 || j.got[0].From.String() != "Ann@good.example" || j.got[0].DMARC.Result != "pass" || j.got[0].Verdict.Reason != screen.NoBadSignals {
		t.Errorf("observed %+v", j.got)
	}
}

// TestJudged checks how settings, DNS and what is remembered come together in
// decisions. What follows from which evidence is tested in package screen.
func TestJudged(t *testing.T) {
	t.Parallel()
	const refused = "451 4.3.0"
	isForward := config.Ruleset{SMTPMailFromRegexp: `@fwd[.]example$`, VerifiedDomain: "fwd.example", IsForward: true, Mailbox: "Forwarded"}
	onList := config.Ruleset{HeadersRegexp: map[string]string{"^list-id$": "<x[.]list[.]example>"}, ListAllowDomain: "list.example", Mailbox: "Lists"}
	listMail := "List-ID: <x.list.example>\r\n" + text("ann@good.example", "on a list")
	filter := &config.JunkFilter{Threshold: 0.95, Onegrams: true}
	for _, tc := range []struct {
		name    string
		alice   func(*config.Account)
		mail    mail
		want    string
		mailbox string
		reason  screen.Reason
	}{
		{"a verified stranger", nil, mail{mailFrom: "ann@good.example", content: text("ann@good.example", "x")}, "ok", "Inbox", screen.NoBadSignals},
		{"forged, against the policy", nil, mail{mailFrom: "ann@soft.example", content: text("ann@good.example", "x")}, "550 5.7.26", "", ""},
		{"a stranger without policy", nil, mail{mailFrom: "ann@soft.example", content: text("ann@soft.example", "x")}, "ok", "Inbox", screen.NoBadSignals},
		{"SPF fails", nil, mail{mailFrom: "ann@strict.example", content: text("ann@soft.example", "x")}, refused, "", ""},
		{"a peer without name", nil, mail{ip: "198.51.100.9", mailFrom: "ann@soft.example", content: text("ann@soft.example", "x")}, "ok", "Inbox", screen.NoBadSignals},
		{"on a list that works", nil, mail{ip: "198.51.100.9", mailFrom: "ann@soft.example", content: text("ann@soft.example", "x"), lists: []string{"bl.example"}}, refused, "", ""},
		{"on a list that has everything", nil, mail{ip: "198.51.100.9", mailFrom: "ann@soft.example", content: text("ann@soft.example", "x"), lists: []string{"all.example"}}, "ok", "Inbox", screen.NoBadSignals},
		{"on a list that is gone", nil, mail{ip: "198.51.100.9", mailFrom: "ann@soft.example", content: text("ann@soft.example", "x"), lists: []string{"gone.example"}}, "ok", "Inbox", screen.NoBadSignals},
		{"not on a list", nil, mail{mailFrom: "ann@soft.example", content: text("ann@soft.example", "x"), lists: []string{"bl.example"}}, "ok", "Inbox", screen.NoBadSignals},
		{"an introduction", func(a *config.Account) { a.Introbox = "Intro" }, mail{mailFrom: "ann@good.example", content: text("ann@good.example", "x")}, "ok", "Intro", screen.NoBadSignals},
		{"a mailbox by a rule", rules(config.Ruleset{MsgFromRegexp: `@good[.]example$`, Mailbox: "Good"}), mail{mailFrom: "ann@good.example", content: text("ann@good.example", "x")}, "ok", "Good", screen.NoBadSignals},
		{"another mailbox by a rule", rules(config.Ruleset{MsgFromRegexp: `@bad[.]example$`, Mailbox: "Bad"}), mail{mailFrom: "ann@good.example", content: text("ann@good.example", "x")}, "ok", "Inbox", screen.NoBadSignals},
		{"a mailing list with a rule", rules(onList), mail{mailFrom: "bounce@list.example", content: listMail}, "ok", "Lists", screen.ListAllow},
		{"a mailing list with a rule, by its signature", rules(onList), mail{mailFrom: "x@soft.example", content: listMail, signed: []string{"list.example"}}, "ok", "Lists", screen.ListAllow},
		{"a mailing list that is another's", rules(onList), mail{mailFrom: "x@soft.example", content: listMail}, "550 5.7.26", "", ""},
		{"forwarded mail", rules(isForward), mail{mailFrom: "me@fwd.example", content: text("ann@good.example", "x"), signed: []string{"fwd.example"}}, "ok", "Forwarded", screen.NoBadSignals},
		{"forwarded mail of another", rules(isForward), mail{mailFrom: "me@soft.example", content: text("ann@good.example", "x")}, "550 5.7.26", "", ""},
		{"refused mail, to a mailbox", rules(config.Ruleset{MsgFromRegexp: `.`, AcceptRejectsToMailbox: "Spam", Mailbox: "Inbox"}), mail{mailFrom: "ann@soft.example", content: text("ann@good.example", "x")}, "ok", "Spam", screen.DMARCPolicy},
		{"verified mail only", func(a *config.Account) {
			a.Destinations["alice@example.org"] = config.Destination{MessageAuthRequiredSMTPError: "verified mail only"}
		}, mail{mailFrom: "ann@soft.example", content: text("ann@soft.example", "x")}, "550 5.7.1", "", ""},
		{"a filter that has learned nothing", func(a *config.Account) { a.JunkFilter = filter }, mail{mailFrom: "ann@soft.example", content: text("ann@soft.example", "x")}, "ok", "Inbox", screen.NoBadSignals},
		{"a filter that has learned nothing, and a peer without name", func(a *config.Account) { a.JunkFilter = filter }, mail{ip: "198.51.100.9", mailFrom: "ann@soft.example", content: text("ann@soft.example", "x")}, refused, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			j := newJudged(t, tc.alice, nil)
			if got := j.deliver(tc.mail); got != tc.want {
				t.Fatalf("got %s\n%s", got, j.log)
			}
			if tc.want != "ok" {
				if n := len(j.mailbox("alice", "Inbox")); n != 0 {
					t.Errorf("%d messages", n)
				}
				return
			}
			if m := j.last(tc.mailbox); m.email.Facts.Reason != string(tc.reason) || m.email.Reject {
				t.Errorf("reason %s, to go by itself: %v", m.email.Facts.Reason, m.email.Reject)
			}
		})
	}
}

// TestReputation checks that what a user marks decides about what comes next.
func TestReputation(t *testing.T) {
	t.Parallel()
	j := newJudged(t, func(a *config.Account) { a.RejectsMailbox = "Rejects" }, nil)
	send := func(subject string) string {
		return j.deliver(mail{mailFrom: "ann@good.example", content: text("ann@good.example", subject)})
	}
	if got := send("first"); got != "ok" {
		t.Fatalf("a stranger: %s", got)
	}
	j.mark("Inbox", store.FlagNotJunk)
	if got := send("second"); got != "ok" || j.last("Inbox").email.Facts.Reason != "msgfromfull" {
		t.Errorf("known: %s, %s", got, j.last("Inbox").email.Facts.Reason)
	}
	j.mark("Inbox", store.FlagJunk) // Both flags: neither.
	j = newJudged(t, func(a *config.Account) { a.RejectsMailbox = "Rejects" }, nil)
	if got := send("first"); got != "ok" {
		t.Fatalf("a stranger: %s", got)
	}
	j.mark("Inbox", store.FlagJunk)
	if got := send("second"); got != "451 4.3.0" {
		t.Errorf("known for junk: %s", got)
	}
	m := j.last("Rejects")
	if m.email.Facts.Reason != "msgfromfull" || !m.email.Reject || !strings.Contains(m.prefix, "X-Mox-Reason: msgfromfull; known for junk") {
		t.Errorf("kept: %+v", m)
	}
	if got := send("second"); got != "451 4.3.0" || len(j.mailbox("alice", "Rejects")) != 1 {
		t.Errorf("again: %s, %d kept", got, len(j.mailbox("alice", "Rejects")))
	}
	if s := j.log.String(); !strings.Contains(s, "known for junk") || !strings.Contains(s, "reason=msgfromfull") {
		t.Errorf("the log doesn't say why: %s", s)
	}
}

// TestSubjectPass checks that a stranger gets through with the text that a refusal
// had.
func TestSubjectPass(t *testing.T) {
	t.Parallel()
	j := newJudged(t, func(a *config.Account) { a.SubjectPass.Period = time.Hour }, nil)
	m := mail{mailFrom: "ann@good.example", content: text("ann@good.example", "hello"), lists: []string{"bl.example"}}
	m.ip = "198.51.100.9"
	m.signed = []string{"good.example"}
	m.mailFrom = "x@soft.example" // SPF is none.
	tx := j.transaction(m)
	err := j.send(tx, sign(t, "good.example", m.content)+m.content, "alice@example.org")
	token := regexp.MustCompile(`\(pass:[^)]*\)`)
	if outcome(err) != "550 5.7.1" || token.FindString(err.Error()) == "" {
		t.Fatalf("got %v", err)
	}
	m.content = text("ann@good.example", "Re: hello "+token.FindString(err.Error()))
	if got := j.deliver(m); got != "ok" || j.last("Inbox").email.Facts.Reason != "subjectpass" {
		t.Errorf("with the token: %s", got)
	}
	m.content = text("bob@good.example", "hello "+token.FindString(err.Error()))
	if got := j.deliver(m); got != "550 5.7.1" {
		t.Errorf("with the token of another: %s", got)
	}
}

// TestUnverifiedRecipients checks that only verified senders have several
// recipients.
func TestUnverifiedRecipients(t *testing.T) {
	t.Parallel()
	j := newJudged(t, nil, nil)
	both := []string{"alice@example.org", "bob@example.org"}
	if got := j.deliver(mail{mailFrom: "ann@good.example", content: text("ann@good.example", "x")}, both...); got != "ok" {
		t.Errorf("verified: %s", got)
	}
	if got := j.deliver(mail{mailFrom: "ann@soft.example", content: text("ann@soft.example", "x")}, both...); got != "452 4.5.3" {
		t.Errorf("not verified: %s", got)
	}
	if got := j.deliver(mail{mailFrom: "ann@soft.example", content: text("ann@soft.example", "x")}, both[:1]...); got != "ok" {
		t.Errorf("not verified, one recipient: %s", got)
	}
}

// TestFirstTimeDelay checks who waits.
func TestFirstTimeDelay(t *testing.T) {
	t.Parallel()
	j := newJudged(t, nil, func(a *config.Account) { a.NoFirstTimeSenderDelay = true })
	m := mail{mailFrom: "ann@good.example", content: text("ann@good.example", "x")}
	wait := func(to string) time.Duration {
		tx := j.transaction(m)
		tx.Peer.FirstTimeDelay = 50 * time.Millisecond
		start := time.Now()
		if err := j.send(tx, m.content, to); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	if d := wait("alice@example.org"); d < 50*time.Millisecond {
		t.Errorf("a stranger waited %v", d)
	}
	if s := j.last("Inbox").email; s.Facts.Reason != "no-bad-signals" || !bytes.Contains(s.Verdict, []byte(`"slow"`)) {
		t.Errorf("got %+v", s)
	}
	wait("bob@example.org")
	if b := j.mailbox("bob", "Inbox"); len(b) != 1 || !bytes.Contains(b[0].email.Verdict, []byte(`"accept"`)) {
		t.Errorf("got %+v", b)
	}
}

// TestPartlyRefused checks that who refuses a message does not get it through the
// queue, and that the sender is told.
func TestPartlyRefused(t *testing.T) {
	t.Parallel()
	r, err := dnstest.New(judgedZone())
	if err != nil {
		t.Fatal(err)
	}
	e := withQueue(t)
	e.Receiver.opts.Resolver = r
	j := &judged{env: e, dns: r}
	m := mail{mailFrom: "ann@good.example", content: text("ann@good.example", "first")}
	if got := j.deliver(m); got != "ok" {
		t.Fatal(got)
	}
	j.mark("Inbox", store.FlagJunk)
	m.content = text("ann@good.example", "second")
	if got := j.deliver(m, "alice@example.org", "bob@example.org"); got != "ok" {
		t.Fatalf("got %s", got)
	}
	queued, contents := e.inQueue()
	if len(queued) != 1 || queued[0].Rcpt != "ann@good.example" || !strings.Contains(contents[0], "alice@example.org") || !strings.Contains(contents[0], "Status: 5.0.0") {
		t.Errorf("queued %+v, %q", queued, contents)
	}
	if n := e.count(); n != [3]int{1, 1, 0} {
		t.Errorf("got %v", n)
	}
}

// TestAliasMembers checks that an alias takes what one of its members takes.
func TestAliasMembers(t *testing.T) {
	t.Parallel()
	j := newJudged(t, nil, nil)
	m := mail{mailFrom: "ann@good.example", content: text("ann@good.example", "first")}
	if got := j.deliver(m); got != "ok" {
		t.Fatal(got)
	}
	j.mark("Inbox", store.FlagJunk)
	m.content = text("ann@good.example", "second")
	if got := j.deliver(m, "list@example.org"); got != "ok" {
		t.Fatal(got)
	}
	if n := j.count(); n != [3]int{1, 1, 0} {
		t.Errorf("got %v", n)
	}
}

// TestOurUsers checks that mail of users goes where their recipients' rules say,
// and is not judged.
func TestOurUsers(t *testing.T) {
	t.Parallel()
	j := newJudged(t, rules(config.Ruleset{VerifiedDomain: "example.org", Mailbox: "Colleagues"}), nil)
	h := j.handover("bob@example.org", text("bob@example.org", "x"), "alice@example.org k")
	h.Account = "bob"
	if got := j.handOver(h); got != "ok alice" {
		t.Fatal(got)
	}
	m := j.last("Colleagues")
	if f := m.email.Facts; f.Reason != "local-user" || f.From != "bob@example.org" || screen.Validation(f.Validation) != screen.ValidationStrict {
		t.Errorf("got %+v", f)
	}
	h = j.handover("bob@example.org", text("bob@example.org", "y"), "alice@example.org k2")
	if got := j.handOver(h); got != "ok alice" {
		t.Fatal(got)
	}
	if m := j.last("Inbox"); m.email.Facts.Validation != 0 || m.email.Facts.Reason != "no-bad-signals" {
		t.Errorf("from elsewhere: got %+v", m.email.Facts)
	}
}
