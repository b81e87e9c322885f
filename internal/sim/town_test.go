package sim

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// kind is what kind of mail a message is.
type kind string

// The kinds. The first six are wanted.
const (
	fromFriend    kind = "correspondent"
	fromStranger  kind = "stranger"
	newsletter    kind = "newsletter"
	fromList      kind = "list with a rule"
	fromOtherList kind = "list without a rule"
	forwardedHam  kind = "forwarded"
	forwardedSpam kind = "forwarded junk"
	botSpam       kind = "junk of a botnet"
	domainSpam    kind = "junk of throwaway domains"
	phishing      kind = "phishing"
)

var kinds = []kind{fromFriend, fromStranger, newsletter, fromList, fromOtherList, forwardedHam, forwardedSpam, botSpam, domainSpam, phishing}

func (k kind) wanted() bool {
	return k != forwardedSpam && k != botSpam && k != domainSpam && k != phishing
}

// proof is how the mail of a domain can be verified.
type proof struct{ spf, dkim, dmarc bool }

// host is where mail comes from: a domain with its server.
type host struct {
	domain string
	ip     netip.Addr
	proof
}

// letterTo is a message of the town.
type letterTo struct {
	id       string
	kind     kind
	user     *citizen
	from     string // Address in From.
	mailFrom string
	hello    string
	ip       netip.Addr
	signers  []string
	content  string
	stubborn bool // The sender tries again after a temporary failure.
	known    bool // Of a known correspondent, when it was sent first.
	tries    int
	first    time.Time
}

// townKey signs for all domains.
var townKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))

// population is who sends mail to the town.
type population struct {
	rng       *rand.Rand
	friends   []host // Domains of correspondents, two people at each.
	providers []host // Where strangers have their addresses.
	stores    []host // Send newsletters.
	list      host
	otherList host
	forwarder host
	bank      host // With a strict policy, and often forged.
	throwaway []host
}

const townZoneHead = `
home.example MX 10 mx.home.example
mx.home.example A 192.0.2.10
`

func newPopulation(rng *rand.Rand) *population {
	p := &population{rng: rng}
	full, next := proof{true, true, true}, byte(1)
	add := func(name string, pr proof) host {
		h := host{domain: name + ".example", ip: netip.AddrFrom4([4]byte{203, 0, 113, next}), proof: pr}
		next++
		return h
	}
	for i, pr := range []proof{full, full, full, {true, true, false}, {true, false, false}, {false, true, false}, {false, false, false}, full} {
		p.friends = append(p.friends, add(fmt.Sprintf("friends%d", i), pr))
	}
	for i, pr := range []proof{full, full, {true, true, false}} {
		p.providers = append(p.providers, add(fmt.Sprintf("provider%d", i), pr))
	}
	for i := range 4 {
		p.stores = append(p.stores, add(fmt.Sprintf("store%d", i), full))
	}
	p.list, p.otherList, p.forwarder = add("list", proof{true, true, false}), add("otherlist", proof{true, true, false}), add("forwarder", proof{true, true, false})
	p.bank = add("bank", full)
	for i := range 24 {
		// A provider that doesn't look closely has them all in a few networks.
		ip := netip.AddrFrom4([4]byte{198, 18, byte(i / 8), byte(10 + i)})
		p.throwaway = append(p.throwaway, host{domain: fmt.Sprintf("deal%d.example", i), ip: ip, proof: proof{true, true, i%2 == 0}})
	}
	return p
}

func (p *population) hosts() []host {
	all := append(append(append([]host{}, p.friends...), p.providers...), p.stores...)
	return append(append(all, p.list, p.otherList, p.forwarder, p.bank), p.throwaway...)
}

// zone returns the DNS of the town and its correspondents.
func (p *population) zone() string {
	key := base64.StdEncoding.EncodeToString(townKey.Public().(ed25519.PublicKey))
	b := strings.Builder{}
	b.WriteString(townZoneHead)
	for _, h := range p.hosts() {
		fmt.Fprintf(&b, "%s MX 10 mx.%s\nmx.%s A %s\n%s PTR mx.%s\n", h.domain, h.domain, h.domain, h.ip, strings.TrimSuffix(dns.ReverseName(h.ip), "."), h.domain)
		if h.spf {
			fmt.Fprintf(&b, "%s TXT \"v=spf1 ip4:%s -all\"\n", h.domain, h.ip)
		}
		if h.dkim {
			fmt.Fprintf(&b, "k._domainkey.%s TXT \"v=DKIM1; k=ed25519; p=%s\"\n", h.domain, key)
		}
		if h.dmarc {
			fmt.Fprintf(&b, "_dmarc.%s TXT \"v=DMARC1; p=reject\"\n", h.domain)
		}
	}
	return b.String()
}

// language makes texts.
type language struct {
	rng           *rand.Rand
	common, words []string // For all, and for those who want to say something.
	junk, bait    []string // For junk, and for phishing.
}

func newLanguage(rng *rand.Rand) *language {
	l := &language{rng: rng}
	l.common, l.words, l.junk, l.bait = l.invent(150), l.invent(1500), l.invent(250), l.invent(60)
	return l
}

// invent invents words.
func (l *language) invent(n int) (words []string) {
	const consonants, vowels = "bdfgklmnprstvz", "aeiou"
	for range n {
		var b strings.Builder
		for range 2 + l.rng.IntN(3) {
			b.WriteByte(consonants[l.rng.IntN(len(consonants))])
			b.WriteByte(vowels[l.rng.IntN(len(vowels))])
		}
		words = append(words, b.String())
	}
	return words
}

// topic returns what a sender usually writes about.
func (l *language) topic() []string {
	at := l.rng.IntN(len(l.words) - 60)
	return l.words[at : at+60]
}

// text returns some words, half of them common ones, some of any topic.
func (l *language) text(n int, topic []string) string {
	var b strings.Builder
	for i := range n {
		list := l.common
		switch r := l.rng.IntN(10); {
		case r < 4:
			list = topic
		case r < 5:
			list = l.words
		}
		if i > 0 {
			b.WriteString(map[bool]string{true: "\r\n", false: " "}[i%12 == 0])
		}
		b.WriteString(list[l.rng.IntN(len(list))])
	}
	return b.String()
}

// compose makes the content of a message, signed.
func (m *letterTo) compose(to, subject, text, extra string, now time.Time) error {
	m.content = fmt.Sprintf("%sFrom: <%s>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: <%s@sim>\r\nDate: %s\r\nX-Sim: %s\r\n\r\n%s\r\n",
		extra, m.from, to, subject, m.id, now.Format(time.RFC1123Z), m.id, text)
	for _, d := range m.signers {
		domain, err := dns.ParseDomain(d)
		if err != nil {
			return err
		}
		h, err := dkim.Sign(strings.NewReader(m.content), int64(len(m.content)), dkim.SignOptions{
			Author:    smtp.Address{Localpart: "x", Domain: domain},
			Selectors: []dkim.Selector{{Name: "k", Key: townKey, Hash: "sha256"}}, Now: now,
		})
		if err != nil {
			return err
		}
		m.content = string(h) + m.content
	}
	return nil
}

// reader returns the content.
func (m *letterTo) reader() (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(m.content)), nil
}
