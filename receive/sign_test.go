package receive

import (
	"context"
	"crypto/ed25519"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
)

// keyResolver is a dns.Resolver that has one text for all names.
type keyResolver struct {
	dns.Resolver
	text string
}

func (r keyResolver) LookupTXT(_ context.Context, name string) ([]string, dns.Result, error) {
	return []string{r.text}, dns.Result{Name: name}, nil
}

// TestNotificationIsSigned verifies the signature of what a sender elsewhere is told
// about some recipients.
func TestNotificationIsSigned(t *testing.T) {
	t.Parallel()
	e := withQueue(t)
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))
	text, err := dkim.FormatKey(key)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := dkim.NewRecord(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := e.opts.Config()
	dynamic := c.Dynamic
	dynamic.Domains = maps.Clone(dynamic.Domains)
	domain := dynamic.Domains["example.org"]
	domain.DKIM = config.DKIM{Selectors: map[string]config.Selector{"a": {PrivateKeyFile: "key.pem"}}, Sign: []string{"a"}}
	dynamic.Domains["example.org"] = domain
	next, err := config.Check(c.Static, dynamic, fstest.MapFS{"key.pem": {Data: text}})
	if err != nil {
		t.Fatal(err)
	}
	e.opts.Config = func() *config.Config { return next }

	if err := e.send(e.begin("sender@b.example"), "From: x@elsewhere.example\r\n\r\nhello\r\n", "bob@example.org", "members@example.org"); err != nil {
		t.Fatal(err)
	}
	list, contents := e.inQueue()
	if len(list) != 1 {
		t.Fatalf("queue has %+v", list)
	}
	msg := contents[0]
	signatures, err := dkim.Verify(t.Context(), keyResolver{text: rec.Text()}, strings.NewReader(msg), int64(len(msg)), dkim.VerifyOptions{Now: time.Now()})
	if err != nil || len(signatures) != 1 || signatures[0].Result != dkim.Pass || signatures[0].Signature.Identity != "postmaster@example.org" {
		t.Errorf("got %+v, %v of %q", signatures, err, msg)
	}
}
