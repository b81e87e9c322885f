package submit

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/queue"
)

// keyResolver is a dns.Resolver that has one text for all names.
type keyResolver struct {
	dns.Resolver
	text string
}

func (r keyResolver) LookupTXT(_ context.Context, name string) ([]string, dns.Result, error) {
	return []string{r.text}, dns.Result{Name: name}, nil
}

// signed returns a configuration in which mail from example.org is signed, and a
// resolver with the key.
func signed(t *testing.T, c *config.Config, sel config.Selector) (*config.Config, dns.Resolver) {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))
	text, err := dkim.FormatKey(key)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := dkim.NewRecord(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	dynamic := c.Dynamic
	dynamic.Domains = maps.Clone(dynamic.Domains)
	domain := dynamic.Domains["example.org"]
	sel.PrivateKeyFile = "dkim/key.pem"
	domain.DKIM = config.DKIM{Selectors: map[string]config.Selector{"a": sel, "b": sel, "unused": sel}, Sign: []string{"a", "b"}}
	dynamic.Domains["example.org"] = domain
	next, err := config.Check(c.Static, dynamic, fstest.MapFS{"dkim/key.pem": {Data: text}})
	if err != nil {
		t.Fatal(err)
	}
	return next, keyResolver{text: rec.Text()}
}

// TestSign verifies what the queue has against what was signed while the message
// went there: its header was edited, and the body is far larger than any buffer.
func TestSign(t *testing.T) {
	t.Parallel()
	var resolver dns.Resolver
	e := newEnv(t, func(o *Options) {
		c, r := signed(t, o.Config(), config.Selector{Canonicalization: config.Canonicalization{BodyRelaxed: true}})
		o.Config, resolver = func() *config.Config { return c }, r
	})
	body := strings.Repeat("A line  of text \n\n", 20_000) + "\n\n\n"
	for _, c := range []struct {
		name, from, msg string
		signatures      int
	}{
		{"a small message", "alice@example.org", "Subject: hi\n\nhi\n", 2},
		{"a large one with fields that don't go out", "alice@example.org", "Bcc: b@b.example\nSubject: hi\n\n" + body, 2},
		{"one that needs SMTPUTF8", "alice@example.org", "Subject: é\n\nhi\n", 2},
		{"one without body", "alice@example.org", "Subject: hi\n", 2},
		{"one of a domain that doesn't sign", "jürgen@bücher.example", "Subject: é\n\nhi\n", 0},
	} {
		queued, err := e.send(e.begin("alice", c.from), "From: "+c.from+"\n"+c.msg, "x@b.example", "y@b.example")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		msg := strings.ReplaceAll(e.queued(queued[1]), "\n", "\r\n")
		if !strings.HasPrefix(msg, "Authentication-Results: ") {
			t.Errorf("%s: got %.200q", c.name, msg)
		}
		list, err := dkim.Verify(t.Context(), resolver, strings.NewReader(msg), int64(len(msg)), dkim.VerifyOptions{Now: time.Now()})
		if err != nil || len(list) != c.signatures {
			t.Errorf("%s: got %d signatures, %v", c.name, len(list), err)
		}
		for i, v := range list {
			if s := v.Signature; v.Result != dkim.Pass || s.Selector != string(rune('a'+i)) || s.Identity != c.from {
				t.Errorf("%s: signature %d: got %+v of %.1000q", c.name, i, v, msg)
			}
		}
	}
}

// TestSignFails sends a message without a signature that is too large.
func TestSignFails(t *testing.T) {
	t.Parallel()
	headers := []string{"From"}
	for i := range queue.PrefixMax / 100 {
		headers = append(headers, fmt.Sprintf("X-%d-%s", i, strings.Repeat("x", 100)))
	}
	e := newEnv(t, func(o *Options) {
		c, _ := signed(t, o.Config(), config.Selector{Headers: headers})
		o.Config = func() *config.Config { return c }
	})
	queued, err := e.send(e.begin("alice", ""), whole, "x@b.example")
	if err != nil {
		t.Fatal(err)
	}
	if text := e.queued(queued[0]); strings.Contains(text, "DKIM") || !strings.Contains(e.log.String(), "signing message") {
		t.Errorf("got message of %d bytes, log %s", len(text), e.log)
	}
}
