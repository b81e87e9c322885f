package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/smtp"
	"github.com/mjl-/mox/smtpclient"
)

// sessionMax bounds the messages that a user sends at a time.
const sessionMax = 20

// user sends mail with an account of a node.
type user struct {
	world *world
	node  *node
	name  string
	rng   *rand.Rand
	left  int // Messages it will send.
}

// place returns where the sender's mail is.
func (m *letter) place() string {
	name, domain, _ := strings.Cut(m.from, "@")
	return strings.TrimSuffix(domain, ".example") + "/" + name
}

// send sends all messages, some at a time.
func (u *user) send() {
	pause := loadTime * (1 + sessionMax/2) / time.Duration(max(1, u.left))
	for u.left > 0 {
		time.Sleep(time.Duration(u.rng.Int64N(int64(2 * pause))))
		if err := u.session(1 + u.rng.IntN(sessionMax)); err != nil && !isTrouble(err) {
			u.world.t.Errorf("%s of %s: %v", u.name, u.node.name, err)
			return
		}
	}
}

// isTrouble tells whether an error is what a user must expect: no server, a lost
// connection, or a server that has trouble.
func isTrouble(err error) bool {
	reply, ok := errors.AsType[*smtpclient.Reply](err)
	return ok && reply.Temporary() || errors.Is(err, smtpclient.ErrLost) || errors.Is(err, errRefused)
}

// session logs in and sends up to n messages.
func (u *user) session(n int) error {
	ctx := u.world.t.Context()
	conn, err := u.world.net.dial(ctx, nil, netip.AddrPortFrom(u.node.ips[0], 587).String(), netip.Addr{})
	if err != nil {
		return err
	}
	c, err := smtpclient.New(ctx, conn, smtpclient.Options{Hello: "[198.51.100.1]", Auth: u.plain})
	if err != nil {
		return err
	}
	for ; n > 0 && u.left > 0 && !c.Broken() && err == nil; n-- {
		err = u.letter(ctx, c)
	}
	return errors.Join(err, c.Close())
}

func (u *user) plain([]string, *tls.ConnectionState) (sasl.Client, error) {
	return &sasl.PlainClient{Username: u.name + "@" + u.node.domain(), Password: password}, nil
}

// letter sends one message.
func (u *user) letter(ctx context.Context, c *smtpclient.Client) error {
	m := u.compose()
	u.left--
	t := smtpclient.Transaction{
		Size: int64(len(m.content)), Content: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(m.content)), nil },
	}
	var err error
	if !m.null {
		if t.From, err = queue.Path(m.from); err != nil {
			return err
		}
	}
	for _, r := range m.to {
		path, err := queue.Path(r.addr)
		if err != nil {
			return err
		}
		t.To = append(t.To, path)
		if m.notify != "" {
			t.RcptDSN = append(t.RcptDSN, smtp.RcptDSN{Notify: m.notify})
		}
	}
	if c.Extensions().FutureReleaseMax > 0 && u.rng.IntN(20) == 0 {
		t.HoldFor = time.Duration(1+u.rng.IntN(10*60)) * time.Minute
		m.notBefore = time.Now().Add(t.HoldFor)
	}
	result, err := c.Send(ctx, t)
	var taken []rcpt
	var refusal error // Of some recipients, as addresses here that don't exist.
	for i, rerr := range result.Rcpts {
		if _, ok := errors.AsType[*smtpclient.Reply](rerr); ok {
			refusal = rerr
			continue
		}
		taken = append(taken, m.to[i])
	}
	switch {
	case result.MaybeSent:
		m.to, m.state = taken, unknownState
	case err == nil && len(taken) > 0:
		m.to, m.state = taken, acceptedState
	case err == nil && refusal == nil:
		err = fmt.Errorf("nothing came of %s: %v", m.id, result)
	}
	u.world.ledger.write(m)
	return err
}

// compose makes a message for some recipients.
func (u *user) compose() *letter {
	m := &letter{id: u.world.nextID(), from: u.name + "@" + u.node.domain(), null: u.rng.IntN(40) == 0}
	m.notify = []smtp.Notify{"", "", "", "SUCCESS,FAILURE,DELAY", "SUCCESS", "FAILURE", smtp.NotifyNever}[u.rng.IntN(7)]
	chosen := map[string]bool{}
	for n := 1 + u.rng.IntN(1+u.rng.IntN(4)); n > 0; n-- {
		r, names := u.recipient()
		again := false
		for _, name := range names {
			again = again || chosen[name]
		}
		if again || m.null && len(r.places) == 0 {
			continue
		}
		for _, name := range names {
			chosen[name] = true
		}
		m.to = append(m.to, r)
	}
	if len(m.to) == 0 {
		addr, place := "u0@"+u.node.domain(), u.node.name+"/u0"
		m.to = []rcpt{{addr: addr, places: []string{place}}}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "From: <%s>\r\nTo: everybody: ;\r\nSubject: %s\r\nMessage-ID: <%s@%s>\r\nDate: %s\r\n\r\n",
		m.from, m.id, m.id, u.node.domain(), time.Now().Format("Mon, 2 Jan 2006 15:04:05 -0700"))
	for lines := u.rng.IntN(20); lines >= 0; lines-- {
		fmt.Fprintf(&b, ".%x is in %s.\r\n", u.rng.Uint64(), m.id)
	}
	if u.rng.IntN(100) == 0 {
		b.WriteString(strings.Repeat(strings.Repeat("large ", 12)+"\r\n", 1000+u.rng.IntN(6000)))
	}
	m.content = b.String()
	return m
}

// recipient chooses a recipient. Names are what may be chosen once for a message.
func (u *user) recipient() (r rcpt, names []string) {
	n := u.world.nodes[u.rng.IntN(len(u.world.nodes))]
	if u.rng.IntN(3) == 0 {
		n = u.node
	}
	at := "@" + n.domain()
	switch k := u.rng.IntN(40); {
	case k == 0:
		r = rcpt{addr: "nobody" + at}
	case k == 1:
		r = rcpt{addr: "moved" + at}
	case k == 2:
		r = rcpt{addr: "full" + at, late: true}
	case k == 3:
		r = rcpt{addr: "somebody@nx.example"}
	case k == 4:
		r = rcpt{addr: "somebody@null.example"}
	case k == 5:
		r = rcpt{addr: "somebody@down.example", late: true}
	case k < 10:
		names = []string{n.name + "/u4", n.name + "/u5"}
		me := u.node.name + "/" + u.name // An alias has no copy for its author.
		return rcpt{addr: "team" + at, places: slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == me })}, names
	default:
		name := fmt.Sprintf("u%d", u.rng.IntN(usersMax))
		r = rcpt{addr: name + at, places: []string{n.name + "/" + name}}
		return r, r.places
	}
	return r, []string{r.addr}
}
