package config

import (
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// fromIDConfig has two accounts: anna's logins as anna+ids, and under her catchall,
// have senders of their own.
func fromIDConfig(t *testing.T) *Config {
	t.Helper()
	long := strings.Repeat("l", 47)
	c, err := Check(Static{DataDir: t.TempDir(), LogLevel: "info", Hostname: "mx.example.org", Postmaster: Postmaster{Account: "anna", Mailbox: "Inbox"}}, Dynamic{
		Domains: map[string]Domain{
			"example.org":   {LocalpartCatchallSeparators: []string{"--", "+"}},
			"all.example":   {LocalpartCatchallSeparator: "+", LocalpartCaseSensitive: true},
			"plain.example": {},
		},
		Accounts: map[string]Account{
			"anna": {
				Domain: "example.org", Destinations: map[string]Destination{"anna@example.org": {}, "@all.example": {}, long + "@all.example": {}, "anna@plain.example": {}},
				FromIDLoginAddresses: []string{"Anna+ids@example.org", "Robot@all.example", long + "@all.example"},
			},
			"bert": {Domain: "example.org", Destinations: map[string]Destination{"bert@example.org": {}}},
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parseAddr(t *testing.T, s string) smtp.Address {
	t.Helper()
	a, err := smtp.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestUsesFromID(t *testing.T) {
	t.Parallel()
	c := fromIDConfig(t)
	for _, tc := range []struct {
		name, account, login string
		want                 bool
	}{
		{"as it is configured", "anna", "anna+ids@example.org", true},
		{"in another case", "anna", "ANNA+IDS@example.org", true},
		{"without what makes it so", "anna", "anna@example.org", false},
		{"with something else", "anna", "anna+x@example.org", false},
		{"under a catchall", "anna", "Robot@all.example", true},
		{"where case counts", "anna", "robot@all.example", false},
		{"another account", "bert", "anna+ids@example.org", false},
		{"no account", "", "anna+ids@example.com", false},
		{"elsewhere", "anna", "anna+ids@example.com", false},
	} {
		if got := c.UsesFromID(tc.account, parseAddr(t, tc.login)); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
	if c.UsesFromID("", smtp.Address{}) {
		t.Error("nobody logged in, and it is used")
	}
}

func TestSplitFromID(t *testing.T) {
	t.Parallel()
	c := fromIDConfig(t)
	for _, tc := range []struct {
		name, address, base, id string
		room                    int
	}{
		{"without separator", "anna@example.org", "anna@example.org", "", 26},
		{"with the first separator", "Anna--Id@example.org", "Anna@example.org", "Id", 26},
		{"the second is part of an address", "anna+x@example.org", "anna+x@example.org", "", 26},
		{"with both", "anna+x--id--y@example.org", "anna+x@example.org", "id--y", 26},
		{"with nothing behind it", "anna--@example.org", "anna--@example.org", "", 26},
		{"with nothing before it", "--id@example.org", "--id@example.org", "", 26},
		{"a domain without separator", "anna+x@plain.example", "anna+x@plain.example", "", 0},
		{"another domain", "anna+x@example.com", "anna+x@example.com", "", 0},
		{"little room", strings.Repeat("a", 40) + "@example.org", strings.Repeat("a", 40) + "@example.org", "", 22},
		{"none", strings.Repeat("a", 63) + "@example.org", strings.Repeat("a", 63) + "@example.org", "", 0},
	} {
		base, id := c.SplitFromID(parseAddr(t, tc.address))
		if base.String() != tc.base || id != tc.id {
			t.Errorf("%s: got %s, %q, want %s, %q", tc.name, base, id, tc.base, tc.id)
		}
		if room := c.FromIDRoom(base); room != tc.room || c.HasFromID(base) != (base.Domain.ASCII == "example.org") {
			t.Errorf("%s: room for %d, want %d", tc.name, room, tc.room)
		}
		if id != "" && c.WithFromID(base, id).String() != tc.address {
			t.Errorf("%s: put together again it is %s", tc.name, c.WithFromID(base, id))
		}
	}
}

// TestFromIDTooLong refuses a login address behind which no id fits.
func TestFromIDTooLong(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]string{46: "", 47: "Accounts.anna.FromIDLoginAddresses[0]: " + strings.Repeat("a", 47) + "@example.org is too long: 16 bytes are needed after a separator, and there is room for 15"} {
		address := strings.Repeat("a", length) + "@example.org"
		_, err := Check(Static{DataDir: t.TempDir(), LogLevel: "info", Hostname: "mx.example.org", Postmaster: Postmaster{Account: "anna", Mailbox: "Inbox"}}, Dynamic{
			Domains:  map[string]Domain{"example.org": {LocalpartCatchallSeparator: "--"}},
			Accounts: map[string]Account{"anna": {Domain: "example.org", Destinations: map[string]Destination{address: {}}, FromIDLoginAddresses: []string{address}}},
		}, nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d bytes: got %v, want %s", length, err, want)
		}
	}
}

// FuzzSplitFromID checks that what was split is the same when it is put together, and
// that the base reaches the same mailbox.
func FuzzSplitFromID(f *testing.F) {
	f.Add("anna--id")
	f.Add("--")
	f.Add("a+b--c+d")
	f.Fuzz(func(t *testing.T, local string) {
		c := &Config{domains: map[dns.Domain]domain{}}
		a := smtp.Address{Localpart: smtp.Localpart(local)}
		a.Domain.ASCII = "example.org"
		c.domains[a.Domain] = domain{separators: []string{"--", "+"}}
		base, id := c.SplitFromID(a)
		if id == "" && base != a || id != "" && c.WithFromID(base, id) != a {
			t.Errorf("%q: got %q and %q", local, base.Localpart, id)
		}
		if got, want := c.Canonical(base), c.Canonical(a); id != "" && got != want {
			t.Errorf("%q is of %q, without id of %q", local, want, got)
		}
	})
}
