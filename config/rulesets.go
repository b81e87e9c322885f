package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
)

// ruleHeaderMax bounds how much of a header is matched by rulesets, in bytes. Large
// headers of real mail have a tenth of that.
const ruleHeaderMax = 256 << 10

// Rule is a ruleset that is ready to match.
type Rule struct {
	Ruleset Ruleset // As configured.

	// The domains of Ruleset, zero if absent.
	VerifiedDomain  dns.Domain
	ListAllowDomain dns.Domain

	mailFrom, msgFrom *regexp.Regexp // Nil if absent.
	headers           []headerRule
}

// headerRule is a line of HeadersRegexp.
type headerRule struct{ name, value *regexp.Regexp }

// RuleMessage is what rulesets look at.
type RuleMessage struct {
	MailFrom string         // Address in MAIL FROM, empty for the null path.
	From     string         // Address in From, empty if there isn't exactly one.
	Verified []dns.Domain   // Of MAIL FROM or EHLO if SPF passed for it, and of signatures of DKIM that pass.
	Header   message.Header // Of the message as it was received.
}

// Match returns the first ruleset of the address that a message matches, and its
// place in the list. It is not ok if none does.
func (t Target) Match(m RuleMessage) (rule Rule, index int, ok bool) {
	f := &ruleFacts{mailFrom: strings.ToLower(m.MailFrom), from: strings.ToLower(m.From), verified: m.Verified, header: m.Header}
	for i := range t.rules {
		if t.rules[i].matches(f) {
			return t.rules[i], i, true
		}
	}
	return Rule{}, 0, false
}

// HasRules tells whether there are rulesets to match.
func (t Target) HasRules() bool { return len(t.rules) > 0 }

// ruleFacts are a RuleMessage in lower case, the header only once it is needed.
type ruleFacts struct {
	mailFrom, from string
	verified       []dns.Domain
	header         message.Header
	fields         [][2]string // Names and decoded values. Nil: not read yet.
}

// lines returns the fields of the header.
func (f *ruleFacts) lines() [][2]string {
	if f.fields != nil {
		return f.fields
	}
	f.fields = [][2]string{}
	size := 0
	for field := range f.header.Fields() {
		if size += len(field.Raw); size > ruleHeaderMax {
			break
		}
		f.fields = append(f.fields, [2]string{
			strings.ToLower(field.Name),
			strings.ToLower(message.DecodeHeader(field.Value())),
		})
	}
	return f.fields
}

// matches tells whether all conditions hold. The cheap ones come first.
func (r *Rule) matches(f *ruleFacts) bool {
	switch {
	case r.mailFrom != nil && !r.mailFrom.MatchString(f.mailFrom):
		return false
	case r.msgFrom != nil && !r.msgFrom.MatchString(f.from):
		return false
	case !r.VerifiedDomain.IsZero() && !slices.ContainsFunc(f.verified, r.covers):
		return false
	}
	for _, h := range r.headers {
		if !slices.ContainsFunc(f.lines(), h.matches) {
			return false
		}
	}
	return true
}

// covers tells whether d is the domain of the condition or below it.
func (r *Rule) covers(d dns.Domain) bool {
	return d == r.VerifiedDomain || strings.HasSuffix(d.ASCII, "."+r.VerifiedDomain.ASCII)
}

// matches tells whether a field of a header does.
func (h headerRule) matches(field [2]string) bool {
	return h.name.MatchString(field[0]) && h.value.MatchString(field[1])
}

// compileRules makes rulesets ready. Those with mistakes, which are told elsewhere,
// are left out.
func compileRules(list []Ruleset) (rules []Rule) {
	for _, rs := range list {
		if r, ok := compileRule(rs); ok {
			rules = append(rules, r)
		}
	}
	return rules
}

func compileRule(rs Ruleset) (r Rule, ok bool) {
	r.Ruleset = rs
	ok = true
	compile := func(text string) *regexp.Regexp {
		re, err := regexp.Compile(text)
		ok = ok && err == nil
		return re
	}
	optional := func(text string) *regexp.Regexp {
		if text == "" {
			return nil
		}
		return compile(text)
	}
	domain := func(text string) (d dns.Domain) {
		if text != "" {
			var err error
			d, err = dns.ParseDomain(text)
			ok = ok && err == nil
		}
		return d
	}
	r.mailFrom, r.msgFrom = optional(rs.SMTPMailFromRegexp), optional(rs.MsgFromRegexp)
	r.VerifiedDomain, r.ListAllowDomain = domain(rs.VerifiedDomain), domain(rs.ListAllowDomain)
	for name, value := range rs.HeadersRegexp {
		r.headers = append(r.headers, headerRule{compile(name), compile(value)})
	}
	return r, ok && (r.mailFrom != nil || r.msgFrom != nil || !r.VerifiedDomain.IsZero() || len(r.headers) > 0)
}
