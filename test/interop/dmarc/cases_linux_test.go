package dmarc

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dmarc"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/spf"
)

// Addresses of senders. Policies here are about the first.
const (
	good = "192.0.2.1"
	bad  = "198.51.100.9"
)

// zoneText is all of DNS, with the keys in place of RSA, WEAK and EDWARDS. The names
// of domains tell what is special about them. Those that begin with "spf-" also have
// the DMARC policy "reject".
const zoneText = `
spf-pass.example         TXT "v=spf1 ip4:192.0.2.1 -all"
spf-soft.example         TXT "v=spf1 ip4:192.0.2.1 ~all"
spf-neutral.example      TXT "v=spf1 ip4:192.0.2.1 ?all"
spf-default.example      TXT "v=spf1 ip4:192.0.2.1"
spf-syntax.example       TXT "v=spf1 ip4:192.0.2 -all"
spf-two.example          TXT "v=spf1 -all"
spf-two.example          TXT "v=spf1 +all"
spf-temp.example         TXT "v=spf1 include:broken.example -all"
spf-many.example         TXT "v=spf1 a:a1.example a:a2.example a:a3.example a:a4.example a:a5.example a:a6.example a:a7.example a:a8.example a:a9.example a:a10.example a:a11.example ip4:192.0.2.1 -all"
spf-void.example         TXT "v=spf1 a:v1.example a:v2.example a:v3.example ip4:192.0.2.1 -all"
spf-redirect.example     TXT "v=spf1 redirect=spf-pass.example"
spf-include.example      TXT "v=spf1 include:spf-soft.example -all"
spf-missing.example      TXT "v=spf1 include:spf-nothing.example -all"
spf-loop.example         TXT "v=spf1 include:spf-loop.example -all"
spf-mx.example           TXT "v=spf1 mx -all"
spf-mx.example           MX  10 host.example.
spf-a.example            TXT "v=spf1 a:host.example/24 -all"
spf-exists.example       TXT "v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all"
1.2.0.192.in-addr._spf.spf-exists.example A 127.0.0.2
spf-ip6.example          TXT "v=spf1 ip6:2001:db8::/32 -all"
spf-unknown.example      TXT "v=spf1 x=y ip4:192.0.2.1 -all"
helo.example             TXT "v=spf1 ip4:192.0.2.1 -all"
host.example             A   192.0.2.1
a1.example               A   192.0.2.101
a2.example               A   192.0.2.102
a3.example               A   192.0.2.103
a4.example               A   192.0.2.104
a5.example               A   192.0.2.105
a6.example               A   192.0.2.106
a7.example               A   192.0.2.107
a8.example               A   192.0.2.108
a9.example               A   192.0.2.109
a10.example              A   192.0.2.110
a11.example              A   192.0.2.111

rsa._domainkey           TXT "RSA"
rsa._domainkey.signed.example       TXT "RSA"
weak._domainkey.signed.example      TXT "WEAK"
ed._domainkey.signed.example        TXT "EDWARDS"
other._domainkey.signed.example     TXT "EDWARDS"
revoked._domainkey.signed.example   TXT "v=DKIM1; p="
tlsrpt._domainkey.signed.example    TXT "v=DKIM1; s=tlsrpt; RSAKEY"
testing._domainkey.signed.example   TXT "v=DKIM1; t=y; RSAKEY"
sha1._domainkey.signed.example      TXT "v=DKIM1; h=sha1; RSAKEY"
strict._domainkey.signed.example    TXT "v=DKIM1; t=s; RSAKEY"
bare._domainkey.signed.example      TXT "RSAKEY"
broken._domainkey.signed.example    TXT "v=DKIM1; p=!!!!"
rsa._domainkey.sub.signed.example   TXT "RSA"
rsa._domainkey.strict.example       TXT "RSA"
rsa._domainkey.sub.strict.example   TXT "RSA"
rsa._domainkey.third.example        TXT "RSA"
rsa._domainkey.dept.bank.example    TXT "RSA"

_dmarc.signed.example      TXT "v=DMARC1; p=reject"
_dmarc.strict.example      TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
_dmarc.none.example        TXT "v=DMARC1; p=none"
_dmarc.quarantine.example  TXT "v=DMARC1; p=quarantine"
_dmarc.sub.example         TXT "v=DMARC1; p=reject; sp=quarantine"
_dmarc.own.sub.example     TXT "v=DMARC1; p=none"
_dmarc.np.example          TXT "v=DMARC1; p=none; np=reject"
_dmarc.testing.example     TXT "v=DMARC1; p=quarantine; t=y"
_dmarc.pct.example         TXT "v=DMARC1; p=quarantine; pct=0"
_dmarc.two.example         TXT "v=DMARC1; p=reject"
_dmarc.two.example         TXT "v=DMARC1; p=none"
_dmarc.nopolicy.example    TXT "v=DMARC1; rua=mailto:a@nopolicy.example"
_dmarc.badpolicy.example   TXT "v=DMARC1; p=discard"
_dmarc.case.example        TXT "v=DMARC1; P=Reject"
_dmarc.other.example       TXT "some other text"
_dmarc.other.example       TXT "v=DMARC1; p=reject"
_dmarc.version.example     TXT "v=DMARC2; p=reject"
_dmarc.deep.example        TXT "v=DMARC1; p=reject"
_dmarc.bank.example        TXT "v=DMARC1; p=none; psd=y"
_dmarc.giant.bank.example  TXT "v=DMARC1; p=reject"
_dmarc.unit.example        TXT "v=DMARC1; p=reject"
_dmarc.own.unit.example    TXT "v=DMARC1; p=reject; psd=n"
rel.deep.example           TXT "v=spf1 ip4:192.0.2.1 -all"
unit.example               TXT "v=spf1 ip4:192.0.2.1 -all"
mail.giant.bank.example    TXT "v=spf1 ip4:192.0.2.1 -all"
mega.bank.example          TXT "v=spf1 ip4:192.0.2.1 -all"
strict.example             TXT "v=spf1 ip4:192.0.2.1 -all"
sub.strict.example         TXT "v=spf1 ip4:192.0.2.1 -all"
nope.np.example            TXT "v=spf1 -all"
`

// keys are those that messages are signed with.
type keys struct {
	rsa, weak *rsa.PrivateKey
	ed        ed25519.PrivateKey
}

// newKeys makes keys from a seed, so that all runs have the same.
func newKeys(t *testing.T) keys {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	long, err := rsa.GenerateKey(random, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(random, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return keys{long, weak, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))}
}

// zone returns a resolver for all domains.
func (k keys) zone(t *testing.T) *dnstest.Resolver {
	t.Helper()
	public := func(key *rsa.PrivateKey) string {
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		text := "p=" + base64.StdEncoding.EncodeToString(der)
		return text[:200] + `" "` + text[200:]
	}
	ed, ok := k.ed.Public().(ed25519.PublicKey)
	if !ok {
		t.Fatal("not a key")
	}
	text := strings.NewReplacer(
		`"RSA"`, `"v=DKIM1; k=rsa; `+public(k.rsa)+`"`, "RSAKEY", public(k.rsa), `"WEAK"`, `"v=DKIM1; `+public(k.weak)+`"`,
		`"EDWARDS"`, `"v=DKIM1; k=ed25519; p=`+base64.StdEncoding.EncodeToString(ed)+`"`,
	).Replace(zoneText)
	names := map[string]bool{}
	for line := range strings.Lines(zoneText) {
		if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "spf-") && !names[name] {
			names[name] = true
			text += "_dmarc." + name + " TXT \"v=DMARC1; p=reject\"\n"
		}
	}
	r, err := dnstest.New(text)
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("", "broken.example", dnstest.Temporary)
	r.Fail("", "temp._domainkey.signed.example", dnstest.Temporary)
	r.Fail("", "_dmarc.temp.example", dnstest.Temporary)
	return r
}

// mail is a message on its way to us.
type mail struct {
	ip, mailFrom, hello string
	content             []byte
}

// testCase is how a message is made.
type testCase struct {
	name     string
	from     string // Domain in From.
	mailFrom string // Domain in MAIL FROM. "-": the null path, empty: a domain without policy.
	ip       string // Empty: bad.
	sign     string // Signatures as "selector@domain", each maybe with ",options". See signer.
	change   string // A text in the message, and after ">" what it is replaced with.
}

// spfCases have a policy for SPF only.
func spfCases() (cases []testCase) {
	for _, name := range strings.Fields("pass soft neutral default syntax two temp many void redirect include missing loop mx a exists unknown nothing") {
		for _, ip := range []string{good, bad} {
			from := "spf-" + name + ".example"
			cases = append(cases, testCase{name: "spf " + name + " " + ip, from: from, mailFrom: from, ip: ip})
		}
	}
	return cases
}

var otherCases = []testCase{
	{name: "spf over IPv6", from: "spf-ip6.example", mailFrom: "spf-ip6.example", ip: "2001:db8::1"},
	{name: "spf over IPv6, another network", from: "spf-ip6.example", mailFrom: "spf-ip6.example", ip: "2001:db9::1"},
	{name: "spf of a null sender", from: "helo.example", mailFrom: "-", ip: good},
	{name: "spf of a null sender, fail", from: "helo.example", mailFrom: "-"},

	{name: "rsa, relaxed", from: "signed.example", sign: "rsa@signed.example,relaxed"},
	{name: "rsa, simple", from: "signed.example", sign: "rsa@signed.example"},
	{name: "ed25519", from: "signed.example", sign: "ed@signed.example,relaxed"},
	{name: "ed25519, simple", from: "signed.example", sign: "ed@signed.example"},
	{name: "rsa of 1024 bits", from: "signed.example", sign: "weak@signed.example"},
	{name: "both algorithms", from: "signed.example", sign: "rsa@signed.example ed@signed.example"},
	{name: "a key without version", from: "signed.example", sign: "bare@signed.example"},
	{name: "a strict key", from: "signed.example", sign: "strict@signed.example"},
	{name: "the body was changed", from: "signed.example", sign: "rsa@signed.example,relaxed", change: "hello>hullo"},
	{name: "a line was added", from: "signed.example", sign: "rsa@signed.example,relaxed", change: "bye\r\n>bye\r\nP.S.: buy\r\n"},
	{name: "blank lines were added", from: "signed.example", sign: "rsa@signed.example", change: "bye\r\n>bye\r\n\r\n\r\n"},
	{name: "the subject was changed", from: "signed.example", sign: "rsa@signed.example,relaxed", change: "Subject: a>Subject: b"},
	{name: "space in the header, relaxed", from: "signed.example", sign: "rsa@signed.example,relaxed", change: "Subject: a>subject:  a"},
	{name: "space in the header, simple", from: "signed.example", sign: "rsa@signed.example", change: "Subject: a>Subject:  a"},
	{name: "space in the body, relaxed", from: "signed.example", sign: "rsa@signed.example,relaxed", change: "hello you>hello  you "},
	{name: "a second subject", from: "signed.example", sign: "rsa@signed.example,relaxed", change: "Subject: a\r\n>Subject: a\r\nSubject: b\r\n"},
	{name: "no key", from: "signed.example", sign: "none@signed.example"},
	{name: "a revoked key", from: "signed.example", sign: "revoked@signed.example"},
	{name: "a key that is none", from: "signed.example", sign: "broken@signed.example"},
	{name: "a key of another algorithm", from: "signed.example", sign: "other@signed.example"},
	{name: "a key for reports only", from: "signed.example", sign: "tlsrpt@signed.example"},
	{name: "a key for sha1 only", from: "signed.example", sign: "sha1@signed.example"},
	{name: "a key that is tested", from: "signed.example", sign: "testing@signed.example"},
	{name: "a key that is tested, fail", from: "signed.example", sign: "testing@signed.example", change: "hello>hullo"},
	{name: "a key that can't be looked up", from: "signed.example", sign: "temp@signed.example"},
	{name: "expired", from: "signed.example", sign: "rsa@signed.example,expired"},
	{name: "one that fails, one that passes", from: "signed.example", sign: "none@signed.example rsa@signed.example"},
	{name: "below the domain", from: "signed.example", sign: "rsa@sub.signed.example"},
	{name: "above the domain", from: "a.signed.example", sign: "rsa@signed.example"},
	{name: "of somebody else", from: "signed.example", sign: "rsa@third.example"},
	{name: "strict, below the domain", from: "strict.example", sign: "rsa@sub.strict.example"},
	{name: "strict, the same", from: "strict.example", sign: "rsa@strict.example"},
	{name: "strict for spf, below the domain", from: "strict.example", mailFrom: "sub.strict.example", ip: good},
	{name: "strict for spf, the same", from: "strict.example", mailFrom: "strict.example", ip: good},

	{name: "no policy", from: "plain.example"},
	{name: "policy none", from: "none.example"},
	{name: "policy quarantine", from: "quarantine.example"},
	{name: "policy for subdomains", from: "a.sub.example"},
	{name: "policy of a subdomain", from: "own.sub.example"},
	{name: "policy of another subdomain", from: "a.own.sub.example"},
	{name: "policy for what doesn't exist", from: "a.np.example"},
	{name: "policy for what exists", from: "nope.np.example"},
	{name: "testing", from: "testing.example"},
	{name: "percentage 0", from: "pct.example"},
	{name: "two records", from: "two.example"},
	{name: "no policy in the record", from: "nopolicy.example"},
	{name: "a bad policy in the record", from: "badpolicy.example"},
	{name: "a record in other case", from: "case.example"},
	{name: "a record among other texts", from: "other.example"},
	{name: "a record of another version", from: "version.example"},
	{name: "a record that can't be looked up", from: "temp.example"},
	{name: "a record far above", from: "a.b.c.d.e.f.g.deep.example"},
	{name: "a record far above, related", from: "a.b.deep.example", mailFrom: "rel.deep.example", ip: good},
	{name: "below a public suffix", from: "giant.bank.example", mailFrom: "mail.giant.bank.example", ip: good},
	{name: "below a public suffix, of another", from: "giant.bank.example", mailFrom: "mega.bank.example", ip: good},
	{name: "below a public suffix, without a record", from: "dept.bank.example", sign: "rsa@dept.bank.example"},
	{name: "an organisation of its own", from: "own.unit.example", mailFrom: "unit.example", ip: good},
}

// make makes the message of a case.
func (c testCase) make(t *testing.T, k keys) mail {
	t.Helper()
	m := mail{ip: c.ip, mailFrom: "sender@" + c.mailFrom, hello: "helo.example"}
	switch c.mailFrom {
	case "-":
		m.mailFrom = ""
	case "":
		m.mailFrom = "sender@nowhere.example"
	}
	if m.ip == "" {
		m.ip = bad
	}
	text := "From: Somebody <somebody@" + c.from + ">\r\nTo: us@mx.example\r\nSubject: a\r\nMessage-Id: <x@y.example>\r\n" +
		"Date: " + time.Now().Format(time.RFC1123Z) + "\r\n\r\nhello you,\r\n\r\nbye\r\n"
	header := ""
	for spec := range strings.FieldsSeq(c.sign) {
		header += k.sign(t, spec, text)
	}
	text = header + text
	if from, to, ok := strings.Cut(c.change, ">"); ok {
		changed := strings.Replace(text, from, to, 1)
		if changed == text {
			t.Fatalf("%s: nothing was changed", c.name)
		}
		text = changed
	}
	m.content = []byte(text)
	return m
}

// sign returns a signature as a testCase asks for it.
func (k keys) sign(t *testing.T, spec, text string) string {
	t.Helper()
	who, options, _ := strings.Cut(spec, ",")
	name, domain, _ := strings.Cut(who, "@")
	sel := dkim.Selector{Name: name, Key: k.rsa, Hash: "sha256"}
	switch name {
	case "weak":
		sel.Key = k.weak
	case "ed":
		sel.Key = k.ed
	}
	now := time.Now()
	switch options {
	case "relaxed":
		sel.Canon = dkim.Canonicalization{HeaderRelaxed: true, BodyRelaxed: true}
	case "expired":
		now, sel.Expiration = now.Add(-96*time.Hour), 48*time.Hour
	}
	header, err := dkim.Sign(strings.NewReader(text), int64(len(text)), dkim.SignOptions{
		Author:    smtp.Address{Localpart: "somebody", Domain: dns.Domain{ASCII: domain}},
		Selectors: []dkim.Selector{sel}, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(header)
}

// verdict is what somebody says about a message.
type verdict struct {
	spf, dmarc string
	dkim       string // Of each signature, sorted, joined with a space. "none" without any.
}

func (v verdict) String() string {
	return fmt.Sprintf("spf=%s dkim=%s dmarc=%s", v.spf, v.dkim, v.dmarc)
}

// ours returns what we say.
func ours(t *testing.T, r dns.Resolver, m mail) verdict {
	t.Helper()
	args := spf.Args{RemoteIP: netip.MustParseAddr(m.ip), Hello: dns.IPDomain{Domain: dns.Domain{ASCII: m.hello}}, Now: time.Now()}
	if m.mailFrom != "" {
		address, err := smtp.ParseAddress(m.mailFrom)
		if err != nil {
			t.Fatal(err)
		}
		args.MailFrom = address.Path()
	}
	se := spf.Verify(t.Context(), r, args)
	signatures, err := dkim.Verify(t.Context(), r, bytes.NewReader(m.content), int64(len(m.content)), dkim.VerifyOptions{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	_, from, _ := strings.Cut(string(m.content), "<somebody@")
	from, _, _ = strings.Cut(from, ">")
	dargs := dmarc.Args{From: dns.Domain{ASCII: from}, SPF: dmarc.Identifier{Domain: se.Domain, Result: string(se.Result)}}
	var results []string
	for _, e := range signatures {
		results = append(results, string(e.Result))
		if e.Signature != nil {
			dargs.DKIM = append(dargs.DKIM, dmarc.Identifier{Domain: e.Signature.Domain, Result: string(e.Result)})
		}
	}
	de := dmarc.Evaluate(t.Context(), r, dargs)
	v := verdict{string(se.Result), string(de.Result), joined(results)}
	if de.Result == dmarc.ResultFail {
		v.dmarc += "/" + string(de.Policy)
	}
	return v
}
