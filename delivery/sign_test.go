package delivery

import (
	"crypto/ed25519"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dnstest"
)

// TestNotificationIsSigned verifies the signature of what a sender that is not ours is
// told: by our hostname, which has to be a domain with keys for that.
func TestNotificationIsSigned(t *testing.T) {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))
	text, err := dkim.FormatKey(key)
	check(t, err)
	rec, err := dkim.NewRecord(key.Public())
	check(t, err)
	sign := func(o *Options) {
		c := o.Config()
		dynamic := c.Dynamic
		dynamic.Domains = maps.Clone(dynamic.Domains)
		dynamic.Domains[c.Hostname.Name()] = config.Domain{DKIM: config.DKIM{Selectors: map[string]config.Selector{"a": {PrivateKeyFile: "key.pem"}}, Sign: []string{"a"}}}
		next, err := config.Check(c.Static, dynamic, fstest.MapFS{"key.pem": {Data: text}})
		check(t, err)
		o.Config = func() *config.Config { return next }
	}
	run(t, func(e *env) {
		p := e.oneHost(&peer{answers: map[string][]string{"RCPT gone": {"550 5.1.1 no"}}})
		n := newMessage("gone@other.example")
		n.Account, n.MailFrom = "", mustPath("stranger@other.example")
		e.send(n)
		e.settle(time.Minute)
		if len(p.mails()) != 1 {
			e.Fatalf("got %s", p.summary())
		}
		hostname := e.opts.Config().Hostname
		keys, err := dnstest.New("a._domainkey." + hostname.ASCII + " TXT \"" + rec.Text() + "\"\n")
		check(e.T, err)
		msg := p.mails()[0].data
		list, err := dkim.Verify(e.Context(), keys, strings.NewReader(msg), int64(len(msg)), dkim.VerifyOptions{Now: time.Now()})
		if err != nil || len(list) != 1 || list[0].Result != dkim.Pass || list[0].Signature.Domain != hostname {
			e.Errorf("got %+v, %v of %q", list, err, msg)
		}
	}, sign)
}
