package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
)

// routed returns a configuration in which account, domain and all have routes.
func routed(t *testing.T) *Config {
	t.Helper()
	fail := Transport{Fail: &TransportFail{}}
	s := Static{
		DataDir: "data", LogLevel: "info", Hostname: "mx.example", Postmaster: Postmaster{"anna", "Inbox"},
		Transports: map[string]Transport{"a": fail, "b": fail, "c": fail, "d": fail, "e": fail, "z": {}},
	}
	d := Dynamic{
		Domains: map[string]Domain{
			"example.org":  {Routes: []Route{{ToDomain: []string{"mid.example"}, Transport: "b"}}},
			"möwe.example": {Routes: []Route{{Transport: "e"}}},
		},
		Accounts: map[string]Account{
			"anna": {Domain: "example.org", Routes: []Route{
				{FromDomain: []string{"möwe.example"}, ToDomain: []string{"near.example"}, Transport: "z"},
				{ToDomain: []string{"near.example", ".mid.example"}, MinimumAttempts: 2, Transport: "a"},
			}},
			"otto": {Domain: "example.org"},
		},
		Routes: []Route{
			{FromDomain: []string{"example.org"}, ToDomain: []string{".far.example", "küche.example"}, Transport: "c"},
			{ToDomain: []string{"literal.example"}, MinimumAttempts: 1, Transport: "d"},
			{MinimumAttempts: 5, Transport: "d"},
		},
	}
	c, err := Check(s, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRoute(t *testing.T) {
	t.Parallel()
	c := routed(t)
	for _, test := range []struct {
		name, account, from, to string
		attempts                int64
		chosen, want            string
	}{
		{"no route matches", "anna", "example.org", "other.example", 0, "", ""},
		{"one was chosen for the message", "anna", "example.org", "mid.example", 9, "x", "x"},
		{"the account's comes first", "anna", "example.org", "mid.example", 2, "", "a"},
		{"not before so many attempts", "anna", "example.org", "mid.example", 1, "", "b"},
		{"another account has not its routes", "otto", "example.org", "mid.example", 2, "", "b"},
		{"both conditions must hold", "anna", "möwe.example", "near.example", 2, "", "z"},
		{"the second route, as the first is not for the sender", "anna", "example.org", "near.example", 2, "", "a"},
		{"a domain without dot is for itself", "anna", "example.org", "x.near.example", 2, "", ""},
		{"a domain with dot is for itself too", "otto", "example.org", "far.example", 0, "", "c"},
		{"and for those below", "otto", "example.org", "x.far.example", 0, "", "c"},
		{"at any depth", "otto", "example.org", "x.y.far.example", 0, "", "c"},
		{"but not for one that ends alike", "otto", "example.org", "notfar.example", 0, "", ""},
		{"nor for what is above", "otto", "example.org", "example", 0, "", ""},
		{"an internationalised domain", "otto", "example.org", "xn--kche-0ra.example", 0, "", "c"},
		{"routes of a sender's domain for all recipients", "otto", "möwe.example", "far.example", 0, "", "e"},
		{"the sender's domain decides, not the account's", "anna", "möwe.example", "other.example", 0, "", "e"},
		{"nobody's message goes by the routes of all", "", "", "literal.example", 1, "", "d"},
		{"the null sender is in no domain", "", "", "far.example", 0, "", ""},
		{"an address is in no domain", "otto", "example.org", "[192.0.2.1]", 4, "", ""},
		{"a route without conditions is for an address too", "otto", "example.org", "[192.0.2.1]", 5, "", "d"},
		{"enough attempts for the last route", "otto", "example.org", "other.example", 5, "", "d"},
	} {
		got := c.Route(Sending{Account: test.account, From: ipDomain(t, test.from), To: ipDomain(t, test.to), Attempts: test.attempts, Transport: test.chosen})
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func ipDomain(t *testing.T, text string) (d dns.IPDomain) {
	t.Helper()
	var err error
	if literal, ok := strings.CutPrefix(text, "["); ok {
		d.IP, err = netip.ParseAddr(strings.TrimSuffix(literal, "]"))
	} else if text != "" {
		d.Domain, err = dns.ParseDomain(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestWays has the transports of the documentation.
func TestWays(t *testing.T) {
	t.Parallel()
	s := Static{DataDir: "data", LogLevel: "info", Hostname: "mx.example", Postmaster: Postmaster{"anna", "Inbox"}, Transports: describedTransports()}
	s.Transports["direct"] = Transport{}
	s.Transports["defaults"] = Transport{Submission: &TransportSMTP{Host: "küche.example", Auth: &TransportAuth{Username: "u", Password: "p"}}}
	s.Transports["between"] = Transport{SMTP: &TransportSMTP{Host: "2001:db8::1"}}
	s.Transports["busy"] = Transport{Fail: &TransportFail{SMTPCode: 450}}
	c, err := Check(s, Dynamic{Domains: map[string]Domain{"example.org": {}}, Accounts: map[string]Account{"anna": {Domain: "example.org"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"":               "direct",
		"between":        "relay [IPv6:2001:db8::1] 25 1 none",
		"busy":           "450 4.7.1 mail for this recipient is not sent on by this server",
		"defaults":       "relay xn--kche-0ra.example 587 1 u by SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 CRAM-MD5",
		"direct":         "direct",
		"ipv4":           "direct without IPv6",
		"ipv6":           "direct without IPv4",
		"never":          "554 5.7.1 sending to this domain is not allowed",
		"next":           "relay [10.0.0.2] 25 3 none",
		"proxy":          "proxy localhost:1080 [192.0.2.9] proxy.example.org",
		"relay":          "relay smtp.example.com 465 0 user by SCRAM-SHA-256-PLUS SCRAM-SHA-256",
		"relay-starttls": "relay smtp.example.com 587 2 none",
	}
	if got := append([]string{""}, c.Ways()...); len(got) != len(want) || !slices.IsSorted(got) {
		t.Errorf("got %q", got)
	}
	for name, text := range want {
		w, ok := c.Way(name)
		if !ok || w.Name != name || describeWay(w) != text {
			t.Errorf("%s: got %v %s, want %s", name, ok, describeWay(w), text)
		}
	}
	if w, ok := c.Way("gone"); ok || w != (Way{}) {
		t.Errorf("got %v for a transport that isn't there", w)
	}
}

func describeWay(w Way) string {
	switch {
	case w.Relay != nil:
		login := "none"
		if l := w.Relay.Login; l != nil {
			login = l.String() + " by " + strings.Join(l.Mechanisms, " ")
		}
		return fmt.Sprintf("relay %s %d %d %s", w.Relay.Host.XString(false), w.Relay.Port, w.Relay.TLS, login)
	case w.Proxy != nil:
		return fmt.Sprintf("proxy %s %v %s", w.Proxy.Address, w.Proxy.RemoteIPs, w.Proxy.Hello)
	case w.Fail != nil:
		return fmt.Sprintf("%d %s %s", w.Fail.Code, w.Fail.Enhanced, w.Fail.Text)
	case w.NoIPv4:
		return "direct without IPv4"
	case w.NoIPv6:
		return "direct without IPv6"
	}
	return "direct"
}

// TestPasswordIsNotShown prints a login in the ways that logs and commands do.
func TestPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	l := Login{Username: "user", Password: "secret"}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%s %v %+v %#v %v %+v %v", text, l, l, l, &l, Relay{Login: &l}, struct{ L Login }{l})
	if strings.Contains(all, "secret") || !strings.Contains(all, "user") {
		t.Errorf("got %s", all)
	}
}
