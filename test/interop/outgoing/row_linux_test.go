package outgoing

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
)

// row is one case: a domain with its mail exchangers, a message to it, and what must
// become of that.
type row struct {
	name   string // A sentence.
	domain string // A label in the zone "test", or what has its zone in it.

	// hosts are the mail exchangers, in the order of their preference. Without, there
	// are only the records.
	hosts []host

	// records are more lines of the zone, or with ownMX all about MX. "@" at the begin
	// of a word is the domain, as in "mx.@".
	records string
	ownMX   bool

	// bogus are RRsets, as "MX @", whose signatures are broken.
	bogus []string

	// sts is the MTA-STS of the domain, nil if it has none.
	sts *policy

	requireTLS    bool // REQUIRETLS of RFC 8689.
	tlsRequiredNo bool // "TLS-Required: No" of RFC 8689.
	utf8          bool // The recipient's address is not in ASCII, RFC 6531.

	// want is what must become of each attempt. If the domain makes senders wait, there
	// are more that end as the first.
	want       []want
	greylisted bool

	// copies is how many messages the domain has in the end. Zero: one if it was
	// delivered.
	copies int
}

// host is a mail exchanger.
type host struct {
	label  string // Below the domain. Empty: mx, mx2, mx3.
	name   string // In place of that, a whole name without final dot.
	cert   string // Kind of certificate.
	tlsa   string // Records, as "3 1 1" for its certificate, or "2 0 1" for that of the CA. With "!" for another's. Separated by commas.
	tlsaAt string // Where they are. Empty: where they should be.

	v4, v6 *end // Both nil: a Postfix at v4.
}

// end is what is at an address.
type end struct {
	postfix bool
	options []string // Of Postfix's smtpd, as "name=value".

	script *script // Of a peer of ours.

	refused bool // Nobody listens.
	silent  bool // Nothing answers.
	hasty   bool // Time limits are a hundredth for connections to it.

	// Set when the world is made.
	ip     string
	logs   string // Name in Postfix's log.
	issued *issued
}

func postfix(options ...string) *end { return &end{postfix: true, options: options} }
func peer(s *script) *end            { return &end{script: s} }
func hasty(s *script) *end           { return &end{script: s, hasty: true} }
func refused() *end                  { return &end{refused: true} }
func silent() *end                   { return &end{silent: true} }

// says returns a peer that answers one command so.
func says(command, answer string) *end { return peer(&script{answers: answers{command: {answer}}}) }

// want is what must become of an attempt.
type want struct {
	tls    string // How the connection was protected that it was delivered over. Empty: it was not delivered.
	status string // Enhanced code if it wasn't. The first digit tells whether that is final.
	code   int64  // Of the reply. Zero: there was none.
	reason string // That people read.
	policy string // What decided about TLS. Empty: that was not decided, or does not matter.

	host        string // That has the message, or said why not: a label, or "=" and a name. Empty: mx. "-": none.
	family      int    // Of its address: 4 or 6. Zero: any.
	softened    bool   // There is another attempt, though the reply says that it is final.
	connections int
}

// delivered is for a message that was taken. Tls is how that was protected.
func delivered(tls string, connections int) want { return want{tls: tls, connections: connections} }

// deferred and refusedBy are for one that was not.
func deferred(status, reason string, connections int) want {
	return want{status: status, reason: reason, connections: connections}
}

// replied is for a message that a server refused. Reply is its code, enhanced code
// and the begin of its text.
func replied(reply string, connections int) want {
	var w want
	if _, err := fmt.Sscanf(reply, "%d %s", &w.code, &w.status); err != nil {
		panic("not a reply: " + reply)
	}
	w.reason, w.connections = reply, connections
	return w
}

// by names the host.
func (w want) by(label string) want { w.host = label; return w }

// over gives the family of its address.
func (w want) over(family int) want { w.family = family; return w }

// because gives what decided about TLS.
func (w want) because(policy string) want { w.policy = policy; return w }

// fqdn returns the domain without final dot.
func (r *row) fqdn() string { return r.domain + ".test" }

// expand puts the domain in for "@" at the begin of a word, or after a dot.
func (r *row) expand(text string) string {
	words := strings.Fields(text)
	for i, word := range words {
		if name, ok := strings.CutSuffix(word, "@"); ok && (name == "" || strings.HasSuffix(name, ".")) {
			words[i] = name + r.fqdn() + "."
		}
	}
	return strings.Join(words, " ")
}

// hostName returns the name of a host without final dot.
func (r *row) hostName(i int) string {
	h := &r.hosts[i]
	if h.name != "" {
		return h.name
	}
	return r.label(i) + "." + r.fqdn()
}

func (r *row) label(i int) string {
	switch {
	case r.hosts[i].label != "":
		return r.hosts[i].label
	case i == 0:
		return "mx"
	}
	return fmt.Sprintf("mx%d", i+1)
}

// ends returns all ends of the row.
func (r *row) ends() (list []*end) {
	for i := range r.hosts {
		for _, e := range []*end{r.hosts[i].v4, r.hosts[i].v6} {
			if e != nil {
				list = append(list, e)
			}
		}
	}
	return list
}

// prepare gives all ends their addresses and certificates.
func (r *row) prepare(t *testing.T, w *world) {
	t.Helper()
	for i := range r.hosts {
		h := &r.hosts[i]
		if h.v4 == nil && h.v6 == nil {
			h.v4 = postfix()
		}
		cert := newCert(t, w.ca, h.cert, r.hostName(i), r.fqdn())
		for j, e := range []*end{h.v4, h.v6} {
			if e == nil {
				continue
			}
			e.ip = w.newIP(4 + 2*j)
			e.issued = cert
			e.logs = fmt.Sprintf("%s-%s-%d", r.domain, r.label(i), 4+2*j)
			if h.cert == noTLS && e.postfix {
				e.options = append(e.options, "smtpd_tls_security_level=none")
			}
			if e.script != nil {
				e.script.noTLS = h.cert == noTLS
			}
		}
	}
}

// zone returns the records of the row.
func (r *row) zone(t *testing.T, w *world) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(r.records) {
		b.WriteString(r.expand(line) + "\n")
	}
	for i := range r.hosts {
		h, name := &r.hosts[i], r.hostName(i)
		if !r.ownMX {
			fmt.Fprintf(&b, "%s. MX %d %s.\n", r.fqdn(), 10*(i+1), name)
		}
		if h.v4 != nil {
			fmt.Fprintf(&b, "%s. A %s\n", name, h.v4.ip)
		}
		if h.v6 != nil {
			fmt.Fprintf(&b, "%s. AAAA %s\n", name, h.v6.ip)
		}
		at := cmp.Or(r.expand(h.tlsaAt), "_25._tcp."+name+".")
		for spec := range strings.SplitSeq(h.tlsa, ",") {
			if spec = strings.TrimSpace(spec); spec != "" {
				fmt.Fprintf(&b, "%s TLSA %s\n", at, r.tlsa(t, w, i, spec))
			}
		}
	}
	if r.sts != nil {
		r.sts.ip = w.newIP(4)
		b.WriteString(r.sts.records(r.fqdn()))
	}
	return b.String()
}

// tlsa returns a record of a host.
func (r *row) tlsa(t *testing.T, w *world, i int, spec string) string {
	t.Helper()
	rest, other := strings.CutPrefix(spec, "!")
	var usage, selector, matching int
	if _, err := fmt.Sscanf(rest, "%d %d %d", &usage, &selector, &matching); err != nil {
		t.Fatalf("%s: TLSA %q: %v", r.name, spec, err)
	}
	chain := r.hosts[i].any().issued.chain
	cert := chain[0]
	switch {
	case other:
		cert = w.otherCA.chain[0]
	case usage == 2 || usage == 0:
		cert = w.ca.chain[0]
	}
	return tlsa(t, usage, selector, matching, cert)
}

// any returns one of the ends.
func (h *host) any() *end {
	if h.v4 != nil {
		return h.v4
	}
	return h.v6
}
