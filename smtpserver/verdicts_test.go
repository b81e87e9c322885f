package smtpserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/internal/transcript"
	"github.com/mjl-/mox/receive"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// verdictsZone is what transcripts of verdicts find in DNS: good.example with SPF
// and DMARC, org.example with DMARC above others, list.example that signs,
// soft.example with nothing, strict.example that never sends. 198.51.100.9 has no
// name, and is in bl.example.
const verdictsZone = `
25.2.0.192.in-addr.arpa.   PTR mx.good.example.
26.2.0.192.in-addr.arpa.   PTR mx26.good.example.
1.0.18.198.in-addr.arpa.   PTR pal.example.
pal.example.               A   198.18.0.1
2.113.0.203.in-addr.arpa.  PTR spam.example.
spam.example.              A   203.0.113.2
mx.good.example.           A   192.0.2.25
mx.good.example.           TXT "v=spf1 a -all"
mx26.good.example.         A   192.0.2.26
good.example.              MX  10 mx.good.example.
good.example.              TXT "v=spf1 ip4:192.0.2.0/24 ip4:198.51.100.9 -all"
_dmarc.good.example.       TXT "v=DMARC1; p=reject"
a.org.example.             MX  10 mx.good.example.
a.org.example.             TXT "v=spf1 ip4:192.0.2.0/24 -all"
b.org.example.             MX  10 mx.good.example.
b.org.example.             TXT "v=spf1 ip4:192.0.2.0/24 -all"
_dmarc.org.example.        TXT "v=DMARC1; p=quarantine"
esp.example.               MX  10 mx.good.example.
esp.example.               TXT "v=spf1 ip4:192.0.2.0/24 -all"
soft.example.              MX  10 mx.good.example.
strict.example.            MX  10 mx.good.example.
strict.example.            TXT "v=spf1 -all"
list.example.              MX  10 mx.good.example.
k._domainkey.list.example. TXT "v=DKIM1; k=ed25519; p=6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw="
2.0.0.127.bl.example.      A   127.0.0.2
9.100.51.198.bl.example.   A   127.0.0.2
9.100.51.198.bl.example.   TXT "spam came from there"
`

// verdictsConfig is the configuration of transcripts of verdicts: alice has rules,
// bob a junk filter, carol gives tokens, and dave has nothing.
func verdictsConfig() *config.Dynamic {
	rule := func(r config.Ruleset) config.Destination { return config.Destination{Rulesets: []config.Ruleset{r}} }
	return &config.Dynamic{
		Domains: map[string]config.Domain{
			"example.org": {
				Aliases: map[string]config.Alias{
					"list":    {Addresses: []string{"alice@example.org", "dave@example.org"}, PostPublic: true},
					"members": {Addresses: []string{"dave@example.org"}},
				},
				DMARC: &config.DMARC{Localpart: "dmarc", Account: "alice", Mailbox: "DMARC"},
			},
			"disabled.example": {Disabled: true},
		},
		Accounts: map[string]config.Account{
			"alice": {Domain: "example.org", RejectsMailbox: "Rejects", Destinations: map[string]config.Destination{
				"alice@example.org":    {},
				"lists@example.org":    rule(config.Ruleset{HeadersRegexp: map[string]string{"^list-id$": "<x[.]list[.]example>"}, ListAllowDomain: "list.example", Mailbox: "Lists"}),
				"forwards@example.org": rule(config.Ruleset{SMTPMailFromRegexp: `@good[.]example$`, VerifiedDomain: "good.example", IsForward: true, Mailbox: "Forwarded"}),
				"spam@example.org":     rule(config.Ruleset{MsgFromRegexp: ".", AcceptRejectsToMailbox: "Spam", Mailbox: "Inbox"}),
				"verified@example.org": {MessageAuthRequiredSMTPError: "only verified mail is taken here"},
				"gone@example.org":     {SMTPError: "550 moved away"},
				"x@disabled.example":   {},
			}},
			"bob":   {Domain: "example.org", RejectsMailbox: "Rejects", JunkFilter: &config.JunkFilter{Threshold: 0.9, Onegrams: true, TopWords: 10}, Destinations: map[string]config.Destination{"bob@example.org": {}}},
			"carol": {Domain: "example.org", Introbox: "Intro", SubjectPass: config.SubjectPass{Period: 12 * time.Hour}, Destinations: map[string]config.Destination{"carol@example.org": {}}},
			"dave":  {Domain: "example.org", NoFirstTimeSenderDelay: true, Destinations: map[string]config.Destination{"dave@example.org": {}}},
			"mox":   {Domain: "example.org"},
		},
	}
}

// scene is what a transcript of a verdict says besides its conversation, in lines
// that begin with "# " and one of the names. Those that end in " * n" count n times.
type scene struct {
	past      []string // See play.
	decided   []string // Each decision, as counted: "refuse dmarc-policy".
	delivered []string // Each message there is after: "account mailbox reason".
}

func loadScene(t *testing.T, name string) (s scene) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		times := 1
		if rest, n, ok := strings.Cut(line, " * "); ok {
			line = rest
			if times, err = strconv.Atoi(n); err != nil {
				t.Fatal(err)
			}
		}
		for prefix, list := range map[string]*[]string{"# past: ": &s.past, "# decided: ": &s.decided, "# delivered: ": &s.delivered} {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				*list = append(*list, slices.Repeat([]string{rest}, times)...)
			}
		}
	}
	slices.Sort(s.decided)
	slices.Sort(s.delivered)
	return s
}

// TestVerdicts plays each testdata/verdicts/*.txt, with verdictsZone and
// verdictsConfig, and compares what was decided, and where messages are then. The
// setup line is as for TestTranscripts, besides with firsttime=duration and blocklist=zone.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, f := range transcript.Load(t, "testdata/verdicts/*.txt") {
		t.Run(strings.TrimSuffix(filepath.Base(f.Name), ".txt"), func(t *testing.T) {
			t.Parallel()
			scene := loadScene(t, f.Name)
			f.Setup["timeout"] = "1h" // Who is refused is slowed down.
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, verdictsSettings(t, f.Setup))
				defer e.close()
				for _, p := range scene.past {
					e.play(p)
				}
				before, had := e.decided(), e.delivered()
				f.Play(t, e.dial)
				e.handOver()
				if got := without(e.decided(), before); !slices.Equal(got, scene.decided) {
					t.Errorf("decided %q, want %q", got, scene.decided)
				}
				if got := without(e.delivered(), had); !slices.Equal(got, scene.delivered) {
					t.Errorf("delivered %q, want %q", got, scene.delivered)
				}
			})
		})
	}
}

func verdictsSettings(t *testing.T, setup map[string]string) settings {
	t.Helper()
	set := settingsOf(t, setup)
	set.dynamic = verdictsConfig()
	if !set.submission && !set.localserve {
		r, err := dnstest.New(verdictsZone)
		if err != nil {
			t.Fatal(err)
		}
		set.resolver = r
	}
	if zone := setup["blocklist"]; zone != "" {
		set.blocklists = []dns.Domain{{ASCII: zone}}
	}
	if wait := setup["firsttime"]; wait != "" {
		d, err := time.ParseDuration(wait)
		if err != nil {
			t.Fatal(err)
		}
		set.firstTime = d
	}
	return set
}

// TestReasonsHaveTranscripts joins the reasons with the transcripts: each was the
// reason of a decision, or is that of a message in a mailbox.
func TestReasonsHaveTranscripts(t *testing.T) {
	t.Parallel()
	for _, reason := range screen.Reasons() {
		s := loadScene(t, "testdata/verdicts/"+string(reason)+".txt")
		if !slices.ContainsFunc(append(s.decided, s.delivered...), func(line string) bool { return strings.HasSuffix(line, " "+string(reason)) }) {
			t.Errorf("the transcript of %s has no such decision", reason)
		}
	}
}

// without returns the lines that are new, sorted.
func without(now, before []string) []string {
	for _, line := range before {
		if i := slices.Index(now, line); i >= 0 {
			now = slices.Delete(now, i, i+1)
		}
	}
	slices.Sort(now)
	return now
}

// decided returns the decisions that were counted.
func (e *env) decided() (list []string) {
	e.t.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		e.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "mox_smtpserver_delivery_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			list = append(list, slices.Repeat([]string{labels["result"] + " " + labels["reason"]}, int(m.GetCounter().GetValue()))...)
		}
	}
	return list
}

// delivered returns the messages of all accounts.
func (e *env) delivered() (list []string) {
	e.t.Helper()
	for account := range verdictsConfig().Accounts {
		e.account(account, func(tx *store.Tx) error {
			boxes, err := tx.Mailboxes()
			if err != nil {
				return err
			}
			for _, mb := range boxes {
				for uid := store.UID(1); uid < mb.UIDNext; uid++ {
					m, err := tx.Message(mb.ID, uid)
					if err != nil {
						return err
					}
					email, err := tx.Email(m.EmailID)
					if err != nil {
						return err
					}
					list = append(list, fmt.Sprintf("%s %s %s", account, mb.Name, email.Facts.Reason))
				}
			}
			return nil
		})
	}
	slices.Sort(list)
	return list
}

// account looks at an account as it is once all has arrived.
func (e *env) account(name string, fn func(tx *store.Tx) error) {
	e.t.Helper()
	a, err := e.store.Account(e.t.Context(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	defer a.Close()
	a.WaitDurable(e.t.Context())
	if err := a.View(e.t.Context(), fn); err != nil {
		e.t.Fatal(err)
	}
}

// handOver delivers what users have sent to each other.
func (e *env) handOver() {
	e.t.Helper()
	if e.users == nil {
		return
	}
	for _, m := range e.users.queued() {
		content := e.users.content(m)
		rcpt, err := smtp.ParseRcptTo("TO:<"+m.Rcpt+">", smtp.ParseOptions{})
		if err != nil {
			e.t.Fatal(err)
		}
		from, err := smtp.ParseMailFrom("FROM:<"+m.MailFrom+">", smtp.ParseOptions{})
		if err != nil {
			e.t.Fatal(err)
		}
		for _, res := range e.receiver.HandOver(e.t.Context(), receive.Handover{
			Account: m.Account, MailFrom: from.Path, Data: []byte(content), Size: int64(len(content)), To: []receive.HandoverRcpt{{Path: rcpt.Path, Key: strconv.FormatInt(m.ID, 10)}},
		}) {
			if res.Err != nil {
				e.t.Error(res.Err)
			}
		}
	}
}

// play makes a past: "5 junk to=alice@example.org ip=192.0.2.25 mailfrom=a@b.example
// from=a%d@b.example text=some-words", for messages that came and were marked so, or
// "sent to=a@b.example" for mail of alice.
func (e *env) play(past string) {
	e.t.Helper()
	words := strings.Fields(past)
	args := map[string]string{"to": "alice@example.org", "ip": "192.0.2.25", "text": "hello"}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			args[k] = v
		}
	}
	if words[0] == "sent" {
		a, err := e.store.Account(e.t.Context(), "alice")
		if err != nil {
			e.t.Fatal(err)
		}
		defer a.Close()
		if err := a.RecordSent(e.t.Context(), []store.SentTo{{Address: args["to"], First: time.Now(), Last: time.Now()}}, nil, 0); err != nil {
			e.t.Fatal(err)
		}
		return
	}
	n, err := strconv.Atoi(words[0])
	if err != nil {
		e.t.Fatal(err)
	}
	for i := range n {
		e.receive(i+1, args)
	}
	e.mark(args["to"], map[string]store.Flags{"junk": store.FlagJunk, "notjunk": store.FlagNotJunk}[words[1]])
}

// receive takes message number i of a past.
func (e *env) receive(i int, args map[string]string) {
	e.t.Helper()
	number := func(s string) string { return strings.ReplaceAll(s, "%d", strconv.Itoa(i)) }
	from, err := smtp.ParseMailFrom("FROM:<"+number(args["mailfrom"])+">", smtp.ParseOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	rcpt, err := smtp.ParseRcptTo("TO:<"+args["to"]+">", smtp.ParseOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	tx := &receive.Transaction{Peer: &receive.Peer{
		IP: netip.MustParseAddr(number(args["ip"])), Hostname: dns.Domain{ASCII: "mx.example.org"}, Hello: smtp.Hello{Name: dns.IPDomain{Domain: dns.Domain{ASCII: "mx.good.example"}}},
		TLS: &tls.ConnectionState{},
	}, MailFrom: from.Path}
	r, err := e.receiver.Resolve(e.t.Context(), tx, rcpt.Path)
	if err != nil {
		e.t.Fatal(err)
	}
	tx.Rcpts = append(tx.Rcpts, r)
	s := e.receiver.NewSpool(0)
	text := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nMessage-ID: <%s@past>\r\n\r\n%s\r\n", number(args["from"]), args["to"], number(args["from"]), strings.ReplaceAll(number(args["text"]), "-", " "))
	if _, err := s.Write([]byte(text)); err != nil {
		e.t.Fatal(err)
	}
	if err := errors.Join(e.receiver.Deliver(e.t.Context(), tx, s), s.Close()); err != nil {
		e.t.Fatal(err)
	}
}

// mark marks what is in an Inbox and not marked yet, and lets the filter learn it.
func (e *env) mark(address string, flag store.Flags) {
	e.t.Helper()
	name, _, _ := strings.Cut(address, "@")
	a, err := e.store.Account(e.t.Context(), name)
	if err != nil {
		e.t.Fatal(err)
	}
	defer a.Close()
	a.WaitDurable(e.t.Context())
	err = a.Update(e.t.Context(), func(tx *store.Tx) error {
		mb, err := tx.Mailbox("Inbox")
		if err != nil {
			return err
		}
		var uids []store.UID
		for uid := store.UID(1); uid < mb.UIDNext; uid++ {
			m, err := tx.Message(mb.ID, uid)
			if err != nil {
				return err
			}
			if m.Flags()&(store.FlagJunk|store.FlagNotJunk) == 0 {
				uids = append(uids, uid)
			}
		}
		_, err = tx.SetFlags(&mb, uids, store.FlagChange{Op: store.FlagsAdd, Flags: flag})
		return err
	})
	if err == nil {
		err = a.WaitTrained(e.t.Context())
	}
	if err != nil {
		e.t.Fatal(err)
	}
}
