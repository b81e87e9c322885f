package queue

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/mjl-/mox/dns"
)

// credible says whether one of the domains that an answer is shown to come from
// belongs to where a message went: to its recipient, or to the server that took it.
//
// A Message-ID and a recipient are known to all who got the message, and to readers of
// mailing lists. Without this each of them could keep an account from writing to
// another.
func credible(verified []dns.Domain, m *Message) bool {
	places := map[string]bool{}
	add := func(name string) {
		if org := organisation(name); org != "" {
			places[org] = true
		}
	}
	add(m.Domain)
	for _, r := range m.Results {
		if r.OK && r.Answer == "" {
			add(r.RemoteMTA)
		}
	}
	for _, d := range verified {
		if d.ASCII != "" && d.ASCII == m.Domain || places[organisation(d.ASCII)] {
			return true
		}
	}
	return false
}

// organisation returns the name that somebody has registered which a domain is below,
// empty if it is no such name.
func organisation(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return ""
	}
	org, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return ""
	}
	return org
}
