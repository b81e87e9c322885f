package submit

import (
	"bytes"
	"crypto/rand"
	"regexp"
	"strings"
	"testing"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/smtp"
)

// fromIDEnv has logins of alice as alice+ids and as the alias team that get senders of
// their own.
func fromIDEnv(t *testing.T) *env {
	t.Helper()
	return newEnv(t, func(o *Options) {
		o.Rand = rand.Reader
		d := testConfig
		alice := d.Accounts["alice"]
		alice.FromIDLoginAddresses = []string{"alice+ids@example.org"}
		d.Accounts = map[string]config.Account{"alice": alice, "bob": d.Accounts["bob"], "mox": d.Accounts["mox"]}
		c, err := config.Check(o.Config().Static, d, nil)
		if err != nil {
			t.Fatal(err)
		}
		o.Config = func() *config.Config { return c }
	})
}

// login returns a transaction of alice, who has logged in with an address.
func (e *env) login(as, from string) *Transaction {
	tx := e.begin("alice", from)
	tx.Peer.Login, _ = path(e.t, as).Address()
	return tx
}

// TestFromID says which sender each recipient gets.
func TestFromID(t *testing.T) {
	t.Parallel()
	const ids = "alice+ids@example.org"
	long := strings.Repeat("x", 64-len("alice++"))
	for _, tc := range []struct {
		name, login, from string
		to                []string
		want              []string // Regexps. Empty: the sender as it was given.
		wantErr           string
	}{
		{"for each recipient", ids, "alice@example.org", []string{"a@remote.example", "b@remote.example"}, []string{`^alice\+[a-z2-7]{26}@example\.org$`, `^alice\+[a-z2-7]{26}@example\.org$`}, ""},
		{"in the case of the user", ids, "Alice@example.org", []string{"a@remote.example"}, []string{`^Alice\+[a-z2-7]{26}@example\.org$`}, ""},
		{"given by the user", ids, "alice+Own@example.org", []string{"a@remote.example"}, []string{`^alice\+Own@example\.org$`}, ""},
		{"one is not enough for two", ids, "alice+own@example.org", []string{"a@remote.example", "b@remote.example"}, []string{`^alice\+[a-z2-7]{26}@example\.org$`, `^alice\+[a-z2-7]{26}@example\.org$`}, ""},
		{"for a recipient that is given twice", ids, "alice+own@example.org", []string{"a@remote.example", "a@remote.example"}, []string{`^alice\+own@example\.org$`}, ""},
		{"from an alias", ids, "team@example.org", []string{"a@remote.example"}, []string{`^team\+[a-z2-7]{26}@example\.org$`}, ""},
		{"the null sender", ids, "", []string{"a@remote.example"}, nil, ""},
		{"an address that has no room", ids, "alice+" + long + "@example.org", []string{"a@remote.example"}, []string{`^alice\+x+@example\.org$`}, ""},
		{"another login address", "alice@example.org", "alice@example.org", []string{"a@remote.example", "b@remote.example"}, nil, ""},
		{"a domain without separator", ids, "jürgen@bücher.example", []string{"a@remote.example"}, nil, ""},
		{"to a user of ours", ids, "alice@example.org", []string{"bob@example.org"}, []string{`^alice\+[a-z2-7]{26}@example\.org$`}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := fromIDEnv(t)
			queued, err := e.send(e.login(tc.login, tc.from), whole, tc.to...)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for i, m := range queued {
				if tc.want == nil {
					if m.MailFrom != tc.from || m.FromID != "" || m.BaseFrom != "" {
						t.Errorf("sender is %q, id %q of %q", m.MailFrom, m.FromID, m.BaseFrom)
					}
					continue
				}
				base, id := e.opts.Config().SplitFromID(mustAddress(t, m.MailFrom))
				if !regexp.MustCompile(tc.want[i]).MatchString(m.MailFrom) || m.FromID != id || m.BaseFrom != base.String() || seen[id] {
					t.Errorf("sender is %q, id %q of %q", m.MailFrom, m.FromID, m.BaseFrom)
				}
				seen[id] = true
				if text := e.queued(m); strings.Contains(text, id) != strings.Contains(tc.from, id) {
					t.Errorf("the header tells the id:\n%s", text)
				}
			}
			if tc.want != nil && len(queued) != len(tc.want) {
				t.Errorf("%d were queued", len(queued))
			}
		})
	}
}

func mustAddress(t *testing.T, s string) smtp.Address {
	t.Helper()
	a, ok := path(t, s).Address()
	if !ok {
		t.Fatalf("%s is no address", s)
	}
	return a
}

// TestFromIDAgain refuses an id that the account has used. Another account may.
func TestFromIDAgain(t *testing.T) {
	t.Parallel()
	e := fromIDEnv(t)
	const ids, from = "alice+ids@example.org", "alice+own@example.org"
	if _, err := e.send(e.login(ids, from), whole, "a@remote.example"); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{from, "team+OWN@example.org"} {
		_, err := e.send(e.login(ids, from), whole, "a@remote.example")
		checkError(t, from, err, "550 5.1.7 the id behind the separator", ErrFromID)
		if Result(err) != "fromid" {
			t.Errorf("counted as %s", Result(err))
		}
	}
	if e.count() != 1 {
		t.Errorf("%d are queued", e.count())
	}
	if _, err := e.send(e.login("alice@example.org", from), whole, "a@remote.example"); err != nil {
		t.Errorf("without asking for ids: %v", err)
	}
}

// TestFromIDRoom shortens the id of a long address, and refuses where that can be
// guessed.
func TestFromIDRoom(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]int{37: 26, 38: 25, 47: 16, 48: 0} {
		e := newEnv(t, func(o *Options) {
			o.Rand = rand.Reader
			d := testConfig
			alice := d.Accounts["alice"]
			alice.Destinations = map[string]config.Destination{"alice@example.org": {}, strings.Repeat("a", length) + "@example.org": {}}
			alice.FromIDLoginAddresses = []string{"alice@example.org"}
			d.Accounts = map[string]config.Account{"alice": alice, "bob": d.Accounts["bob"], "mox": d.Accounts["mox"]}
			c, err := config.Check(o.Config().Static, d, nil)
			if err != nil {
				t.Fatal(err)
			}
			o.Config = func() *config.Config { return c }
		})
		queued, err := e.send(e.login("alice@example.org", strings.Repeat("a", length)+"@example.org"), whole, "a@remote.example")
		if want == 0 {
			checkError(t, "no room", err, "550 5.1.7 ", ErrSender)
			continue
		}
		if err != nil || len(queued[0].FromID) != want {
			t.Errorf("%d bytes: got %+v, %v", length, queued, err)
			continue
		}
		if p := path(t, queued[0].MailFrom); len(p.Localpart) > 64 {
			t.Errorf("localpart of %d bytes", len(p.Localpart))
		}
	}
}

// TestFromIDRand says that a message is not sent when nothing random can be read.
func TestFromIDRand(t *testing.T) {
	t.Parallel()
	e := fromIDEnv(t)
	e.opts.Rand = bytes.NewReader(make([]byte, fromIDBytes))
	if _, err := e.send(e.login("alice+ids@example.org", "alice@example.org"), whole, "a@remote.example", "b@remote.example"); err == nil || e.count() != 0 {
		t.Errorf("got %v, %d queued", err, e.count())
	}
}
