package resolver

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
)

// names returns servers as text, trusted ones with a star.
func names(servers []server) string {
	var list []string
	for _, s := range servers {
		name := s.addr.String()
		if s.trusted {
			name += "*"
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

func TestParseConfig(t *testing.T) {
	t.Parallel()
	local := names(localServers)
	for _, c := range []struct{ name, config, want string }{
		{"nothing", "", local},
		{"one", "nameserver 192.0.2.1\n", "192.0.2.1:53"},
		{"loopback is trusted", "nameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1", "127.0.0.53:53* [::1]:53* 192.0.2.1:53"},
		{"the option counts for all", "options edns0 trust-ad\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions rotate\n", "192.0.2.1:53* 192.0.2.2:53*"},
		{"comments", "# nameserver 192.0.2.1\n;nameserver 192.0.2.2\n nameserver\t192.0.2.3 # x\n", "192.0.2.3:53"},
		{"search domains are not for us", "domain example.org\nsearch example.org example.com\n", local},
		{"what is no address", "nameserver localhost\nnameserver\nnameserver 1.2.3\n", local},
		{"a zone", "nameserver fe80::1%eth0\n", "[fe80::1%eth0]:53"},
		{"IPv4 within IPv6", "nameserver ::ffff:127.0.0.1\n", "127.0.0.1:53*"},
		{"CRLF", "nameserver 192.0.2.1\r\n", "192.0.2.1:53"},
		{"too many", strings.Repeat("nameserver 192.0.2.1\n", serversMax+1), strings.TrimSpace(strings.Repeat("192.0.2.1:53 ", serversMax))},
	} {
		if got := names(parseConfig(c.config)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestParseServers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ list, want string }{
		{"", ""},
		{"192.0.2.1 192.0.2.2:5353 ::1 [::2] [::3]:5353", "192.0.2.1:53 192.0.2.2:5353 [::1]:53* [::2]:53 [::3]:5353"},
		{"localhost", "error"},
		{"192.0.2.1:dns", "error"},
		{strings.Repeat("192.0.2.1 ", serversMax+1), "error"},
	} {
		servers, err := parseServers(strings.Fields(c.list), false)
		if got := names(servers); (err != nil) != (c.want == "error") || err == nil && got != c.want {
			t.Errorf("%q: got %s, %v, want %s", c.list, got, err, c.want)
		}
		if r, err := New(Options{Servers: strings.Fields(c.list)}); (err != nil) != (c.want == "error") || (r == nil) != (err != nil) {
			t.Errorf("%q: got error %v", c.list, err)
		}
	}
	if servers, err := parseServers([]string{"192.0.2.1"}, true); err != nil || !servers[0].trusted {
		t.Errorf("got %v, %v, want a trusted one", servers, err)
	}
}

// TestConfigChanges changes a file between looks, in seconds from the first. Each
// step sees the file the step before left.
func TestConfigChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) func() error {
		return func() error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := newConfig(nil, path)
	for _, step := range []struct {
		name    string
		do      func() error
		at      int
		want    string
		changed bool
	}{
		{"no file", func() error { return nil }, 0, names(localServers), true},
		{"a file, too soon", write("nameserver 192.0.2.1\n"), 4, names(localServers), false},
		{"a file", func() error { return nil }, 5, "192.0.2.1:53", true},
		{"no change", func() error { return nil }, 10, "192.0.2.1:53", false},
		{"another text that says the same", write("nameserver 192.0.2.1 # x\n"), 15, "192.0.2.1:53", false},
		{"another server", write("nameserver 192.0.2.22\n"), 20, "192.0.2.22:53", true},
		{"trust", write("nameserver 192.0.2.22\noptions trust-ad\n"), 25, "192.0.2.22:53*", true},
		{"a directory in its place", func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, 30, "192.0.2.22:53*", false},
		{"no file any more", func() error { return os.Remove(path) }, 35, names(localServers), true},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		got, changed := c.current(start.Add(time.Duration(step.at) * time.Second))
		if names(got) != step.want || changed != step.changed {
			t.Errorf("%s: got %s, changed %t, want %s, %t", step.name, names(got), changed, step.want, step.changed)
		}
	}
}

// TestConfigUnreadable begins with a path that can't be read: then it is as if
// there were no file.
func TestConfigUnreadable(t *testing.T) {
	t.Parallel()
	c := newConfig(nil, t.TempDir())
	if got, _ := c.current(time.Now()); !slices.Equal(got, localServers) {
		t.Errorf("got %s", names(got))
	}
}

// TestNoServers is a system without a configuration we know, as Windows.
func TestNoServers(t *testing.T) {
	t.Parallel()
	r, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.config = newConfig(nil, "")
	if _, _, err := r.LookupMX(t.Context(), "example.org."); !errors.Is(err, errNoServers) || !errors.Is(err, dns.ErrTemporary) {
		t.Errorf("got %v", err)
	}
}
