package screen

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// with changes the evidence of a case.
type with func(m *Message)

// history adds messages of a key, newest first: j for junk, n for not junk, each
// an hour older than the one before, the first as old as age.
func history(kind Kind, valid bool, value, messages string, age time.Duration) with {
	return func(m *Message) {
		var h History
		for i, c := range messages {
			h.Recent = append(h.Recent, Classified{At: m.Now.Add(-age - time.Duration(i)*time.Hour), Junk: c == 'j', Localpart: uint32(i%2 + 1)})
		}
		m.Histories[Key{kind, valid, value}] = h
	}
}

// people gives the messages of a history as many different localparts.
func people(kind Kind, valid bool, value string, n int) with {
	return func(m *Message) {
		for i := range m.Histories[Key{kind, valid, value}].Recent {
			m.Histories[Key{kind, valid, value}].Recent[i].Localpart = uint32(i%n + 1)
		}
	}
}

func from(address string, v Validation) with {
	return func(m *Message) {
		m.Sender.From, m.Sender.FromOrg, m.Sender.Validation = address, "example.org", v
	}
}

func signedBy(domains ...string) with { return func(m *Message) { m.Sender.DKIM = domains } }

func envelope(address string, verified bool) with {
	return func(m *Message) { m.Sender.MailFrom, m.Sender.MailFromVerified = address, verified }
}

func hello(domain string, verified bool) with {
	return func(m *Message) { m.Sender.Hello, m.Sender.HelloVerified = domain, verified }
}

func peer(ip string) with { return func(m *Message) { m.Sender.IP = netip.MustParseAddr(ip) } }

func content(p float64, significant bool) with {
	return func(m *Message) { m.Content = &Content{Probability: p, Significant: significant, Threshold: 0.95} }
}

func listed(zones ...string) with {
	return func(m *Message) { m.Blocklists = &Blocklists{Listed: zones, Text: "see there"} }
}

func spf(result string) with     { return func(m *Message) { m.SPF = result } }
func reverse(result string) with { return func(m *Message) { m.Reverse = result } }
func plain(m *Message)           { m.Plain = true }
func notToMe(m *Message)         { m.NotToMe = true }
func sentTo(m *Message)          { m.SentTo.Address = true }
func sentToDomain(m *Message)    { m.SentTo.Domain = true }
func sentToOrg(m *Message)       { m.SentTo.Org = true }
func forwarded(m *Message)       { m.Forwarded = true }
func list(m *Message)            { m.ListDomain = "list.example" }
func introbox(m *Message)        { m.Introbox = "Intro" }
func firstWait(m *Message)       { m.FirstWait = 15 * time.Second }
func rejectsTo(m *Message)       { m.RejectsTo = "Spam" }
func noFilter(m *Message)        { m.Content = &Content{Off: true} }
func ours(m *Message)            { m.Ours = true }
func passPresent(m *Message)     { m.SubjectPass = PassPresent }
func passOffer(m *Message)       { m.SubjectPass, m.SubjectPassOffer = PassAbsent, "(pass:x)" }
func authRequired(m *Message)    { m.AuthRequired = "verified mail only, please" }
func dmarcFails(m *Message)      { m.DMARC = DMARC{Result: "fail", Reject: true} }

func dmarc(result string) with { return func(m *Message) { m.DMARC.Result = result } }
func report(r Report) with     { return func(m *Message) { m.Report = r } }
func sealed(by string) with    { return func(m *Message) { m.ARC = ARC{by, true} } }
func sealedBad(by string) with { return func(m *Message) { m.ARC = ARC{by, false} } }

// Senders of many cases.
var (
	known    = from("ann@mail.example.org", ValidationStrict)
	unproven = from("ann@mail.example.org", ValidationNone)
)

const (
	ann    = "ann@mail.example.org"
	domain = "mail.example.org"
	org    = "example.org"
)

// analysisCases are messages with the verdict: "accept", "slow", "mailbox", or the
// reply code, and the reason, then the mailbox if it is another one.
var analysisCases = []struct {
	name string
	with []with
	want string
}{
	{"nothing is known", nil, "accept no-bad-signals"},
	{"nothing is known, and there is no filter", []with{noFilter}, "accept no-bad-signals"},
	{"nothing is known, with a delay", []with{firstWait}, "slow no-bad-signals"},
	{"nothing is known, without an address in From", []with{from("", ValidationNone), firstWait}, "slow no-bad-signals"},

	// Lists.
	{"a list with a rule", []with{list}, "accept list-allow"},
	{"a list with a rule although DMARC fails", []with{list, dmarcFails}, "accept list-allow"},
	{"a list with a rule although it is listed", []with{list, listed("bl.example")}, "accept list-allow"},
	{"a list with a rule although its content is junk", []with{list, content(1, true)}, "accept list-allow"},
	{"a list with a rule although the author is known for junk", []with{list, known, history(FromAddress, true, ann, "jj", 0)}, "accept list-allow"},
	{"a list with a rule waits for nothing", []with{list, firstWait}, "accept list-allow"},
	{"a list with a rule is not introduced", []with{list, introbox}, "accept list-allow"},
	{"a list with a rule that takes only verified mail", []with{list, authRequired}, "accept list-allow"},

	// DMARC.
	{"DMARC passes", []with{dmarc("pass")}, "accept no-bad-signals"},
	{"DMARC fails without a policy", []with{dmarc("fail")}, "accept no-bad-signals"},
	{"DMARC fails with a policy", []with{dmarcFails}, "550 dmarc-policy"},
	{"DMARC fails and the author is known", []with{dmarcFails, unproven, history(FromAddress, false, ann, "nn", 0)}, "550 dmarc-policy"},
	{"DMARC fails and we wrote to the author", []with{dmarcFails, unproven, sentTo}, "550 dmarc-policy"},
	{"DMARC fails with a token in the subject", []with{dmarcFails, passPresent}, "550 dmarc-policy"},
	{"DMARC fails for a report", []with{dmarcFails, report(DMARCReport)}, "550 dmarc-policy"},
	{"DMARC is not known for now", []with{dmarc("temperror")}, "accept no-bad-signals"},
	{"DMARC's record is wrong", []with{dmarc("permerror")}, "accept no-bad-signals"},
	{"DMARC fails for forwarded mail", []with{dmarcFails, forwarded}, "accept no-bad-signals"},
	{"DMARC fails for mail of a trusted list without a rule", []with{dmarcFails, envelope("b@list.example", true), signedBy("list.example"),
		history(MailFromDomain, true, "list.example", "nnn", 0), history(DKIMDomain, true, "list.example", "nnn", 0)}, "accept dkimspf"},
	{"DMARC fails for a list below the domain that signs", []with{dmarcFails, envelope("b@bounce.list.example", true), signedBy("list.example"),
		history(MailFromDomain, true, "bounce.list.example", "nnn", 0), history(DKIMDomain, true, "list.example", "nnn", 0)}, "accept dkimspf"},
	{"DMARC fails for a list that has sent little", []with{dmarcFails, envelope("b@list.example", true), signedBy("list.example"),
		history(MailFromDomain, true, "list.example", "nn", 0), history(DKIMDomain, true, "list.example", "nnn", 0)}, "550 dmarc-policy"},
	{"DMARC fails for a list that sends junk too", []with{dmarcFails, envelope("b@list.example", true), signedBy("list.example"),
		history(MailFromDomain, true, "list.example", "nnnj", 0), history(DKIMDomain, true, "list.example", "nnn", 0)}, "550 dmarc-policy"},
	{"DMARC fails for a list that was long ago", []with{dmarcFails, envelope("b@list.example", true), signedBy("list.example"),
		history(MailFromDomain, true, "list.example", "nnn", 200*day), history(DKIMDomain, true, "list.example", "nnn", 0)}, "550 dmarc-policy"},
	{"DMARC fails for a list without its envelope", []with{dmarcFails, envelope("b@list.example", false), signedBy("list.example"),
		history(MailFromDomain, true, "list.example", "nnn", 0), history(DKIMDomain, true, "list.example", "nnn", 0)}, "550 dmarc-policy"},
	{"DMARC fails for a list without its signature", []with{dmarcFails, envelope("b@list.example", true),
		history(MailFromDomain, true, "list.example", "nnn", 0), history(DKIMDomain, true, "list.example", "nnn", 0)}, "550 dmarc-policy"},
	{"DMARC fails for another customer of a service", []with{dmarcFails, envelope("b@spam.example", true), signedBy("service.example"),
		history(MailFromDomain, true, "spam.example", "nnn", 0), history(DKIMDomain, true, "service.example", "nnn", 0)}, "550 dmarc-policy"},
	{"DMARC fails, sealed by a trusted forwarder", []with{dmarcFails, sealed("fwd.example"), history(HelloDomain, true, "fwd.example", "nnn", 0)}, "accept no-bad-signals"},
	{"DMARC fails, sealed by a trusted signer", []with{dmarcFails, sealed("fwd.example"), history(DKIMDomain, true, "fwd.example", "nnnn", 0)}, "accept no-bad-signals"},
	{"DMARC fails, sealed by somebody who sent little", []with{dmarcFails, sealed("fwd.example"), history(DKIMDomain, true, "fwd.example", "nn", 0)}, "550 dmarc-policy"},
	{"DMARC fails, sealed by a stranger", []with{dmarcFails, sealed("fwd.example")}, "550 dmarc-policy"},
	{"DMARC fails, sealed by a sender of junk", []with{dmarcFails, sealed("fwd.example"), history(DKIMDomain, true, "fwd.example", "nnnjj", 0)}, "550 dmarc-policy"},
	{"DMARC failed already where it was sealed", []with{dmarcFails, sealedBad("fwd.example"), history(DKIMDomain, true, "fwd.example", "nnn", 0)}, "550 dmarc-policy"},
	{"DMARC excused does not make it good", []with{dmarcFails, sealed("fwd.example"), history(DKIMDomain, true, "fwd.example", "nnn", 0), content(0.99, true)}, "451 junk-content"},

	// Verified senders only.
	{"an address for verified mail gets some", []with{authRequired, known}, "accept no-bad-signals"},
	{"an address for verified mail gets other", []with{authRequired, unproven}, "550 msg-auth-required"},
	{"an address for verified mail when DMARC is not known", []with{authRequired, unproven, dmarc("temperror")}, "451 msg-auth-required"},
	{"an address for verified mail, verified the relaxed way", []with{authRequired, from(ann, ValidationRelaxed)}, "accept no-bad-signals"},
	{"an address for verified mail gets that of a user", []with{authRequired, ours, unproven}, "accept local-user"},

	// Our own users.
	{"mail of a user", []with{ours, known}, "accept local-user"},
	{"mail of a user is not judged", []with{ours, known, content(1, true), plain, listed("bl.example")}, "accept local-user"},
	{"mail of a user waits for nothing", []with{ours, known, firstWait, introbox}, "accept local-user"},

	// The address in From.
	{"a known sender", []with{known, history(FromAddress, true, ann, "n", 0)}, "accept msgfromfull"},
	{"a known sender whose content looks like junk", []with{known, history(FromAddress, true, ann, "n", 0), content(1, true)}, "accept msgfromfull"},
	{"a known sender on a blocklist", []with{known, history(FromAddress, true, ann, "n", 0), listed("bl.example")}, "accept msgfromfull"},
	{"a known sender waits for nothing", []with{known, history(FromAddress, true, ann, "n", 0), firstWait}, "accept msgfromfull"},
	{"a known sender without TLS", []with{known, history(FromAddress, true, ann, "n", 0), plain, reverse("fail"), spf("fail")}, "accept msgfromfull"},
	{"a sender of one junk message", []with{known, history(FromAddress, true, ann, "j", 0)}, "451 msgfromfull"},
	{"a sender of two junk messages", []with{known, history(FromAddress, true, ann, "jj", 0)}, "451 msgfromfull"},
	{"a sender whose last was junk, the one before not", []with{known, history(FromAddress, true, ann, "jn", 0)}, "accept msgfromfull"},
	{"a sender whose last was not junk, the one before was", []with{known, history(FromAddress, true, ann, "nj", 0)}, "accept msgfromfull"},
	{"older messages don't count", []with{known, history(FromAddress, true, ann, "jnj", 0)}, "accept msgfromfull"},
	{"a good message almost three years ago", []with{known, history(FromAddress, true, ann, "n", 3*365*day-time.Hour)}, "accept msgfromfull"},
	{"junk more than three years ago", []with{known, history(FromAddress, true, ann, "j", 3*365*day+time.Hour)}, "accept no-bad-signals"},
	{"junk of which one is too old", []with{known, history(FromAddress, true, ann, "jn", 3*365*day-time.Minute)}, "451 msgfromfull"},
	{"a known sender, verified by DMARC", []with{from(ann, ValidationDMARC), history(FromAddress, true, ann, "n", 0)}, "accept msgfromfull"},
	{"a known sender, verified the relaxed way", []with{from(ann, ValidationRelaxed), history(FromAddress, true, ann, "n", 0)}, "accept msgfromfull"},
	{"a known sender who is never verified", []with{unproven, history(FromAddress, false, ann, "nn", 0)}, "accept no-bad-signals"},
	{"a known sender who is never verified, with junk", []with{unproven, history(FromAddress, false, ann, "nn", 0), content(0.96, true)}, "451 junk-content"},
	{"a known sender who is never verified, with odd content", []with{unproven, history(FromAddress, false, ann, "nn", 0), content(0.9, true)}, "accept no-bad-signals"},
	{"a sender of junk who is never verified", []with{unproven, history(FromAddress, false, ann, "jj", 0)}, "accept no-bad-signals"},
	{"a sender of junk who is never verified, with odd content", []with{unproven, history(FromAddress, false, ann, "jj", 0), content(0.5, true)}, "451 junk-content-strict"},
	{"a correspondent who is never verified, after forged junk", []with{unproven, history(FromAddress, false, ann, "jjn", 0), sentTo, content(0.96, true)}, "accept msgtofull"},
	{"a correspondent who was verified, after forged junk", []with{unproven, history(FromAddress, false, ann, "jj", 0), history(FromAddress, true, ann, "n", 0), sentTo, content(0.5, true)}, "451 junk-content-strict"},
	{"a forged known sender", []with{unproven, history(FromAddress, true, ann, "nn", 0)}, "accept no-bad-signals"},
	{"a forged known sender with odd content", []with{unproven, history(FromAddress, true, ann, "nn", 0), content(0.5, true)}, "451 junk-content-strict"},
	{"a forged sender of junk", []with{unproven, history(FromAddress, true, ann, "jj", 0)}, "451 msgfromfull"},
	{"unverified history comes before verified", []with{unproven, history(FromAddress, true, ann, "jj", 0), history(FromAddress, false, ann, "n", 0)}, "accept no-bad-signals"},
	{"verified junk is not held against what never was verified", []with{known, history(FromAddress, false, ann, "jj", 0)}, "accept no-bad-signals"},
	{"the sender's history comes before that of the domain", []with{known, history(FromAddress, true, ann, "n", 0), history(FromDomain, true, domain, "jjjj", 0)}, "accept msgfromfull"},
	{"the sender's junk comes before that we wrote", []with{known, history(FromAddress, true, ann, "jj", 0), sentTo}, "451 msgfromfull"},

	// Whom we wrote to.
	{"we wrote to the sender", []with{unproven, sentTo}, "accept msgtofull"},
	{"we wrote to the sender, who looks like junk", []with{unproven, sentTo, content(1, true), plain, notToMe, listed("bl.example"), firstWait}, "accept msgtofull"},
	{"we wrote to the sender, forged", []with{unproven, sentTo, history(FromAddress, true, ann, "nn", 0), content(0.5, true)}, "451 junk-content-strict"},
	{"we wrote to another there", []with{unproven, sentToDomain}, "accept no-bad-signals"},
	{"we wrote to another there, with odd content", []with{unproven, sentToDomain, content(0.9, true)}, "accept no-bad-signals"},
	{"we wrote to another there, with junk", []with{unproven, sentToDomain, content(0.96, true)}, "451 junk-content"},
	{"we wrote to another there, and SPF fails", []with{unproven, sentToDomain, spf("fail")}, "accept no-bad-signals"},
	{"we wrote to the organisation", []with{unproven, sentToOrg, spf("fail")}, "accept no-bad-signals"},
	{"we wrote to the organisation, with junk", []with{unproven, sentToOrg, content(0.96, true)}, "451 junk-content"},
	{"we wrote there, but the domain is known for junk", []with{known, sentToDomain, history(FromDomain, true, domain, "jjj", 0), people(FromDomain, true, domain, 3)}, "451 msgfromdomain"},

	// The domain in From.
	{"a good domain", []with{known, history(FromDomain, true, domain, "n", 0)}, "accept msgfromdomain"},
	{"a good domain with one in six junk", []with{known, history(FromDomain, true, domain, "nnnnnj", 0)}, "accept msgfromdomain"},
	{"a domain with one in five junk", []with{known, history(FromDomain, true, domain, "nnnnj", 0)}, "accept no-bad-signals"},
	{"a domain with one in five junk, content too", []with{known, history(FromDomain, true, domain, "nnnnj", 0), content(0.96, true)}, "451 junk-content"},
	{"a good domain, not verified", []with{unproven, history(FromDomain, false, domain, "nnn", 0), content(0.96, true)}, "451 junk-content"},
	{"a domain of junk, of one person", []with{known, history(FromDomain, true, domain, "jjj", 0), people(FromDomain, true, domain, 1)}, "accept no-bad-signals"},
	{"a domain of junk, of two", []with{known, history(FromDomain, true, domain, "jjjj", 0), people(FromDomain, true, domain, 2), content(0.3, true)}, "451 junk-content-strict"},
	{"a domain of junk, of three", []with{known, history(FromDomain, true, domain, "jjj", 0), people(FromDomain, true, domain, 3)}, "451 msgfromdomain"},
	{"a domain of junk, of three, not verified", []with{unproven, history(FromDomain, false, domain, "jjj", 0), people(FromDomain, false, domain, 3)}, "451 msgfromdomain"},
	{"a domain of junk almost two years ago", []with{known, history(FromDomain, true, domain, "jjj", 2*365*day-3*time.Hour), people(FromDomain, true, domain, 3)}, "451 msgfromdomain"},
	{"a domain of junk more than two years ago", []with{known, history(FromDomain, true, domain, "jjj", 2*365*day+time.Hour), people(FromDomain, true, domain, 3)}, "accept no-bad-signals"},
	{"only twenty messages of a domain count", []with{known, history(FromDomain, true, domain, strings.Repeat("n", 20)+strings.Repeat("j", 20), 0)}, "accept msgfromdomain"},
	{"a forged good domain", []with{unproven, history(FromDomain, true, domain, "nnn", 0), content(0.5, true)}, "451 junk-content-strict"},
	{"a forged good domain with good content", []with{unproven, history(FromDomain, true, domain, "nnn", 0)}, "accept no-bad-signals"},
	{"a forged domain of junk", []with{unproven, history(FromDomain, true, domain, "jjj", 0), people(FromDomain, true, domain, 3)}, "451 msgfromdomain"},
	{"a mixed domain goes no further", []with{known, history(FromDomain, true, domain, "nj", 0), history(FromOrg, true, org, "jjj", 0), people(FromOrg, true, org, 3)}, "accept no-bad-signals"},

	// The organisation.
	{"a good organisation", []with{known, history(FromOrg, true, org, "nnn", 0)}, "accept msgfromorgdomain"},
	{"an organisation of junk", []with{known, history(FromOrg, true, org, "jjj", 0), people(FromOrg, true, org, 3)}, "451 msgfromorgdomain"},
	{"an organisation of junk of one", []with{known, history(FromOrg, true, org, "jjj", 0), people(FromOrg, true, org, 1), content(0.3, true)}, "451 junk-content-strict"},
	{"the domain comes before the organisation", []with{known, history(FromDomain, true, domain, "n", 0), history(FromOrg, true, org, "jjj", 0)}, "accept msgfromdomain"},
	{"we wrote to the domain comes before the organisation", []with{known, sentToDomain, history(FromOrg, true, org, "jjj", 0), people(FromOrg, true, org, 3)}, "accept no-bad-signals"},
	{"a forged organisation", []with{unproven, history(FromOrg, true, org, "nnn", 0), content(0.5, true)}, "451 junk-content-strict"},

	// Verified domains.
	{"a good signer", []with{signedBy("esp.example"), history(DKIMDomain, true, "esp.example", "nn", 0)}, "accept dkimspf"},
	{"a good signer of one message", []with{signedBy("esp.example"), history(DKIMDomain, true, "esp.example", "n", 0), content(0.96, true)}, "451 junk-content"},
	{"a good signer with one in ten junk", []with{signedBy("esp.example"), history(DKIMDomain, true, "esp.example", "nnnnnnnnnj", 0), content(0.96, true)}, "451 junk-content"},
	{"a good signer with one in eleven junk", []with{signedBy("esp.example"), history(DKIMDomain, true, "esp.example", "nnnnnnnnnnj", 0)}, "accept dkimspf"},
	{"a bad signer", []with{signedBy("esp.example"), history(DKIMDomain, true, "esp.example", "jj", 0)}, "451 dkimspf"},
	{"a bad signer of one message", []with{signedBy("esp.example"), history(DKIMDomain, true, "esp.example", "j", 0), content(0.3, true)}, "451 junk-content-strict"},
	{"a bad signer with one in ten good", []with{signedBy("esp.example"), history(DKIMDomain, true, "esp.example", "jjjjjjjjjn", 0)}, "accept no-bad-signals"},
	{"a good and a bad signer", []with{signedBy("a.example", "b.example"), history(DKIMDomain, true, "a.example", "nnn", 0), history(DKIMDomain, true, "b.example", "jjj", 0)}, "accept no-bad-signals"},
	{"a bad signer and an unknown one", []with{signedBy("a.example", "b.example"), history(DKIMDomain, true, "b.example", "jjj", 0)}, "451 dkimspf"},
	{"a bad signer more than half a year ago", []with{signedBy("a.example"), history(DKIMDomain, true, "a.example", "jjj", 183*day)}, "accept no-bad-signals"},
	{"a bad address in MAIL FROM", []with{envelope("x@esp.example", true), history(MailFromAddress, true, "x@esp.example", "jj", 0)}, "451 dkimspf"},
	{"a bad domain in MAIL FROM", []with{envelope("x@esp.example", true), history(MailFromDomain, true, "esp.example", "jj", 0)}, "451 dkimspf"},
	{"a good address in a bad domain", []with{envelope("x@esp.example", true), history(MailFromAddress, true, "x@esp.example", "nn", 0), history(MailFromDomain, true, "esp.example", "jj", 0)}, "accept dkimspf"},
	{"a bad name in EHLO", []with{hello("mx.esp.example", true), history(HelloDomain, true, "mx.esp.example", "jj", 0)}, "451 dkimspf"},
	{"a bad name in EHLO that is not verified", []with{hello("mx.esp.example", false), history(HelloDomain, true, "mx.esp.example", "jj", 0)}, "accept no-bad-signals"},
	{"a good signer and a bad sender", []with{signedBy("a.example"), envelope("x@b.example", true), history(DKIMDomain, true, "a.example", "nn", 0), history(MailFromDomain, true, "b.example", "jj", 0)}, "accept no-bad-signals"},
	{"the domain in From comes before the signer", []with{known, signedBy("a.example"), history(FromDomain, true, domain, "n", 0), history(DKIMDomain, true, "a.example", "jj", 0)}, "accept msgfromdomain"},

	// Networks.
	{"a good address", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "nn", 0)}, "accept ip1"},
	{"a good address of one message", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "n", 0), content(0.96, true)}, "451 junk-content"},
	{"a bad address", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "jj", 0)}, "451 ip1"},
	{"a bad address of one message", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "j", 0), content(0.3, true)}, "451 junk-content-strict"},
	{"an address with two in ten junk", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "nnnnnnnnjj", 0), content(0.96, true)}, "451 junk-content"},
	{"an address with one in ten junk", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "nnnnnnnnnj", 0)}, "accept ip1"},
	{"an address with one in ten good", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "jjjjjjjjjn", 0)}, "451 ip1"},
	{"an address with half junk", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "jn", 0)}, "accept no-bad-signals"},
	{"a bad neighbourhood", []with{peer("192.0.2.1"), history(Net2, false, "192.0.2.0/26", "jjjjj", 0)}, "451 ip2"},
	{"a bad neighbourhood of four", []with{peer("192.0.2.1"), history(Net2, false, "192.0.2.0/26", "jjjj", 0)}, "accept no-bad-signals"},
	{"a bad provider", []with{peer("192.0.2.1"), history(Net3, false, "192.0.0.0/21", "jjjjjjjjjj", 0)}, "451 ip3"},
	{"a bad provider of nine", []with{peer("192.0.2.1"), history(Net3, false, "192.0.0.0/21", "jjjjjjjjj", 0)}, "accept no-bad-signals"},
	{"too little of the address, enough of the neighbourhood", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "n", 0), history(Net2, false, "192.0.2.0/26", "jjjjj", 0)}, "451 ip2"},
	{"a bad address more than three months ago", []with{peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "jj", 92*day)}, "accept no-bad-signals"},
	{"a bad address, IPv6", []with{peer("2001:db8:1:2::1"), history(Net1, false, "2001:db8:1:2::/64", "jj", 0)}, "451 ip1"},
	{"a good neighbourhood, IPv6", []with{peer("2001:db8:1:2::1"), history(Net2, false, "2001:db8:1::/48", "nnnnn", 0)}, "accept ip2"},
	{"a signer comes before the network", []with{peer("192.0.2.1"), signedBy("a.example"), history(DKIMDomain, true, "a.example", "nn", 0), history(Net1, false, "192.0.2.1/32", "jj", 0)}, "accept dkimspf"},

	// Introductions.
	{"a stranger", []with{introbox}, "accept no-bad-signals Intro"},
	{"a stranger waits", []with{introbox, firstWait}, "slow no-bad-signals Intro"},
	{"a known sender is not introduced", []with{introbox, known, history(FromAddress, true, ann, "n", 0)}, "accept msgfromfull"},
	{"whom we wrote to is not introduced", []with{introbox, unproven, sentTo}, "accept msgtofull"},
	{"a stranger of a good domain", []with{introbox, known, history(FromDomain, true, domain, "n", 0)}, "accept msgfromdomain Intro"},
	{"forwarded mail is not introduced", []with{introbox, forwarded}, "accept no-bad-signals"},
	{"a report is not introduced", []with{introbox, report(TLSReport)}, "accept reporting"},
	{"mail for another mailbox is not introduced", []with{introbox, func(m *Message) { m.Mailbox = "Work" }}, "accept no-bad-signals"},

	// Reports.
	{"a report", []with{report(DMARCReport)}, "accept reporting"},
	{"a report of a sender without a name", []with{report(DMARCReport), reverse("fail"), spf("fail"), content(1, true), plain}, "accept reporting"},
	{"a report of a sender of junk", []with{report(DMARCReport), known, history(FromAddress, true, ann, "jj", 0)}, "451 msgfromfull"},

	// Names and addresses.
	{"SPF fails for a stranger", []with{spf("fail")}, "451 spf-policy"},
	{"SPF fails softly for a stranger", []with{spf("softfail")}, "451 spf-policy"},
	{"SPF is neutral for a stranger", []with{spf("neutral")}, "accept no-bad-signals"},
	{"SPF is not known for a stranger", []with{spf("temperror")}, "accept no-bad-signals"},
	{"SPF's record is wrong for a stranger", []with{spf("permerror")}, "accept no-bad-signals"},
	{"SPF fails for a network of which little is known", []with{spf("fail"), peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "n", 0)}, "451 spf-policy"},
	{"SPF fails for a domain of which little is known", []with{spf("fail"), known, history(FromDomain, true, domain, "nj", 0)}, "accept no-bad-signals"},
	{"no reverse name", []with{reverse("permerror")}, "accept no-bad-signals"},
	{"no reverse name, nothing learned", []with{reverse("permerror"), content(0.5, false)}, "451 junk-content-strict"},
	{"no reverse name, odd content", []with{reverse("fail"), content(0.3, true)}, "451 junk-content-strict"},
	{"no reverse name, a network with some junk", []with{reverse("fail"), peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "j", 0)}, "451 iprev"},
	{"the reverse name is not known for now", []with{reverse("temperror"), content(0.3, true)}, "451 junk-content-strict"},
	{"a reverse name", []with{reverse("pass"), content(0.3, true)}, "accept no-bad-signals"},
	{"no TLS, odd content", []with{plain, content(0.3, true)}, "451 junk-content-strict"},
	{"no TLS, content at the strict threshold", []with{plain, content(0.25, true)}, "accept no-bad-signals"},
	{"no TLS, nothing learned", []with{plain, content(0.5, false)}, "accept no-bad-signals"},
	{"not to me, odd content", []with{notToMe, content(0.3, true)}, "451 junk-content-strict"},
	{"not to me, but forwarded", []with{notToMe, forwarded, content(0.3, true)}, "accept no-bad-signals"},

	// Content and blocklists.
	{"good content", []with{content(0.01, true)}, "accept no-bad-signals"},
	{"content at the threshold", []with{content(0.95, true)}, "accept no-bad-signals"},
	{"content above the threshold", []with{content(0.951, true)}, "451 junk-content"},
	{"content above the threshold, nothing learned", []with{content(0.951, false)}, "accept no-bad-signals"},
	{"on a blocklist", []with{listed("bl.example")}, "451 dns-blocklisted"},
	{"on two blocklists", []with{listed("bl.example", "zen.example")}, "451 dns-blocklisted"},
	{"on a blocklist with a rule for what is refused", []with{listed("bl.example"), rejectsTo}, "mailbox dns-blocklisted Spam"},
	{"junk with a rule for what is refused", []with{content(1, true), rejectsTo}, "mailbox junk-content Spam"},
	{"DMARC fails with a rule for what is refused", []with{dmarcFails, rejectsTo}, "mailbox dmarc-policy Spam"},
	{"good mail with a rule for what is refused", []with{rejectsTo}, "accept no-bad-signals"},

	// Tokens.
	{"a token", []with{passPresent, content(1, true)}, "accept subjectpass"},
	{"a token on a blocklist", []with{passPresent, listed("bl.example")}, "accept subjectpass"},
	{"a token does not help who is known for junk", []with{passPresent, known, history(FromAddress, true, ann, "jj", 0)}, "451 msgfromfull"},
	{"a token does not help against SPF", []with{passPresent, spf("fail")}, "451 spf-policy"},
	{"a token is offered on a blocklist", []with{passOffer, dmarc("pass"), listed("bl.example")}, "550 give-subjectpass"},
	{"a token is offered for content that is not sure", []with{passOffer, dmarc("pass"), plain, content(0.7, true)}, "550 give-subjectpass"},
	{"no token for sure junk", []with{passOffer, dmarc("pass"), content(0.96, true)}, "451 junk-content"},
	{"no token near the threshold", []with{passOffer, dmarc("pass"), plain, content(0.76, true)}, "451 junk-content-strict"},
	{"no token without DMARC", []with{passOffer, dmarc("none"), listed("bl.example")}, "451 dns-blocklisted"},
	{"no token if something is known", []with{passOffer, dmarc("pass"), peer("192.0.2.1"), history(Net1, false, "192.0.2.1/32", "n", 0), listed("bl.example")}, "451 dns-blocklisted"},
	{"no token if the account gives none", []with{dmarc("pass"), listed("bl.example")}, "451 dns-blocklisted"},

	// Forwarded mail.
	{"forwarded mail waits for nothing", []with{forwarded, firstWait}, "accept no-bad-signals"},
	{"forwarded mail of a known sender", []with{forwarded, known, history(FromAddress, true, ann, "n", 0)}, "accept msgfromfull"},
	{"forwarded junk", []with{forwarded, content(0.96, true)}, "451 junk-content"},
}

// newMessage returns evidence that nothing speaks against, changed.
func newMessage(changes ...with) *Message {
	m := &Message{
		Now: testNow, Mailbox: "Inbox", Histories: Histories{},
		Content: &Content{Probability: 0.1, Significant: true, Threshold: 0.95}, Blocklists: &Blocklists{},
	}
	for _, change := range changes {
		change(m)
	}
	return m
}

func decideMessage(m *Message) Verdict {
	return Decide(Evidence{Recipient: Known, Message: m, Thresholds: DefaultThresholds()})
}

func TestDecideMessage(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, tc := range analysisCases {
		if names[tc.name] {
			t.Errorf("two cases are named %q", tc.name)
		}
		names[tc.name] = true
		v := decideMessage(newMessage(tc.with...))
		got := v.Action.String()
		if !v.Action.Accepts() {
			got = fmt.Sprint(v.Code)
		}
		got += " " + string(v.Reason)
		if v.Mailbox != "" {
			got += " " + v.Mailbox
		}
		// Where refused mail would have gone is of no interest.
		if !v.Action.Accepts() {
			got, _, _ = strings.Cut(got+" Intro", " Intro")
		}
		if got != tc.want {
			t.Errorf("%s: got %s, want %s\n%v", tc.name, got, tc.want, v.Steps)
		}
		checkVerdict(t, tc.name, v)
	}
	if len(names) < 150 {
		t.Errorf("%d cases", len(names))
	}
}

// checkVerdict checks what is true of all verdicts.
func checkVerdict(t *testing.T, name string, v Verdict) {
	t.Helper()
	accepts := v.Action.Accepts()
	switch {
	case !slices.Contains(Reasons(), v.Reason):
		t.Errorf("%s: reason %s is not in the set", name, v.Reason)
	case v.Explanation == "":
		t.Errorf("%s: no explanation", name)
	case accepts != (v.Code == 0) || accepts != (v.Text == "") || accepts != (v.Enhanced == ""):
		t.Errorf("%s: accepted %t with reply %d %s %s", name, accepts, v.Code, v.Enhanced, v.Text)
	case !accepts && !v.Keep:
		t.Errorf("%s: refused, and not kept", name)
	case v.Code == 451 && v.Reason != AuthRequired && v.Text != vague:
		t.Errorf("%s: the sender learns %q", name, v.Text)
	case (v.Action == Slow) != (v.Wait > 0):
		t.Errorf("%s: %v waits %v", name, v.Action, v.Wait)
	}
}

// TestNeeds checks that what costs more is asked for only if the decision depends on it.
func TestNeeds(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		with []with
		want []Needs
	}{
		{"a stranger", nil, []Needs{NeedsContent, NeedsBlocklists}},
		{"a known sender", []with{known, history(FromAddress, true, ann, "n", 0)}, nil},
		{"a sender of junk", []with{known, history(FromAddress, true, ann, "jj", 0)}, nil},
		{"junk", []with{content(1, true)}, []Needs{NeedsContent}},
		{"DMARC fails", []with{dmarcFails}, nil},
		{"a list", []with{list}, nil},
		{"a user", []with{ours}, nil},
		{"SPF fails", []with{spf("fail")}, nil},
		{"a token", []with{passPresent}, nil},
	} {
		m := newMessage(tc.with...)
		c, b := m.Content, m.Blocklists
		m.Content, m.Blocklists = nil, nil
		var got []Needs
		v := decideMessage(m)
		for ; v.Needs != NeedsNothing && len(got) < 5; v = decideMessage(m) {
			got = append(got, v.Needs)
			if v.Needs == NeedsContent {
				m.Content = c
			} else {
				m.Blocklists = b
			}
			if v.Action.Accepts() {
				t.Errorf("%s: accepted before all was known", tc.name)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: needs %v, want %v", tc.name, got, tc.want)
		}
		if again := decideMessage(newMessage(tc.with...)); again.Reason != v.Reason {
			t.Errorf("%s: %s when asked at once, else %s", tc.name, again.Reason, v.Reason)
		}
	}
}

// TestSteps checks that the steps tell the way to the decision.
func TestSteps(t *testing.T) {
	t.Parallel()
	v := decideMessage(newMessage(unproven, dmarcFails, sealed("fwd.example"), history(DKIMDomain, true, "fwd.example", "nnn", 0), plain, introbox, content(0.3, true), rejectsTo))
	var names []string
	for _, s := range v.Steps {
		names = append(names, s.Name)
		if s.Finding == "" {
			t.Errorf("step %s has no finding", s.Name)
		}
	}
	want := []string{"dmarc", "reputation (none)", "introbox", "suspicions", "content", "rejects"}
	if !slices.Equal(names, want) {
		t.Errorf("got steps %q, want %q", names, want)
	}
	if v.Override != OverrideLocal || v.Mailbox != "Spam" || !v.Reject || !v.Seen || v.Destined != "Inbox" {
		t.Errorf("got %+v", v)
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		with []with
		want string
	}{
		{"none", nil, ""},
		{"a list", []with{list, dmarcFails}, OverrideList},
		{"forwarded", []with{forwarded, dmarcFails}, OverrideForwarded},
		{"sealed", []with{dmarcFails, sealed("f.example"), history(DKIMDomain, true, "f.example", "nnn", 0)}, OverrideLocal},
		{"refused", []with{dmarcFails}, ""},
	} {
		if v := decideMessage(newMessage(tc.with...)); v.Override != tc.want {
			t.Errorf("%s: got %q", tc.name, v.Override)
		}
	}
}
