package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/smtpclient"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/system"
)

const (
	townDays = 90

	// retryDays is how long senders that try again do so.
	retryDays = 4
)

// TestPeople has people, lists, forwarders, junk senders and phishers write to the
// users of a server for 90 days. Mail of known correspondents is never refused, and
// most junk is. SIM_SEED sets the seed, SIM_USERS how many users have each habit.
func TestPeople(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("not with -short: takes long")
	}
	seed := uint64(1)
	if s := os.Getenv("SIM_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	users := 1
	if s := os.Getenv("SIM_USERS"); s != "" {
		var err error
		if users, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	base := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tw := newTown(t, base, seed, users)
		tw.run()
		tw.check()
	})
}

// town is a server with users, and the world that writes to them.
type town struct {
	t       *testing.T
	rng     *rand.Rand
	people  *population
	lang    *language
	net     *network
	sys     *system.System
	users   []*citizen
	letters map[string]*letterTo
	dealt   map[string]store.UID // By account and mailbox: up to where the user has read.
	due     []*letterTo          // To be sent, with the time of the next try in first.
	when    map[*letterTo]time.Time
	sum     map[kind]*outcomes
	late    map[kind]*outcomes // Of the last 30 days.
	bad     []string
	robbed  int // Phishing in the name of a domain with a strict policy that was delivered.
	n       int
}

// outcomes counts what became of messages.
type outcomes struct {
	sent, atOnce, later, refused, knownSent, knownRefused int
}

func newTown(t *testing.T, base string, seed uint64, users int) *town {
	rng := rand.New(rand.NewPCG(seed, 77))
	tw := &town{
		t: t, rng: rng, people: newPopulation(rng), lang: newLanguage(rng), net: newNetwork(seed, newLedger()),
		letters: map[string]*letterTo{}, dealt: map[string]store.UID{}, when: map[*letterTo]time.Time{}, sum: map[kind]*outcomes{}, late: map[kind]*outcomes{},
	}
	for _, k := range kinds {
		tw.sum[k], tw.late[k] = &outcomes{}, &outcomes{}
	}
	for _, h := range habits {
		for i := range users {
			c := &citizen{habit: h, town: tw, account: fmt.Sprint(h.name, i), rng: rand.New(rand.NewPCG(seed, uint64(len(tw.users)))), wrote: map[string]bool{}, marked: map[string]bool{}, topics: map[string][]string{}}
			tw.users = append(tw.users, c)
		}
	}
	tw.start(base)
	return tw
}

const townStatic = `DataDir: data
LogLevel: info
Hostname: mx.home.example
Listeners:
	public:
		IPs:
			- 192.0.2.10
		SMTP:
			Enabled: true
			NoSTARTTLS: true
Postmaster:
	Account: mox
	Mailbox: Postmaster
`

// start starts the server.
func (tw *town) start(base string) {
	t := tw.t
	var b strings.Builder
	b.WriteString("Domains:\n\thome.example: nil\nAccounts:\n\tmox:\n\t\tDomain: home.example\n")
	for _, c := range tw.users {
		fmt.Fprintf(&b, "\t%s:\n\t\tDomain: home.example\n%s\t\tDestinations:\n\t\t\t%s:\n\t\t\t\tRulesets:\n", c.account, c.config, c.address())
		b.WriteString("\t\t\t\t\t-\n\t\t\t\t\t\tHeadersRegexp:\n\t\t\t\t\t\t\t^list-id$: <talk[.]list[.]example>\n\t\t\t\t\t\tListAllowDomain: list.example\n\t\t\t\t\t\tMailbox: Lists\n")
		b.WriteString("\t\t\t\t\t-\n\t\t\t\t\t\tSMTPMailFromRegexp: @forwarder[.]example$\n\t\t\t\t\t\tVerifiedDomain: forwarder.example\n\t\t\t\t\t\tIsForward: true\n\t\t\t\t\t\tMailbox: Forwarded\n")
	}
	err := errors.Join(
		os.WriteFile(filepath.Join(base, "mox.conf"), []byte(townStatic), 0o600),
		os.WriteFile(filepath.Join(base, "domains.conf"), []byte(b.String()), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	c, err := live.Open(filepath.Join(base, "mox.conf"), live.Options{WatchEvery: 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := dnstest.New(tw.people.zone())
	if err != nil {
		t.Fatal(err)
	}
	p := &process{}
	tw.sys, err = system.New(t.Context(), system.Options{
		Config: c, Log: io.Discard, Resolver: resolver,
		Listen: func(_ context.Context, _, address string) (net.Listener, error) { return tw.net.listen(p, address) },
		Store:  func(o *store.Options) { o.SegmentSize = 4 << 20 },
		Queue:  func(o *queue.Options) { o.LogSize = 1 << 20 },
	})
	if err != nil {
		t.Fatal(err)
	}
}

// run lets 90 days pass.
func (tw *town) run() {
	ctx, cancel := context.WithCancel(tw.t.Context())
	done := make(chan error)
	go func() { done <- tw.sys.Serve(ctx) }()
	synctest.Wait()
	begin := time.Now()
	for day := range townDays {
		for _, c := range tw.users {
			tw.plan(c)
		}
		for half := range 2 {
			tw.deliverUntil(begin.Add(time.Duration(2*day+half+1) * 12 * time.Hour))
			for _, c := range tw.users {
				if err := c.read(ctx, half == 0 && day%7 == 6); err != nil {
					tw.t.Fatalf("%s reads on day %d: %v", c.account, day, err)
				}
			}
		}
	}
	tw.deliverUntil(begin.Add((townDays + retryDays + 1) * 24 * time.Hour))
	cancel()
	if err := errors.Join(<-done, tw.sys.Close()); err != nil {
		tw.t.Error(err)
	}
}

// deliverUntil sends what is due until then.
func (tw *town) deliverUntil(end time.Time) {
	for {
		slices.SortStableFunc(tw.due, func(a, b *letterTo) int { return tw.when[a].Compare(tw.when[b]) })
		if len(tw.due) == 0 || tw.when[tw.due[0]].After(end) {
			break
		}
		m := tw.due[0]
		tw.due = tw.due[1:]
		time.Sleep(time.Until(tw.when[m]))
		tw.try(m)
	}
	time.Sleep(time.Until(end))
}

// retryAfter are the times between tries.
var retryAfter = []time.Duration{15 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour, 24 * time.Hour, 24 * time.Hour}

// try sends a message.
func (tw *town) try(m *letterTo) {
	if m.tries++; m.tries == 1 {
		m.first, m.known = time.Now(), m.user.knows(m.from)
		if m.kind != fromFriend {
			m.known = false
		}
		if m.content == "" {
			tw.t.Fatalf("%s has no content", m.id)
		}
	}
	err := tw.send(m)
	reply, ok := errors.AsType[*smtpclient.Reply](err)
	if err != nil && !ok {
		tw.t.Fatalf("sending %s (%s): %v", m.id, m.kind, err)
	}
	if ok && reply.Temporary() && m.stubborn && m.tries <= len(retryAfter) {
		tw.when[m] = time.Now().Add(retryAfter[m.tries-1])
		tw.due = append(tw.due, m)
		if m.known {
			tw.bad = append(tw.bad, fmt.Sprintf("%s from %s (%v) to %s, try %d: %v", m.id, m.from, m.signers, m.user.account, m.tries, err))
		}
		return
	}
	tw.count(tw.sum[m.kind], m, err)
	if err == nil && m.kind == phishing && m.from == "service@bank.example" {
		tw.robbed++
	}
	if m.first.Sub(tw.begun()) > 60*24*time.Hour {
		tw.count(tw.late[m.kind], m, err)
	}
	if err != nil && m.known {
		tw.bad = append(tw.bad, fmt.Sprintf("%s from %s (%v) to %s: %v", m.id, m.from, m.signers, m.user.account, err))
	}
}

// begun returns the begin of time in a bubble.
func (tw *town) begun() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func (tw *town) count(o *outcomes, m *letterTo, err error) {
	o.sent++
	if m.known {
		o.knownSent++
	}
	switch {
	case err != nil:
		o.refused++
		if m.known {
			o.knownRefused++
		}
	case m.tries == 1:
		o.atOnce++
	default:
		o.later++
	}
}

// send makes one connection for a message.
func (tw *town) send(m *letterTo) error {
	ctx := tw.t.Context()
	conn, err := tw.net.dial(ctx, nil, "192.0.2.10:25", m.ip)
	if err != nil {
		return err
	}
	c, err := smtpclient.New(ctx, conn, smtpclient.Options{Hello: m.hello})
	if err != nil {
		return err
	}
	tx := smtpclient.Transaction{Size: int64(len(m.content)), Content: m.reader}
	if tx.From, err = queue.Path(m.mailFrom); err != nil {
		return err
	}
	to, err := queue.Path(m.user.address())
	if err != nil {
		return err
	}
	tx.To = append(tx.To, to)
	result, err := c.Send(ctx, tx)
	if err == nil && len(result.Rcpts) > 0 {
		err = result.Rcpts[0]
	}
	_ = c.Close() // The server may have ended it.
	return err
}

// check shows what became of the messages, and what must not be.
func (tw *town) check() {
	t := tw.t
	for _, list := range []struct {
		name string
		sum  map[kind]*outcomes
	}{{"all 90 days", tw.sum}, {"the last 30 days", tw.late}} {
		t.Logf("%s: kind | sent | at once | after retries | refused", list.name)
		for _, k := range kinds {
			o := list.sum[k]
			t.Logf("| %s | %d | %d | %d | %d |", k, o.sent, o.atOnce, o.later, o.refused)
		}
	}
	friends := tw.sum[fromFriend]
	if tw.robbed > 0 {
		t.Errorf("%d messages in the name of the bank, which has a strict policy, were taken", tw.robbed)
	}
	t.Logf("of known correspondents: %d, refused or deferred %d", friends.knownSent, len(tw.bad))
	for _, s := range tw.bad[:min(len(tw.bad), 20)] {
		t.Errorf("a known correspondent had trouble: %s", s)
	}
	if friends.knownSent < 100 {
		t.Errorf("only %d messages of known correspondents", friends.knownSent)
	}
	for _, k := range kinds {
		o := tw.late[k]
		if o.sent == 0 {
			t.Errorf("no %s", k)
			continue
		}
		delivered := float64(o.atOnce+o.later) / float64(o.sent)
		switch k {
		case fromFriend, fromList, forwardedHam, newsletter:
			if delivered < 0.97 {
				t.Errorf("%s: %.2f delivered", k, delivered)
			}
		case botSpam, domainSpam:
			if delivered > 0.25 {
				t.Errorf("%s: %.2f delivered", k, delivered)
			}
		}
	}
}

// plan plans the mail of a day for a user.
func (tw *town) plan(c *citizen) {
	for range tw.poisson(3) {
		tw.friend(c)
	}
	for range tw.poisson(0.5) {
		tw.stranger(c)
	}
	for range tw.poisson(1) {
		tw.newsletter(c)
	}
	for range tw.poisson(1) {
		tw.listed(c, tw.people.list, fromList)
	}
	for range tw.poisson(0.5) {
		tw.listed(c, tw.people.otherList, fromOtherList)
	}
	for range tw.poisson(0.7) {
		tw.forwarded(c)
	}
	for range tw.poisson(3) {
		tw.bot(c)
	}
	for range tw.poisson(2) {
		tw.throwaway(c)
	}
	for range tw.poisson(0.5) {
		tw.phish(c)
	}
}

// poisson returns a number around a mean.
func (tw *town) poisson(mean float64) (n int) {
	for p := tw.rng.ExpFloat64(); p < mean; p += tw.rng.ExpFloat64() {
		n++
	}
	return n
}

// newLetter plans a message for some time of the day.
func (tw *town) newLetter(c *citizen, k kind, from host, localpart string, stubborn bool) *letterTo {
	tw.n++
	m := &letterTo{
		id: fmt.Sprint("m", tw.n), kind: k, user: c, from: localpart + "@" + from.domain, mailFrom: localpart + "@" + from.domain,
		hello: "mx." + from.domain, ip: from.ip, stubborn: stubborn,
	}
	if from.dkim {
		m.signers = []string{from.domain}
	}
	tw.letters[m.id] = m
	tw.when[m] = time.Now().Add(time.Duration(tw.rng.Int64N(int64(24 * time.Hour))))
	tw.due = append(tw.due, m)
	return m
}

// verified tells whether SPF or DKIM stand for the sender in From.
func (m *letterTo) verified() bool {
	domain := m.from[strings.IndexByte(m.from, '@')+1:]
	return slices.Contains(m.signers, domain) || m.kind == fromFriend && domain == "friends4.example"
}

func (tw *town) must(err error) {
	if err != nil {
		tw.t.Fatal(err)
	}
}

// write composes an ordinary message.
func (tw *town) write(m *letterTo, topic []string, extra string) {
	tw.must(m.compose(m.user.address(), tw.lang.text(4, topic), tw.lang.text(60, topic), extra, tw.when[m]))
}

// topic returns what somebody writes to a user about.
func (c *citizen) topic(from string) []string {
	if c.topics[from] == nil {
		c.topics[from] = c.town.lang.topic()
	}
	return c.topics[from]
}

func (tw *town) friend(c *citizen) {
	h := tw.people.friends[tw.rng.IntN(len(tw.people.friends))]
	m := tw.newLetter(c, fromFriend, h, []string{"ann", "bob"}[tw.rng.IntN(2)], true)
	tw.write(m, c.topic(m.from), "")
}

func (tw *town) stranger(c *citizen) {
	h := tw.people.providers[tw.rng.IntN(len(tw.people.providers))]
	m := tw.newLetter(c, fromStranger, h, fmt.Sprint("person", tw.rng.IntN(100000)), true)
	tw.write(m, tw.lang.topic(), "")
}

func (tw *town) newsletter(c *citizen) {
	h := tw.people.stores[tw.rng.IntN(len(tw.people.stores))]
	m := tw.newLetter(c, newsletter, h, "news", true)
	tw.write(m, c.topic(m.from), "List-Unsubscribe: <https://"+h.domain+"/>\r\n")
}

// listed is mail of somebody with a strict policy, passed on by a list that breaks the
// signature.
func (tw *town) listed(c *citizen, list host, k kind) {
	author := tw.people.friends[tw.rng.IntN(3)]
	m := tw.newLetter(c, k, list, "bounces", true)
	m.from = fmt.Sprint("member", tw.rng.IntN(5), "@", author.domain)
	tw.write(m, c.topic(list.domain), "List-Id: <talk."+list.domain+">\r\n")
}

// forwarded is mail for another mailbox of the user, wanted or not.
func (tw *town) forwarded(c *citizen) {
	k := forwardedHam
	if tw.rng.IntN(3) == 0 {
		k = forwardedSpam
	}
	m := tw.newLetter(c, k, tw.people.forwarder, "me", true)
	h := tw.people.friends[tw.rng.IntN(3)]
	m.from = "carl@" + h.domain
	m.signers = append(m.signers, h.domain)
	if k == forwardedHam {
		tw.write(m, c.topic(m.from), "")
		return
	}
	bad := tw.people.throwaway[tw.rng.IntN(len(tw.people.throwaway))]
	m.from, m.signers[1] = "offer@"+bad.domain, bad.domain
	tw.junk(m, tw.lang.junk)
}

// junk composes junk.
func (tw *town) junk(m *letterTo, words []string) {
	tw.must(m.compose(m.user.address(), tw.lang.text(4, words), tw.lang.text(60, words), "", tw.when[m]))
}

// bot is junk from somebody's computer, without name, with an invented sender.
func (tw *town) bot(c *citizen) {
	h := host{domain: tw.people.providers[tw.rng.IntN(3)].domain, ip: netip.AddrFrom4([4]byte{100, byte(64 + tw.rng.IntN(64)), byte(tw.rng.IntN(256)), byte(1 + tw.rng.IntN(254))})}
	m := tw.newLetter(c, botSpam, h, fmt.Sprint("x", tw.rng.IntN(100000)), false)
	switch tw.rng.IntN(3) {
	case 0:
		m.hello = "[" + h.ip.String() + "]"
	case 1: // The name of another host, and a domain without policies.
		m.from, m.mailFrom = "info@friends6.example", "info@friends6.example"
	}
	tw.junk(m, tw.lang.junk)
}

// throwaway is junk from domains that were made for it, with all that verifies.
func (tw *town) throwaway(c *citizen) {
	// They are used one after the other.
	day := int(time.Since(tw.begun()) / (24 * time.Hour))
	h := tw.people.throwaway[(day/4+tw.rng.IntN(3))%len(tw.people.throwaway)]
	m := tw.newLetter(c, domainSpam, h, []string{"offer", "deal", "info", "news"}[tw.rng.IntN(4)], tw.rng.IntN(10) == 0)
	tw.junk(m, tw.lang.junk)
}

// phish is mail with the name of a correspondent or of the bank.
func (tw *town) phish(c *citizen) {
	from := host{domain: tw.people.throwaway[tw.rng.IntN(len(tw.people.throwaway))].domain, ip: netip.AddrFrom4([4]byte{100, 127, byte(tw.rng.IntN(256)), byte(1 + tw.rng.IntN(254))})}
	if tw.rng.IntN(2) == 0 {
		from = tw.people.throwaway[tw.rng.IntN(len(tw.people.throwaway))] // Verified, but for another than From.
	}
	m := tw.newLetter(c, phishing, from, "service", false)
	m.from = "service@bank.example"
	if tw.rng.IntN(2) == 0 {
		h := tw.people.friends[tw.rng.IntN(7)]
		m.from = "ann@" + h.domain
	}
	tw.junk(m, tw.lang.bait)
}
