package smtpserver

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/store"
)

// counting counts the lookups of a Resolver, by what they are for.
type counting struct {
	dns.Resolver
	mu    sync.Mutex
	names map[string]int // The first label of each name, or the type.
}

func (c *counting) count(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil {
		c.names = map[string]int{}
	}
	c.names[kind]++
}

func (c *counting) LookupTXT(ctx context.Context, name string) ([]string, dns.Result, error) {
	switch {
	case strings.HasPrefix(name, "_dmarc."):
		c.count("dmarc")
	case strings.Contains(name, "._domainkey."):
		c.count("key")
	default:
		c.count("spf")
	}
	return c.Resolver.LookupTXT(ctx, name)
}

func (c *counting) LookupIP(ctx context.Context, network, host string) ([]netip.Addr, dns.Result, error) {
	c.count("ip")
	return c.Resolver.LookupIP(ctx, network, host)
}

func (c *counting) LookupMX(ctx context.Context, name string) ([]dns.MX, dns.Result, error) {
	c.count("mx")
	return c.Resolver.LookupMX(ctx, name)
}

func (c *counting) LookupAddr(ctx context.Context, ip netip.Addr) ([]string, dns.Result, error) {
	c.count("ptr")
	return c.Resolver.LookupAddr(ctx, ip)
}

// hostile is a message that is made to cost much.
type hostile struct {
	name    string
	from    string // In MAIL FROM, "x@soft.example" if empty.
	to      string // "alice@example.org" if empty.
	zone    string // More of DNS.
	content func(write func(string))
	reply   string         // It begins so.
	lookups map[string]int // The most there may be, for all but those named none.
	want    string         // In the header fields of ours.
	prefix  int            // The most bytes of these; if 0, 8192.
}

const (
	plainFrom = "From: <x@soft.example>\r\n"

	// hostileSignature is cheap to parse, and has to be looked up. %d are numbers.
	hostileSignature = "DKIM-Signature: v=1;a=ed25519-sha256;d=a%d.example;s=k;h=From:Subject;bh=%s;b=AA==\r\n"
	hostileBodyHash  = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
)

// repeated returns a content of a header, and lines that are numbered.
func repeated(before, line string, n int, after string) func(func(string)) {
	return func(write func(string)) {
		write(before)
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(line, "%d", fmt.Sprint(i)))
			if b.Len() > 1<<16 {
				write(b.String())
				b.Reset()
			}
		}
		write(b.String() + after)
	}
}

func hostileMessages() []hostile {
	base := map[string]int{"spf": 1, "dmarc": 4, "ptr": 1, "ip": 4, "mx": 2}
	with := func(kind string, n int) map[string]int {
		m := map[string]int{kind: n}
		for k, v := range base {
			if k != kind {
				m[k] = v
			}
		}
		return m
	}
	const fine, tooLarge = "250 2.0.0", "552 5.3.4 header is larger than 1048576 bytes"
	nested := func(depth int) func(func(string)) {
		return func(write func(string)) {
			write(plainFrom)
			for i := range depth {
				write(fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i))
			}
			write("\r\nhello\r\n")
		}
	}
	signature := strings.ReplaceAll(hostileSignature, "%s", hostileBodyHash)
	long := strings.Repeat("x", 9000)
	var wide, mxs, ptrs strings.Builder
	wide.WriteString("wide.example. MX 10 mx.good.example.\nwide.example. TXT \"v=spf1")
	for i := range 30 {
		fmt.Fprintf(&wide, " include:w%d.example", i)
	}
	wide.WriteString(" -all\"\n")
	for i := range 30 {
		fmt.Fprintf(&wide, "w%d.example. TXT \"v=spf1 include:w%d.example include:w%d.example ?all\"\n", i, (i+1)%30, (i+2)%30)
	}
	mxs.WriteString("mxs.example. TXT \"v=spf1 mx mx mx -all\"\n")
	ptrs.WriteString("ptr.example. MX 10 mx.good.example.\nptr.example. TXT \"v=spf1 ptr ptr ptr ?all\"\n")
	for i := range 900 {
		fmt.Fprintf(&mxs, "mxs.example. MX 10 a-rather-long-name-of-a-host-%d.mxs.example.\n", i)
		fmt.Fprintf(&ptrs, "25.2.0.192.in-addr.arpa. PTR a-rather-long-name-%d.ptr.example.\n", i)
	}
	txt := func(n int) string { return strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, n/250) }
	return []hostile{
		{name: "a million lines of header in 50 MB", content: repeated(plainFrom, "X-Line-%d: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 1_000_000, "\r\nhello\r\n"), reply: tooLarge, lookups: map[string]int{"mx": 2, "ip": 2}},
		{name: "a field of a megabyte", content: repeated(plainFrom+"Subject:", " word%d\r\n", 120_000, "\r\nhello\r\n"), reply: tooLarge, lookups: map[string]int{"mx": 2, "ip": 2}},
		{name: "a subject of most of a megabyte", content: repeated(plainFrom+"Subject:", " word%d\r\n", 70_000, "\r\nhello\r\n"), reply: fine, lookups: base},
		{name: "encoded words of most of a megabyte", to: "bob@example.org", content: repeated(plainFrom+"Subject:", " =?utf-8?q?w=C3=B6rt%d?=\r\n", 30_000, "\r\nhello\r\n"), reply: fine, lookups: base},
		{name: "a body of blank lines", content: repeated(plainFrom+strings.ReplaceAll(signature, "%d", "0")+"\r\n", "\r\n", 10_000_000, ""), reply: fine, lookups: with("key", 1), want: "dkim=permerror"},
		{name: "100 multiparts in each other", content: nested(100), reply: fine, lookups: base},
		{name: "10,000 multiparts in each other", content: nested(10_000), reply: fine, lookups: base},
		{name: "9,990 signatures in more than a megabyte", content: repeated(plainFrom, signature, 9_990, "\r\n"), reply: "552", lookups: map[string]int{"mx": 2, "ip": 2}},
		{name: "7,500 signatures", content: repeated(plainFrom, signature, 7_500, "\r\n"), reply: fine, lookups: with("key", 25), want: "7475 more signatures"},
		{name: "more signatures than a header may have fields", content: repeated(plainFrom, "DKIM-Signature: v=1;d=a%d.example\r\n", 10_000, "\r\n"), reply: fine, lookups: base, want: "dkim=none"},
		{name: "signatures with names of 9,000 bytes", content: repeated(plainFrom, "DKIM-Signature: v=1;a=ed25519-sha256;d=a%d.example;s=k;i="+long+"@a%d.example;h=From:Subject;bh="+hostileBodyHash+";b="+strings.Repeat("AAAA", 2000)+"\r\n", 25, "\r\n"), reply: fine, lookups: with("key", 25), want: "dkim=permerror", prefix: 32 << 10},
		{name: "10,000 sets of ARC", content: repeated(plainFrom, "ARC-Seal:i=%d;d=a\r\nARC-Message-Signature:i=%d;d=a\r\nARC-Authentication-Results:i=%d;x\r\n", 10_000, "\r\n"), reply: fine, lookups: base},
		{name: "3,000 sets of ARC", content: repeated(plainFrom, "ARC-Seal:i=%d;d=a\r\nARC-Message-Signature:i=%d;d=a\r\nARC-Authentication-Results:i=%d;x\r\n", 3_000, "\r\n"), reply: fine, lookups: base, want: "arc=fail"},
		{name: "SPF that includes itself", from: "x@loop.example", zone: "loop.example. MX 10 mx.good.example.\nloop.example. TXT \"v=spf1 include:loop.example -all\"\n", content: repeated(plainFrom, "", 0, "\r\n"), reply: fine, lookups: with("spf", 11), want: "spf=permerror"},
		{name: "SPF that goes in a circle by redirect", from: "x@loop.example", zone: "loop.example. MX 10 mx.good.example.\nloop.example. TXT \"v=spf1 redirect=pool.example\"\npool.example. TXT \"v=spf1 redirect=loop.example\"\n", content: repeated(plainFrom, "", 0, "\r\n"), reply: fine, lookups: with("spf", 11), want: "spf=permerror"},
		{name: "SPF that includes 30 that include each other", from: "x@wide.example", zone: wide.String(), content: repeated(plainFrom, "", 0, "\r\n"), reply: fine, lookups: with("spf", 11), want: "spf=permerror"},
		{name: "900 mail exchangers", from: "x@mxs.example", zone: mxs.String(), content: repeated(plainFrom, "", 0, "\r\n"), reply: fine, lookups: with("mx", 4), want: "spf=permerror"},
		{name: "900 names of the peer", from: "x@ptr.example", zone: ptrs.String(), content: repeated(plainFrom, "", 0, "\r\n"), reply: fine, lookups: map[string]int{"spf": 1, "dmarc": 4, "mx": 2, "ptr": 4, "ip": 42}, want: "spf=neutral"},
		{name: "an SPF record of 60 KB", from: "x@long.example", zone: "long.example. MX 10 mx.good.example.\nlong.example. TXT \"v=spf1 \" " + strings.Repeat(`"ip4:192.0.2.1 ip4:192.0.2.1 " `, 2000) + "\n", content: repeated(plainFrom, "", 0, "\r\n"), reply: fine, lookups: base, want: "spf="},
		{name: "a key of 60 KB", zone: "k._domainkey.a0.example. TXT \"v=DKIM1; n=\" " + txt(60_000) + "\n", content: repeated(plainFrom+signature, "", 0, "\r\n"), reply: fine, lookups: with("key", 1), want: "dkim=permerror"},
		{name: "a DMARC record of 60 KB", from: "x@long.example", zone: "long.example. MX 10 mx.good.example.\n_dmarc.long.example. TXT \"v=DMARC1; p=reject; rua=\" " + txt(60_000) + "\n", content: repeated("From: <x@long.example>\r\n", "", 0, "\r\n"), reply: fine, lookups: base, want: "dmarc="},
		{name: "10,000 authors", content: repeated("From: a@soft.example", ",\r\n a%d@a%d.example", 10_000, "\r\n\r\nhello\r\n"), reply: fine, lookups: map[string]int{"spf": 1, "ptr": 1, "ip": 4, "mx": 2}},
		{name: "9,000 fields with an author", content: repeated("", "From: <a%d@a%d.example>\r\n", 9_000, "\r\nhello\r\n"), reply: fine, lookups: map[string]int{"spf": 1, "ptr": 1, "ip": 4, "mx": 2}},
		{name: "10,000 recipients in To", content: repeated(plainFrom+"To: a@b.example", ",\r\n a%d@a%d.example", 10_000, "\r\n\r\nhello\r\n"), reply: fine, lookups: base},
		{name: "5,000 tokens in the subject", to: "carol@example.org", content: repeated(plainFrom+"Subject: x", "\r\n (pass:AAAAAAAAAAAAAAAAAAAAAA)", 5_000, "\r\n\r\nhello\r\n"), reply: fine, lookups: base},
		{name: "half a million words", to: "bob@example.org", content: repeated(plainFrom+"\r\n", "word%d and%d another%d\r\n", 200_000, ""), reply: fine, lookups: base},
	}
}

// TestHostileMessages checks that what messages cost is bounded, whatever is in them
// and in the DNS of who sends them: lookups, and what is kept. Each has a reply that
// says what is wrong, if anything is.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	for _, tc := range hostileMessages() {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tc.run) // Who is refused is slowed down.
		})
	}
}

// run sends the message, and checks what it cost.
func (tc hostile) run(t *testing.T) {
	r, err := dnstest.New(verdictsZone + tc.zone)
	if err != nil {
		t.Fatal(err)
	}
	resolver := &counting{Resolver: r}
	e := newEnv(t, settings{dynamic: verdictsConfig(), resolver: resolver, remote: "192.0.2.25"})
	defer e.close()
	tc.send(t, e)
	for kind, n := range resolver.names {
		if n > tc.lookups[kind] {
			t.Errorf("%d lookups for %s", n, kind)
		}
	}
	if strings.HasPrefix(tc.reply, "250") {
		tc.checkKept(t, e)
	}
}

// send sends the message and checks the reply.
func (tc hostile) send(t *testing.T, e *env) {
	t.Helper()
	from, to := tc.from, tc.to
	if from == "" {
		from = "x@soft.example"
	}
	if to == "" {
		to = "alice@example.org"
	}
	c := newClient(t, e.dial(""))
	c.want("220 ")
	for _, line := range []string{"EHLO mx.good.example", "MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">"} {
		c.send(line + "\r\n")
		c.want("250 ")
	}
	c.send("DATA\r\n")
	c.want("354 ")
	tc.content(c.send)
	c.send("\r\n.\r\n")
	c.want(tc.reply)
}

// checkKept checks what is kept besides the message itself.
func (tc hostile) checkKept(t *testing.T, e *env) {
	t.Helper()
	most := tc.prefix
	if most == 0 {
		most = 8192
	}
	name, _, _ := strings.Cut(tc.to, "@")
	if name == "" {
		name = "alice"
	}
	e.account(name, func(tx *store.Tx) error {
		box := "Inbox"
		if name == "carol" {
			box = "Intro"
		}
		mb, err := tx.Mailbox(box)
		if err != nil {
			return err
		}
		m, err := tx.Message(mb.ID, 1)
		if err != nil {
			return err
		}
		email, err := tx.Email(m.EmailID)
		if err != nil {
			return err
		}
		if got := strings.ReplaceAll(string(email.Prefix), "\r\n ", " "); len(got) > most || !strings.Contains(got, tc.want) {
			t.Errorf("fields of %d bytes: %.2000s", len(got), got)
		}
		if n := len(email.Verdict); n == 0 || n > store.VerdictMax {
			t.Errorf("verdict of %d bytes", n)
		}
		if f := email.Facts; len(f.DKIM) > 25 || len(f.From) > 1000 {
			t.Errorf("facts: %+v", f)
		}
		return nil
	})
}
