package config

import (
	"strings"

	"github.com/mjl-/mox/dns"
)

// Sending is what routes look at of a message that is to be sent on, for one
// recipient.
type Sending struct {
	Account   string       // Of the sender. Empty: none of ours.
	From, To  dns.IPDomain // Zero for that of the null sender.
	Attempts  int64        // Made so far.
	Transport string       // Chosen for this message. Empty: the routes decide.
}

// Route returns the name of the transport for a message, empty for the usual way.
// One that was chosen for the message alone goes first. Then come the routes of the
// account, of the sender's domain, and of all; the first that matches is taken.
//
// There need not be a transport of that name: one that was chosen may have been
// removed since.
func (c *Config) Route(s Sending) string {
	if s.Transport != "" {
		return s.Transport
	}
	r := c.routes
	for _, list := range [][]route{r.accounts[s.Account], r.domains[s.From.Domain], r.all} {
		for _, route := range list {
			if route.match(s) {
				return route.transport
			}
		}
	}
	return ""
}

// routes are all that were configured.
type routes struct {
	accounts map[string][]route
	domains  map[dns.Domain][]route
	all      []route
}

// route is a Route that was checked.
type route struct {
	from, to    []routeDomain
	attemptsMin int64
	transport   string
}

// routeDomain is a domain, with those below it or without.
type routeDomain struct {
	domain dns.Domain
	below  bool
}

func (r route) match(s Sending) bool {
	return s.Attempts >= r.attemptsMin && matchAny(r.from, s.From) && matchAny(r.to, s.To)
}

// matchAny tells whether a condition holds: that there is none, or that one of its
// domains matches. Addresses with an IP address in place of a domain match no domain.
func matchAny(list []routeDomain, d dns.IPDomain) bool {
	if len(list) == 0 {
		return true
	}
	for _, r := range list {
		if r.match(d.Domain) {
			return true
		}
	}
	return false
}

func (r routeDomain) match(d dns.Domain) bool {
	return d == r.domain || r.below && strings.HasSuffix(d.ASCII, "."+r.domain.ASCII)
}

// routes checks a list of routes, and works them out.
func (s scope) routes(list []Route) (checked []route) {
	if len(list) > listMax {
		s.bad("more than %d", listMax)
	}
	for i, r := range list {
		s := s.item(i)
		checked = append(checked, route{
			from: s.in("FromDomain").routeDomains(r.FromDomain), to: s.in("ToDomain").routeDomains(r.ToDomain),
			attemptsMin: r.MinimumAttempts, transport: r.Transport,
		})
		s.in("MinimumAttempts").notNegative(r.MinimumAttempts)
		s.in("Transport").transportName(r.Transport)
	}
	return checked
}

// routeDomains checks conditions on domains. A dot in front stands for those below
// too.
func (s scope) routeDomains(names []string) (list []routeDomain) {
	if len(names) > listMax {
		s.bad("more than %d", listMax)
	}
	for i, name := range names {
		name, below := strings.CutPrefix(name, ".")
		if name == "" && below {
			s.item(i).bad("a dot alone is no domain; for all domains leave out the list")
			continue
		}
		if d, ok := s.item(i).domain(name); ok {
			list = append(list, routeDomain{d, below})
		}
	}
	return list
}
