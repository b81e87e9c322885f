package screen

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Method is what a reputation was found by, the first in this order that says
// anything.
type Method string

// The methods.
const (
	MethodFromAddress Method = "msgfromfull"
	MethodToAddress   Method = "msgtofull"
	MethodFromDomain  Method = "msgfromdomain"
	MethodToDomain    Method = "msgtodomain"
	MethodFromOrg     Method = "msgfromorgdomain"
	MethodToOrg       Method = "msgtoorgdomain"
	MethodSigner      Method = "dkimspf"
	MethodIP1         Method = "ip1"
	MethodIP2         Method = "ip2"
	MethodIP3         Method = "ip3"
	MethodNone        Method = "none"
)

// signal is what a reputation says of the next message.
type signal int

const (
	unsure signal = iota
	good
	bad
)

func (s signal) String() string { return [...]string{"no signal", "not junk", "junk"}[s] }

// reputation is what is known of a sender.
type reputation struct {
	method Method
	signal
	conclusive bool
	finding    string // For people.
}

// counts are the messages of a history within a window.
type counts struct {
	junk, notJunk int
	localparts    int // Different ones of the junk.
}

func (c counts) total() int { return c.junk + c.notJunk }

// fraction returns the part that is junk. There must be messages.
func (c counts) fraction() float64 { return float64(c.junk) / float64(c.total()) }

func (c counts) String() string {
	return fmt.Sprintf("%d junk and %d not junk", c.junk, c.notJunk)
}

// reputations asks one History after the other.
type reputations struct {
	m *Message
	t Thresholds
}

// recent returns the newest messages of a key that count.
func (r reputations) recent(k Key, window time.Duration) []Classified {
	list := r.m.Histories[k].Recent
	list = list[:min(len(list), KeepMax(k.Kind))]
	for i, c := range list {
		if r.m.Now.Sub(c.At) > window {
			return list[:i]
		}
	}
	return list
}

func (r reputations) counts(k Key, window time.Duration) (c counts) {
	different := map[uint32]bool{}
	for _, m := range r.recent(k, window) {
		if !m.Junk {
			c.notJunk++
			continue
		}
		c.junk++
		if m.Localpart != 0 {
			different[m.Localpart] = true
		}
	}
	c.localparts = len(different)
	return c
}

// find returns the reputation of the message's sender: the first that is found.
func (r reputations) find() reputation {
	s := r.m.Sender
	domain := domainOf(s.From)
	for _, step := range []func() (reputation, bool){
		r.address,
		func() (reputation, bool) {
			return reputation{MethodToAddress, good, true, "the account has written to " + s.From}, s.From != "" && r.m.SentTo.Address
		},
		func() (reputation, bool) { return r.domain(MethodFromDomain, FromDomain, domain) },
		func() (reputation, bool) {
			return reputation{MethodToDomain, good, false, "the account has written to others at " + domain}, domain != "" && r.m.SentTo.Domain
		},
		func() (reputation, bool) { return r.domain(MethodFromOrg, FromOrg, s.FromOrg) },
		func() (reputation, bool) {
			return reputation{MethodToOrg, good, false, "the account has written to others below " + s.FromOrg}, s.FromOrg != "" && r.m.SentTo.Org
		},
		r.signers,
		r.networks,
	} {
		if rep, ok := step(); ok {
			return rep
		}
	}
	return reputation{method: MethodNone, finding: "the sender is not known"}
}

// address looks at mail from the same address.
func (r reputations) address() (reputation, bool) {
	from, valid := r.m.Sender.From, r.valid()
	if from == "" {
		return reputation{}, false
	}
	verified := r.recent(Key{FromAddress, true, from}, r.t.AddressWindow)
	if !valid && len(verified) == 0 && r.m.SentTo.Address {
		// A correspondent whose mail can't be verified doesn't answer for those who forge
		// it: that the account has written there says more than what was marked.
		return reputation{}, false
	}
	if list := r.recent(Key{FromAddress, valid, from}, r.t.AddressWindow); len(list) > 0 {
		rep := reputation{MethodFromAddress, addressSignal(list), valid, fmt.Sprintf("%s before from %s (%s): the newest was %s", plural(len(list)), from, validText(valid), junkText(list[0].Junk))}
		return rep, true
	}
	if valid || len(verified) == 0 {
		return reputation{}, false
	}
	// Mail that was always verified comes without: somebody else may have written it.
	conclusive := addressSignal(verified) == bad
	return reputation{MethodFromAddress, bad, conclusive, "not verified, though mail from " + from + " was before"}, true
}

// addressSignal returns what the last one or two messages of an address say.
func addressSignal(list []Classified) signal {
	if list[0].Junk && (len(list) == 1 || list[1].Junk) {
		return bad
	}
	return good
}

// domain looks at mail from other addresses of a domain.
func (r reputations) domain(method Method, kind Kind, domain string) (reputation, bool) {
	if domain == "" {
		return reputation{}, false
	}
	valid := r.valid()
	if c := r.counts(Key{kind, valid, domain}, r.t.DomainWindow); c.total() > 0 {
		rep := reputation{method: method, finding: fmt.Sprintf("from %s (%s) before: %s", domain, validText(valid), c)}
		switch {
		case 1-c.fraction() > r.t.DomainGood:
			rep.signal, rep.conclusive = good, valid
		case c.notJunk == 0:
			rep.signal, rep.conclusive = bad, c.localparts >= r.t.DomainLocalparts
		}
		return rep, true
	}
	if valid {
		return reputation{}, false
	}
	c := r.counts(Key{kind, true, domain}, r.t.DomainWindow)
	if c.total() == 0 {
		return reputation{}, false
	}
	conclusive := c.notJunk == 0 && c.localparts >= r.t.DomainLocalparts
	return reputation{method, bad, conclusive, fmt.Sprintf("not verified, though mail from %s was before: %s", domain, c)}, true
}

// signers looks at the domains that vouch for the message.
func (r reputations) signers() (reputation, bool) {
	var goods, bads, mixed []string
	total := 0
	for _, k := range r.signerKeys() {
		c := r.counts(k, r.t.SignerWindow)
		if c.total() == 0 {
			continue
		}
		total = max(total, c.total())
		text := fmt.Sprintf("%s %s", k.Value, c)
		switch f := c.fraction(); {
		case f < r.t.SignerGood:
			goods = append(goods, text)
		case f > r.t.SignerBad:
			bads = append(bads, text)
		default:
			mixed = append(mixed, text)
		}
	}
	all := append(append(append([]string{}, goods...), bads...), mixed...)
	if len(all) == 0 {
		return reputation{}, false
	}
	rep := reputation{method: MethodSigner, finding: "verified before: " + strings.Join(all, ", ")}
	switch {
	case len(mixed) > 0:
	case len(bads) == 0:
		rep.signal, rep.conclusive = good, total > 1
	case len(goods) == 0:
		rep.signal, rep.conclusive = bad, total > 1
	}
	return rep, true
}

// signerKeys returns the verified domains of the message: those of DKIM, and the
// one of SPF by what is known of it, the narrowest first.
func (r reputations) signerKeys() (keys []Key) {
	s := r.m.Sender
	for _, d := range s.DKIM {
		keys = append(keys, Key{DKIMDomain, true, d})
	}
	var spf []Key
	if s.MailFromVerified && s.MailFrom != "" {
		spf = append(spf, Key{MailFromAddress, true, s.MailFrom}, Key{MailFromDomain, true, domainOf(s.MailFrom)})
	}
	if s.HelloVerified && s.Hello != "" {
		spf = append(spf, Key{HelloDomain, true, s.Hello})
	}
	for _, k := range spf {
		if r.counts(k, r.t.SignerWindow).total() > 0 {
			return append(keys, k)
		}
	}
	return keys
}

// networks looks at the networks around the peer: at the narrowest that has sent
// enough, or else at the narrowest that has sent anything.
func (r reputations) networks() (reputation, bool) {
	var few reputation
	for i, value := range Networks(r.m.Sender.IP) {
		if value == "" {
			break
		}
		c := r.counts(Key{Net1 + Kind(i), false, value}, r.t.NetworkWindow)
		if c.total() == 0 {
			continue
		}
		rep := reputation{method: [...]Method{MethodIP1, MethodIP2, MethodIP3}[i], finding: fmt.Sprintf("from %s before: %s", value, c)}
		f := c.fraction()
		switch {
		case f < r.t.NetworkGood:
			rep.signal = good
		case f > r.t.NetworkBad:
			rep.signal = bad
		}
		if c.total() >= r.t.NetworkMin[i] {
			rep.conclusive = rep.signal != unsure && math.Min(f, 1-f) <= r.t.NetworkSure
			return rep, true
		}
		if few.method == "" {
			few = rep
		}
	}
	return few, few.method != ""
}

func (r reputations) valid() bool { return r.m.Sender.Validation != ValidationNone }

// trusted returns whether a verified domain has sent enough mail that was not
// junk, and hardly any that was: its word then counts about the mail of others.
func (r reputations) trusted(keys ...Key) bool {
	for _, k := range keys {
		if c := r.counts(k, r.t.SignerWindow); c.notJunk >= r.t.TrustedMessages && c.fraction() < r.t.SignerGood {
			return true
		}
	}
	return false
}

func plural(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

func validText(valid bool) string {
	if valid {
		return "verified"
	}
	return "not verified"
}

func junkText(junk bool) string {
	if junk {
		return "junk"
	}
	return "not junk"
}
