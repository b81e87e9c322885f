package receive

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/smtp"
)

const senderZone = `
mx.example.      MX    10 host.example.
two.example.     MX    0 .
two.example.     MX    10 host.example.
host.example.    A     192.0.2.25
six.example.     AAAA  2001:db8::25
null.example.    MX    0 .
text.example.    TXT   "nothing else"
alias.example.   CNAME host.example.
xn--bcher-kva.example. A 192.0.2.1
`

// asking returns a Receiver that asks DNS, and a peer from elsewhere.
func asking(t *testing.T) (*Receiver, *Peer) {
	r, err := dnstest.New(senderZone)
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("MX", "broken.example", dnstest.Temporary)
	r.Fail("", "bogus.example", dnstest.Bogus)
	r.Fail("A", "text.example", dnstest.None)
	r.Fail("A", "half.example", dnstest.Temporary)
	if err := r.Set("half.example. TXT x"); err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, func(o *Options) { o.Resolver = r })
	return e.Receiver, e.begin("").Peer
}

// reply returns the codes of a refusal.
func reply(err error) string {
	e, ok := errors.AsType[*smtp.Error](err)
	if !ok {
		return ""
	}
	return strings.Join([]string{strings.SplitN(e.Error(), " ", 2)[0], e.Enhanced}, " ")
}

func TestCheckSender(t *testing.T) {
	t.Parallel()
	r, peer := asking(t)
	for _, tc := range []struct{ name, from, want string }{
		{"the null sender", "", ""},
		{"a domain with mail exchangers", "a@mx.example", ""},
		{"a domain with an address", "a@host.example", ""},
		{"a domain with an IPv6 address", "a@six.example", ""},
		{"a domain that is an alias", "a@alias.example", ""},
		{"a domain in Unicode", "a@bücher.example", ""},
		{"a null MX and another", "a@two.example", ""},
		{"a null MX", "a@null.example", "550 5.7.27"},
		{"no such domain", "a@none.example", "550 5.7.27"},
		{"a domain without address", "a@text.example", "550 5.7.27"},
		{"an address literal", "a@[192.0.2.1]", "550 5.1.8"},
		{"a failure", "a@broken.example", "451 4.4.0"},
		{"a failure for the address", "a@half.example", "451 4.4.0"},
		{"a bogus answer", "a@bogus.example", "451 4.4.0"},
	} {
		var from smtp.Path
		if tc.from != "" {
			m, err := smtp.ParseMailFrom("FROM:<"+tc.from+"> SMTPUTF8", smtp.ParseOptions{})
			if err != nil {
				t.Fatal(err)
			}
			from = m.Path
		}
		err := r.Sender(t.Context(), &Transaction{Peer: peer, MailFrom: from, Size: -1})
		if got := reply(err); got != tc.want || tc.want == "" && err != nil {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
		if e, ok := errors.AsType[*smtp.Error](err); ok && strings.Contains(e.Text, "example") {
			t.Errorf("%s: the reply has the name: %q", tc.name, e.Text)
		}
	}
}

func TestCheckHello(t *testing.T) {
	t.Parallel()
	r, peer := asking(t)
	for _, tc := range []struct{ name, hello, want string }{
		{"a name with an address", "host.example", ""},
		{"a name with an IPv6 address", "SIX.example", ""},
		{"an address literal", "[192.0.2.1]", ""},
		{"something else", "my_computer", ""},
		{"a failure", "bogus.example", ""},
		{"no such name", "none.example", "550 5.0.0"},
		{"a single word", "workstation", "550 5.0.0"},
		{"a name without address", "text.example", "550 5.0.0"},
	} {
		h, err := smtp.ParseEHLO(tc.hello, smtp.ParseOptions{Tolerant: true})
		if err != nil {
			t.Fatal(err)
		}
		err = r.CheckHello(t.Context(), peer, h)
		if got := reply(err); got != tc.want || tc.want == "" && err != nil {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

// TestNotAsked shows for whom nothing is looked up.
func TestNotAsked(t *testing.T) {
	t.Parallel()
	r, peer := asking(t)
	exempt, loopback := *peer, *peer
	exempt.Exempt = true
	loopback.IP = netip.MustParseAddr("::1")
	without := newEnv(t, nil).Receiver
	from := smtp.Address{Localpart: "a", Domain: dns.Domain{ASCII: "null.example"}}.Path()
	hello := smtp.Hello{Name: dns.IPDomain{Domain: dns.Domain{ASCII: "none.example"}}, Text: "none.example"}
	for _, tc := range []struct {
		name string
		r    *Receiver
		peer *Peer
		want bool
	}{
		{"a peer elsewhere", r, peer, true},
		{"an exempt peer", r, &exempt, false},
		{"a program on this host", r, &loopback, false},
		{"no resolver", without, peer, false},
	} {
		if err := tc.r.Sender(t.Context(), &Transaction{Peer: tc.peer, MailFrom: from, Size: -1}); (err != nil) != tc.want {
			t.Errorf("%s: sender: got %v", tc.name, err)
		}
		if err := tc.r.CheckHello(t.Context(), tc.peer, hello); (err != nil) != tc.want {
			t.Errorf("%s: hello: got %v", tc.name, err)
		}
	}
}
