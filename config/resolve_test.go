package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, test := range []struct {
		name    string
		address string // As in RCPT, "postmaster" without domain.
		want    string // See describeTarget.
		err     error
	}{
		{"an address", "anna@example.org", "anna@example.org: anna/Inbox", nil},
		{"in other case", "ANNA@EXAMPLE.org", "anna@example.org: anna/Inbox", nil},
		{"with a separator", "anna+shop@example.org", "anna@example.org: anna/Inbox", nil},
		{"with both, the first counts", "anna--a+b@example.org", "anna@example.org: anna/Inbox", nil},
		{"one dash is none", "anna-a@example.org", "", ErrNoAddress},
		{"a separator at the start doesn't cut", "+anna@example.org", "", ErrNoAddress},
		{"nothing left but another separator", "++anna@example.org", "+@example.org", ErrNoAddress},
		{"quoted for no reason", `"anna"@example.org`, "anna@example.org: anna/Inbox", nil},
		{"quoted with reason", `"A B+c"@example.org`, `"a b"@example.org: anna/Inbox`, nil},
		{"beyond ASCII, composed", "JOS\u00c9@example.org", "jos\u00e9@example.org: anna/Inbox", nil},
		{"beyond ASCII, decomposed", "jose\u0301@example.org", "jos\u00e9@example.org: anna/Inbox", nil},
		{"unknown", "other@example.org", "", ErrNoAddress},
		{"another domain", "anna@example.com", "", ErrNoDomain},
		{"a subdomain", "anna@a.example.org", "", ErrNoDomain},
		{"an address literal", "anna@[127.0.0.1]", "", ErrNoDomain},
		{"postmaster at an address literal", "postmaster@[127.0.0.1]", "", ErrNoDomain},
		{"a disabled domain", "on@off.example", "", ErrDomainDisabled},
		{"an unknown address of a disabled domain", "none@off.example", "", ErrDomainDisabled},
		{"refused for good", "gone@example.org", "gone@example.org: anna/Inbox refused 550 5.1.1 gone away", nil},
		{"refused for now", "later@example.org", "later@example.org: anna/Inbox refused 451 4.3.0 come back", nil},
		{"with case that counts", "Anna@möwe.example", "Anna@möwe.example: anna/Birds", nil},
		{"in ASCII form", "Anna@xn--mwe-sna.example", "Anna@möwe.example: anna/Birds", nil},
		{"in other case, to the catchall", "anna@möwe.example", "anna@möwe.example: admin/Nest catchall", nil},
		{"a separator of another domain", "Anna+x@möwe.example", "Anna+x@möwe.example: admin/Nest catchall", nil},
		{"postmaster without domain", "Postmaster", "postmaster@mail.example.org: admin/Postmaster postmaster", nil},
		{"postmaster of the host", "postMASTER@mail.example.org", "postmaster@mail.example.org: admin/Postmaster postmaster", nil},
		{"postmaster of a listener", "postmaster@mx.example.org", "postmaster@mx.example.org: admin/Postmaster postmaster", nil},
		{"another at the host", "anna@mail.example.org", "", ErrNoDomain},
		{"postmaster of a domain", "postmaster@example.org", "postmaster@example.org: admin/Postmaster postmaster", nil},
		{"postmaster with a separator", "Postmaster+x@example.org", "postmaster@example.org: admin/Postmaster postmaster", nil},
		{"postmaster with an address of its own", "postmaster@möwe.example", "postmaster@möwe.example: anna/Post", nil},
		{"postmaster comes before a catchall", "POSTMASTER@möwe.example", "postmaster@möwe.example: admin/Postmaster postmaster", nil},
		{"an alias", "ALL+x@example.org", "all@example.org: alias public [anna@example.org: anna/Inbox, admin@example.org: admin/Inbox]", nil},
		{"a closed alias", "team@example.org", "team@example.org: alias [anna@example.org: anna/Inbox]", nil},
	} {
		target, err := c.Resolve(parsePath(t, test.address))
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.err)
		} else if got := describeTarget(target); err == nil && got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func parsePath(t *testing.T, s string) smtp.Path {
	t.Helper()
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return smtp.Path{Localpart: smtp.Localpart(s)}
	}
	if literal, ok := strings.CutPrefix(s[at+1:], "["); ok {
		ip := netip.MustParseAddr(strings.TrimSuffix(literal, "]"))
		return smtp.Path{Localpart: smtp.Localpart(s[:at]), IPDomain: dns.IPDomain{IP: ip}}
	}
	address, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatalf("parsing %q: %v", s, err)
	}
	return address.Path()
}

func describeTarget(t Target) string {
	s := t.Canonical.String() + ":"
	if t.Alias {
		s += " alias"
		if t.PostPublic {
			s += " public"
		}
		var members []string
		for _, m := range t.Members {
			members = append(members, describeTarget(m))
		}
		return s + fmt.Sprintf(" [%s]", strings.Join(members, ", "))
	}
	s += " " + t.Account + "/" + t.Mailbox
	if t.CatchAll {
		s += " catchall"
	}
	if t.Postmaster {
		s += " postmaster"
	}
	if t.Reports.DMARC {
		s += " dmarc"
	}
	if t.Reports.TLS {
		s += " tls"
	}
	if t.Refuse != nil {
		s += fmt.Sprintf(" refused %d %s %s", t.Refuse.Code, t.Refuse.Enhanced, t.Refuse.Text)
	}
	return s
}

func TestIsMember(t *testing.T) {
	t.Parallel()
	c := load(t)
	target, err := c.Resolve(parsePath(t, "team@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{"ANNA+x@example.org": true, "admin@example.org": false, "anna@example.com": false} {
		a, _ := parsePath(t, address).Address()
		if got := target.IsMember(c.Canonical(a)); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, test := range []struct {
		name    string
		address string
		want    string // Account and canonical address.
		err     error
	}{
		{"an address", "anna@example.org", "anna anna@example.org", nil},
		{"with a separator, in other case", "Anna+imap@example.org", "anna anna@example.org", nil},
		{"of a disabled domain", "on@off.example", "anna on@off.example", nil},
		{"one that refuses mail", "gone@example.org", "anna gone@example.org", nil},
		{"of a catchall", "x@möwe.example", "admin x@möwe.example", nil},
		{"an alias", "all@example.org", "", ErrNoAddress},
		{"postmaster is nobody's login", "postmaster@example.org", "", ErrNoAddress},
		{"unknown", "x@example.org", "", ErrNoAddress},
		{"another domain", "anna@example.com", "", ErrNoDomain},
	} {
		a, _ := parsePath(t, test.address).Address()
		account, canonical, err := c.Login(a)
		if !errors.Is(err, test.err) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.err)
		} else if got := account + " " + canonical.String(); err == nil && got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	for d, want := range map[string]bool{"example.org": true, "off.example": true, "mail.example.org": false} {
		if got := c.IsLocal(dns.Domain{ASCII: d}); got != want {
			t.Errorf("IsLocal(%s): got %v, want %v", d, got, want)
		}
	}
}

func TestMaySend(t *testing.T) {
	t.Parallel()
	dynamic := strings.Replace(testDynamic, "\t\t\tteam:\n", "\t\t\tteam:\n\t\t\t\tAllowMsgFrom: true\n", 1)
	c, err := Load([]byte(testStatic), []byte(dynamic), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		account string
		address string
		want    error
	}{
		{"an address of its own", "anna", "anna@example.org", nil},
		{"with a separator, in other case", "anna", "ANNA+shop@example.org", nil},
		{"one that refuses mail", "anna", "gone@example.org", nil},
		{"that of another account", "anna", "admin@example.org", ErrSender},
		{"one that doesn't exist", "anna", "other@example.org", ErrSender},
		{"another domain", "anna", "anna@example.com", ErrSender},
		{"the host's name", "admin", "postmaster@mail.example.org", ErrSender},
		{"a disabled domain", "anna", "on@off.example", ErrDomainDisabled},
		{"another's address in a disabled domain", "admin", "on@off.example", ErrSender},
		{"anything under its catchall", "admin", "x+y@möwe.example", nil},
		{"what is configured under it for another account", "admin", "Anna@möwe.example", ErrSender},
		{"under another's catchall", "anna", "anna@möwe.example", ErrSender},
		{"an alias as a member", "anna", "team+x@example.org", nil},
		{"an alias as another", "admin", "team@example.org", ErrSender},
		{"an alias that members can't send from", "anna", "all@example.org", ErrSender},
		{"postmaster, whose mail it gets", "admin", "postmaster@example.org", nil},
		{"postmaster, whose mail it doesn't get", "anna", "postmaster@example.org", ErrSender},
		{"an account that isn't there", "", "other@example.org", ErrSender},
	} {
		a, _ := parsePath(t, test.address).Address()
		if err := c.MaySend(test.account, a); !errors.Is(err, test.want) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.want)
		}
	}
}

func TestDeliversHere(t *testing.T) {
	t.Parallel()
	c := load(t)
	for name, want := range map[string]bool{
		"example.org": true, "off.example": true, "xn--mwe-sna.example": true, "mail.example.org": true, "mx.example.org": true,
		"a.example.org": false, "example.com": false, "[127.0.0.1]": false, "": false,
	} {
		if got := c.DeliversHere(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
}

// FuzzCanonical checks that a canonical address stays as it is, and that an
// address and its canonical form have the same target.
func FuzzCanonical(f *testing.F) {
	f.Add("Anna+x@example.org")
	f.Add("a\u0130b--@example.org")
	f.Add(`"+ "@möwe.example`)
	c, err := Load([]byte(testStatic), []byte(testDynamic), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := smtp.ParseAddress(s)
		if err != nil {
			return
		}
		canonical := c.Canonical(a)
		if again := c.Canonical(canonical); again != canonical {
			t.Fatalf("%q: canonical %q, of that %q", s, canonical, again)
		}
		one, err1 := c.Resolve(a.Path())
		two, err2 := c.Resolve(canonical.Path())
		if !errors.Is(err1, err2) || describeTarget(one) != describeTarget(two) {
			t.Fatalf("%q: got %v, %v; canonical %q: got %v, %v", s, one, err1, canonical, two, err2)
		}
	})
}
