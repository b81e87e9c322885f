package config

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

func TestSigning(t *testing.T) {
	t.Parallel()
	text, err := dkim.FormatKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize))))
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{"a.pem": {Data: text}, "b.pem": {Data: text}}
	dynamic := Dynamic{
		Domains: map[string]Domain{
			"example.org": {DKIM: DKIM{
				Selectors: map[string]Selector{
					"2030": {PrivateKeyFile: "a.pem", Expiration: time.Hour, DontSealHeaders: true, Canonicalization: Canonicalization{BodyRelaxed: true}},
					"é":    {PrivateKeyFile: "b.pem", Headers: []string{"From"}},
					"old":  {PrivateKeyFile: "b.pem"},
				},
				Sign: []string{"é", "2030"},
			}},
			"quiet.example": {DKIM: DKIM{Selectors: map[string]Selector{"a": {PrivateKeyFile: "a.pem"}}}},
		},
		Accounts: map[string]Account{"mox": {Domain: "example.org"}},
	}
	static := Static{DataDir: "data", LogLevel: "info", Hostname: "mx.example.org", Postmaster: Postmaster{Account: "mox", Mailbox: "Postmaster"}}
	c, err := Check(static, dynamic, files)
	if err != nil {
		t.Fatal(err)
	}
	list := c.Signing(dns.Domain{ASCII: "example.org"})
	if len(list) != 2 || list[0].Name != "xn--9ca" || list[1].Name != "2030" {
		t.Fatalf("got %+v", list)
	}
	if !slices.Equal(list[0].Headers, []string{"From"}) || list[0].Hash != "sha256" || list[0].DontSeal || list[0].Expiration != 0 ||
		list[1].Headers != nil || !list[1].DontSeal || list[1].Expiration != time.Hour || list[1].Canon.String() != "simple/relaxed" || list[1].Key == nil {
		t.Errorf("got %+v", list)
	}
	if list := c.Signing(dns.Domain{ASCII: "quiet.example"}); list != nil {
		t.Errorf("without Sign: got %+v", list)
	}
	if names := dynamic.DKIMKeyFiles(); !slices.Equal(names, []string{"a.pem", "b.pem"}) {
		t.Errorf("got files %v", names)
	}

	msg := []byte("From: <postmaster@example.org>\r\n\r\nhi\r\n")
	for _, test := range []struct {
		domain     string
		signatures int
	}{{"example.org", 2}, {"quiet.example", 0}, {"elsewhere.example", 0}} {
		from := smtp.Address{Localpart: "postmaster", Domain: dns.Domain{ASCII: test.domain}}.Path()
		header, err := c.SignNotice(from, msg, false, time.Now())
		if err != nil || strings.Count(string(header), "DKIM-Signature:") != test.signatures {
			t.Errorf("%s: got %q, %v", test.domain, header, err)
		}
	}
	if header, err := c.SignNotice(smtp.Path{}, msg, false, time.Now()); header != nil || err != nil {
		t.Errorf("null path: got %q, %v", header, err)
	}
	if c, err := Check(static, dynamic, nil); err != nil || c.Signing(dns.Domain{ASCII: "example.org"}) != nil {
		t.Errorf("without files: got %v", err)
	}
}
