//go:build unix

package receive

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/resolver"
	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/store"
)

// messagesVariable is the environment variable with the number of messages in the
// large account of BenchmarkAnalysis.
const messagesVariable = "MOX_BENCH_MESSAGES"

// messagesDefault is that number where the variable is not set.
const messagesDefault = 20_000

// trainingMessages is what the junk filter has learned, half of it junk.
const trainingMessages = 200

// analyses is what BenchmarkAnalysis needs: a Receiver with a resolver that keeps
// answers, and a message of 10 KiB with a signature.
type analyses struct {
	*Receiver
	b       testing.TB
	store   *store.Dir
	account *store.Account
	zone    *dnstest.Zone
	content []byte
	rcpt    Recipient
	tx      Transaction
}

// BenchmarkAnalysis reads and judges a message of 10 KiB of an unknown sender: one
// signature with an RSA key of 2048 bits, SPF, DMARC and iprev by answers that the
// resolver has, a trained junk filter. The metric cpu-µs/op is CPU time of the
// process, all threads, user and system.
func BenchmarkAnalysis(b *testing.B) {
	large := messagesDefault
	if s := os.Getenv(messagesVariable); s != "" {
		var err error
		if large, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for _, messages := range []int{0, large} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			x := newAnalyses(b)
			x.fill(messages)
			x.once()
			b.ReportAllocs()
			start, n := cpuTime(b), 0
			for b.Loop() {
				x.once()
				n++
			}
			for _, name := range []string{"sel._domainkey.good.example", "good.example", "_dmarc.good.example", "_dmarc.example", "1.2.0.192.in-addr.arpa", "mx.good.example"} {
				if q := x.zone.Queries("", name); q > 2 {
					b.Errorf("%s was asked for %d times", name, q)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-start).Microseconds())/float64(n), "cpu-µs/op")
		})
	}
}

// TestAnalysisCost checks that what is remembered of others makes nothing of an
// analysis larger.
func TestAnalysisCost(t *testing.T) {
	// Not parallel: it counts the allocations of the whole process.
	x := newAnalyses(t)
	measure := func() float64 { return testing.AllocsPerRun(20, x.once) }
	before := measure()
	x.fill(400)
	if after := measure(); after > 1.1*before+20 {
		t.Errorf("%.0f allocations with 400 messages more, %.0f before", after, before)
	}
}

// cpuTime returns the CPU time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func newAnalyses(b testing.TB) *analyses {
	b.Helper()
	x := &analyses{b: b}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	record, err := dkim.NewRecord(key.Public())
	if err != nil {
		b.Fatal(err)
	}
	cfg, err := config.Check(config.Static{
		DataDir: b.TempDir(), LogLevel: "info", Hostname: "mx.example.org", Postmaster: config.Postmaster{Account: "alice", Mailbox: "Postmaster"},
	}, config.Dynamic{
		Domains: map[string]config.Domain{"example.org": {}},
		Accounts: map[string]config.Account{
			"alice": {Domain: "example.org", JunkFilter: &config.JunkFilter{Threshold: 0.95, Onegrams: true}, Destinations: map[string]config.Destination{"alice@example.org": {}}},
		},
	}, nil)
	if err != nil {
		b.Fatal(err)
	}
	x.open(cfg, record.Text())
	x.content = []byte(benchMail("ann@good.example", benchWords(7700, 1200))[:10<<10])
	signature, err := dkim.Sign(strings.NewReader(string(x.content)), int64(len(x.content)), dkim.SignOptions{
		Author:    smtp.Address{Localpart: "ann", Domain: dns.Domain{ASCII: "good.example"}},
		Selectors: []dkim.Selector{{Name: "sel", Key: key, Hash: "sha256", Canon: dkim.Canonicalization{HeaderRelaxed: true, BodyRelaxed: true}}}, Now: time.Now(),
	})
	if err != nil {
		b.Fatal(err)
	}
	x.content = append(signature, x.content...)
	x.train()
	return x
}

// open opens the Receiver, with a Resolver that keeps answers.
func (x *analyses) open(cfg *config.Config, key string) {
	b := x.b
	b.Helper()
	zone, err := dnstest.ParseZone("example. SOA ns.example. x.example. 1 3600 600 86400 3600\n" + judgedZone() + "sel._domainkey.good.example. TXT \"" + key[:200] + "\" \"" + key[200:] + "\"\n")
	if err != nil {
		b.Fatal(err)
	}
	x.zone = zone
	r, err := resolver.New(resolver.Options{Mode: resolver.SystemAD, Servers: []string{"127.0.0.1:53"}, Dial: zone.Dial})
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	x.store, err = store.Open(b.Context(), store.Options{Dir: cfg.Static.DataDir, Log: log, SegmentSize: 16 << 20, JunkParams: cfg.JunkParams})
	if err != nil {
		b.Fatal(err)
	}
	if x.account, err = x.store.Create(b.Context(), "alice", store.NewAccount{}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := x.account.Close(); err != nil {
			b.Error(err)
		}
		if err := x.store.Close(); err != nil {
			b.Error(err)
		}
	})
	x.Receiver, err = New(Options{
		Store: x.store, Config: func() *config.Config { return cfg }, Log: log, Registerer: prometheus.NewRegistry(),
		TempDir: filepath.Join(cfg.Static.DataDir, "tmp"), Resolver: r,
	})
	if err != nil {
		b.Fatal(err)
	}
	x.tx = Transaction{MailFrom: benchPath(b, "ann@good.example"), Peer: &Peer{
		IP: netip.MustParseAddr("192.0.2.1"), Hostname: dns.Domain{ASCII: "mx.example.org"}, Hello: smtp.Hello{Name: dns.IPDomain{Domain: dns.Domain{ASCII: "mx.good.example"}}},
		TLS: &tls.ConnectionState{},
	}}
	if x.rcpt, err = x.Resolve(b.Context(), &x.tx, benchPath(b, "alice@example.org")); err != nil {
		b.Fatal(err)
	}
}

func benchPath(b testing.TB, s string) smtp.Path {
	b.Helper()
	r, err := smtp.ParseRcptTo("TO:<"+s+">", smtp.ParseOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return r.Path
}

// benchWords returns words as often as those of a language are, of 40,000 different
// ones, without pattern between messages of different seeds.
func benchWords(seed uint64, n int) string {
	random := mathrand.New(mathrand.NewPCG(seed, 1))
	ranks := mathrand.NewZipf(random, 1.05, 10, 40_000)
	var t strings.Builder
	for i := range n {
		w := ranks.Uint64()
		fmt.Fprintf(&t, "%cor%cal%cim%s", 'a'+rune(w%26), 'a'+rune(w/26%26), 'a'+rune(w/676%26), strings.Repeat("e", int(w/17576)))
		if t.WriteByte(' '); i%10 == 9 {
			t.WriteString("\r\n")
		}
	}
	return t.String()
}

func benchMail(from, body string) string {
	return "From: <" + from + ">\r\nTo: <alice@example.org>\r\nSubject: a message of usual size\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@good.example>\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body + "\r\n"
}

// once analyses the message, as Deliver does before anything is kept.
func (x *analyses) once() {
	ctx, tx := x.b.Context(), x.tx
	tx.Rcpts, tx.spf = []Recipient{x.rcpt}, nil
	content := contentBytes(x.content)
	l, err := x.read(content)
	if err != nil {
		x.b.Fatal(err)
	}
	inv, err := x.investigate(ctx, &tx, &l, content.readerAt(), content.Size())
	if err != nil {
		x.b.Fatal(err)
	}
	j := judge{r: x.Receiver, t: &tx, inv: inv, letter: &l, content: content.readerAt(), size: content.Size(), now: time.Now()}
	out, err := j.decide(ctx, x.account, &x.rcpt, x.rcpt.places[0])
	if err != nil {
		x.b.Fatal(err)
	}
	prefix := string(inv.header(&tx))
	if out.verdict.Method != screen.MethodNone || !strings.Contains(prefix, "dkim=pass") || !strings.Contains(prefix, "spf=pass") || !strings.Contains(prefix, "dmarc=pass") || !strings.Contains(prefix, "iprev=pass") {
		x.b.Fatalf("got %+v\n%s", out.verdict, prefix)
	}
}

// deliver puts a message into the account, of a sender that number i stands for.
func (x *analyses) deliver(ctx context.Context, i int, mailbox, content string, flags store.Flags) error {
	from := fmt.Sprintf("a%d@d%d.example", i%50_000, i%5000)
	c := x.store.ContentBytes([]byte(content))
	analysis, err := store.Analyze(c.ReaderAt(), c.Size())
	if err != nil {
		return err
	}
	return x.store.Deliver(ctx, store.Delivery{
		Content: c, Analysis: analysis, Received: time.Now(),
		Facts: store.Facts{RemoteIP: netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}).String(), From: from, FromOrg: from[strings.IndexByte(from, '@')+1:], MailFrom: from, MailFromVerified: true},
		To:    []store.Recipient{{Account: x.account, Mailbox: mailbox, RcptTo: "alice@example.org", Flags: flags}},
	})
}

// train teaches the filter.
func (x *analyses) train() {
	x.b.Helper()
	for i := range trainingMessages {
		flags := store.FlagJunk
		if i%2 == 0 {
			flags = store.FlagNotJunk
		}
		if err := x.deliver(x.b.Context(), i, "Inbox", benchMail(fmt.Sprintf("a%d@d.example", i), benchWords(uint64(i), 800)), flags); err != nil {
			x.b.Fatal(err)
		}
	}
	x.account.WaitDurable(x.b.Context())
	if err := x.account.WaitTrained(x.b.Context()); err != nil {
		x.b.Fatal(err)
	}
}

// fill puts small messages into the account, of many senders, all marked as not junk.
func (x *analyses) fill(n int) {
	x.b.Helper()
	const senders = 400 // At a time: they share commits.
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make(chan error, senders)
	for range senders {
		all.Go(func() {
			for {
				i := int(next.Add(1))
				if i > n {
					return
				}
				if err := x.deliver(x.b.Context(), i, "Inbox", "From: <a@b.example>\r\n\r\nhello\r\n", store.FlagNotJunk); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		x.b.Fatal(err)
	}
	x.account.WaitDurable(x.b.Context())
	if err := x.account.WaitTrained(x.b.Context()); err != nil {
		x.b.Fatal(err)
	}
}
