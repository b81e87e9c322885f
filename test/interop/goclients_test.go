package interop

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	gosmtp "github.com/emersion/go-smtp"
	"golang.org/x/sync/errgroup"
)

// dialGoIMAP returns a client of go-imap that is connected with TLS and logged
// in.
func dialGoIMAP(s *server, config *tls.Config, handler *imapclient.UnilateralDataHandler) (*imapclient.Client, error) {
	c, err := imapclient.DialTLS(s.address(portIMAPS), &imapclient.Options{
		TLSConfig: config, UnilateralDataHandler: handler, Dialer: &net.Dialer{Timeout: patience},
	})
	if err != nil {
		return nil, err
	}
	return c, c.Login(login, password).Wait()
}

func goIMAP(t *testing.T, s *server, handler *imapclient.UnilateralDataHandler) *imapclient.Client {
	t.Helper()
	c, err := dialGoIMAP(s, s.tlsConfig(t), handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// goSMTP delivers a message with go-smtp's client.
func goSMTP(s *server, msg string) error {
	conn, err := net.DialTimeout("tcp", s.address(portSMTP), patience)
	if err != nil {
		return err
	}
	c := gosmtp.NewClient(conn)
	defer c.Close()
	if err := c.SendMail("sender@remote.example", []string{login}, strings.NewReader(msg)); err != nil {
		return err
	}
	return c.Quit()
}

// TestGoSMTP uses the extensions that go-smtp has, and TLS.
func TestGoSMTP(t *testing.T) {
	t.Parallel()
	s := start(t)
	conn := s.dial(t, portSMTP)
	c, err := gosmtp.NewClientStartTLS(conn, s.tlsConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	const msg = "Subject: grüße\r\n\r\n.\r\n..\r\nhällo\r\n"
	for _, m := range []struct {
		name string
		opts gosmtp.MailOptions
		from string
		to   string
		with string // In the Received field.
	}{
		{"8BITMIME and SIZE", gosmtp.MailOptions{Body: gosmtp.Body8BitMIME, Size: int64(len(msg))}, "a@b.example", login, "with ESMTPS"},
		{"SMTPUTF8", gosmtp.MailOptions{UTF8: true}, "ä@exämple.org", "用户@例え.example", "with UTF8SMTPS"},
	} {
		if err := c.Mail(m.from, &m.opts); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		if err := c.Rcpt(m.to, nil); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		w, err := c.Data()
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		if _, err := io.WriteString(w, msg); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		if err := w.Close(); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		p := s.imap(t, "Inbox")
		got := p.bytes(p.search("UID *")[0], "BODY[]")
		if !strings.HasSuffix(got, msg) || !strings.Contains(got, m.with) || !strings.Contains(got, "Return-Path: <"+m.from+">") {
			t.Errorf("%s: got %q", m.name, got)
		}
	}
	if err := c.Quit(); err != nil {
		t.Error(err)
	}
}

// TestPipelining sends whole transactions at once, with DATA and with BDAT.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := start(t)
	p := s.smtpRaw(t)
	const msg = "Subject: x\r\n\r\nhello\r\n"
	envelope := "MAIL FROM:<a@b.example>\r\nRCPT TO:<mox@localhost>\r\nRCPT TO:<rcpttopermerror@localhost>\r\n"
	p.send("EHLO client.example\r\n" + envelope + "DATA\r\n")
	for _, want := range []string{"220", "250", "250", "250", "550", "354"} {
		p.want(want)
	}
	bdat := fmt.Sprintf("BDAT %d LAST\r\n%s", len(msg), msg)
	p.send(msg + ".\r\n" + envelope + bdat + envelope + "BDAT 3\r\nSubBDAT 0\r\n" + strings.Replace(bdat, msg, msg, 1) + "NOOP\r\nQUIT\r\n")
	for _, want := range []string{"250", "250", "250", "550", "250", "250", "250", "550", "250", "250", "250", "250", "221"} {
		p.want(want)
	}
	if end := p.reply(); end != "" {
		t.Errorf("after QUIT: got %q", end)
	}
	in := s.imap(t, "Inbox")
	for i, want := range []string{msg, msg, "Sub" + msg} {
		if got := in.bytes(i+1, "BODY.PEEK[]"); !strings.HasSuffix(got, "\r\n"+want) {
			t.Errorf("message %d: got %q, want %q", i+1, got, want)
		}
	}
}

// clients is the number of concurrent sessions, of a family with many devices.
const clients = 20

// watcher is a client that idles, and what it was told.
type watcher struct {
	client  *imapclient.Client
	exists  chan uint32
	flags   chan uint32 // Sequence numbers of FETCH responses.
	expunge chan uint32
}

func newWatcher(t *testing.T, s *server) *watcher {
	t.Helper()
	w := &watcher{exists: make(chan uint32, 100), flags: make(chan uint32, 100), expunge: make(chan uint32, 100)}
	w.client = goIMAP(t, s, &imapclient.UnilateralDataHandler{
		Mailbox: func(d *imapclient.UnilateralDataMailbox) {
			if d.NumMessages != nil {
				w.exists <- *d.NumMessages
			}
		},
		Fetch: func(m *imapclient.FetchMessageData) {
			if _, err := m.Collect(); err == nil {
				w.flags <- m.SeqNum
			}
		},
		Expunge: func(n uint32) { w.expunge <- n },
	})
	if _, err := w.client.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	return w
}

// wait waits until a number comes on c.
func wait(t *testing.T, what string, c <-chan uint32, want uint32) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case n := <-c:
			if n == want {
				return
			}
		case <-timeout:
			t.Fatalf("client was not told of %s", what)
		}
	}
}

// TestIdle lets many clients idle, and has each told of what comes, of flags and
// of what goes.
func TestIdle(t *testing.T) {
	t.Parallel()
	s := start(t)
	var watchers []*watcher
	for range clients {
		w := newWatcher(t, s)
		idle, err := w.client.Idle()
		if err != nil {
			t.Fatal(err)
		}
		watchers = append(watchers, w)
		t.Cleanup(func() {
			if err := idle.Close(); err != nil {
				t.Errorf("ending IDLE: %v", err)
			}
			if err := idle.Wait(); err != nil {
				t.Errorf("IDLE: %v", err)
			}
		})
	}
	actor := s.imap(t, "Inbox")
	for i := range uint32(5) {
		if err := goSMTP(s, "Subject: x\r\n\r\nhello\r\n"); err != nil {
			t.Fatal(err)
		}
		for _, w := range watchers {
			wait(t, "a delivery", w.exists, i+1)
		}
	}
	actor.ok("NOOP")
	actor.ok(`STORE 3 +FLAGS (\Deleted)`)
	for _, w := range watchers {
		wait(t, "a flag", w.flags, 3)
	}
	actor.ok("EXPUNGE")
	for _, w := range watchers {
		wait(t, "an expunged message", w.expunge, 3)
	}
	actor.append("Inbox", "Subject: y\r\n\r\nhello\r\n")
	for _, w := range watchers {
		wait(t, "an appended message", w.exists, 5)
	}
}

// TestManyClients has many clients change one mailbox at a time while mail comes
// in, and compares what they have in the end.
func TestManyClients(t *testing.T) {
	t.Parallel()
	s := start(t)
	config := s.tlsConfig(t)
	g, _ := errgroup.WithContext(context.Background())
	sessions := make([]*imapclient.Client, clients)
	for i := range sessions {
		g.Go(func() (err error) {
			if sessions[i], err = dialGoIMAP(s, config, nil); err != nil {
				return fmt.Errorf("client %d: connecting: %w", i, err)
			}
			if err := worker(sessions[i], i); err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			return nil
		})
	}
	const senders, deliveries = 4, 5
	for range senders {
		g.Go(func() error {
			for range deliveries {
				if err := goSMTP(s, "Subject: delivered\r\n\r\nhello\r\n"); err != nil {
					return fmt.Errorf("delivering: %w", err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	fresh := goIMAP(t, s, nil)
	if _, err := fresh.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	want := contents(t, fresh)
	// Of three messages that each appends, one stays, one goes to the archive.
	if len(want) != clients+senders*deliveries {
		t.Errorf("%d messages are left, want %d", len(want), clients+senders*deliveries)
	}
	for i, c := range sessions {
		if err := c.Noop().Wait(); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, c); !slices.Equal(got, want) {
			t.Errorf("client %d has %v, want %v", i, got, want)
		}
		if err := c.Logout().Wait(); err != nil {
			t.Errorf("client %d: LOGOUT: %v", i, err)
		}
	}
	archive, err := fresh.Status("Archive", &goimap.StatusOptions{NumMessages: true}).Wait()
	if err != nil || *archive.NumMessages != clients {
		t.Errorf("archive: %+v, %v", archive, err)
	}
}

// worker appends three messages, keeps one, moves one, and expunges one.
func worker(c *imapclient.Client, i int) error {
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		return err
	}
	var uids []goimap.UID
	for n := range 3 {
		msg := fmt.Sprintf("Subject: message %d of client %d\r\n\r\n%s\r\n", n, i, strings.Repeat("x", 1000*n))
		ap := c.Append("INBOX", int64(len(msg)), nil)
		if _, err := io.WriteString(ap, msg); err != nil {
			return err
		}
		if err := ap.Close(); err != nil {
			return err
		}
		data, err := ap.Wait()
		if err != nil {
			return fmt.Errorf("APPEND: %w", err)
		}
		uids = append(uids, data.UID)
		set := goimap.UIDSetNum(data.UID)
		got, err := c.Fetch(set, &goimap.FetchOptions{UID: true, BodySection: []*goimap.FetchItemBodySection{{}}}).Collect()
		if err != nil || len(got) != 1 || string(got[0].BodySection[0].Bytes) != msg {
			return fmt.Errorf("FETCH of what was appended: %d messages, %w", len(got), err)
		}
	}
	if _, err := c.Store(goimap.UIDSetNum(uids[0]), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagFlagged, goimap.Flag(fmt.Sprintf("client%d", i))}}, nil).Collect(); err != nil {
		return fmt.Errorf("STORE: %w", err)
	}
	if _, err := c.Move(goimap.UIDSetNum(uids[1]), "Archive").Wait(); err != nil {
		return fmt.Errorf("MOVE: %w", err)
	}
	if _, err := c.Store(goimap.UIDSetNum(uids[2]), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}}, nil).Collect(); err != nil {
		return fmt.Errorf("STORE: %w", err)
	}
	if _, err := c.UIDExpunge(goimap.UIDSetNum(uids[2])).Collect(); err != nil {
		return fmt.Errorf("EXPUNGE: %w", err)
	}
	return nil
}

// contents returns sequence number, UID and flags of all messages, as a client
// is told.
func contents(t *testing.T, c *imapclient.Client) (list []string) {
	t.Helper()
	set := goimap.SeqSet{}
	set.AddRange(1, 0)
	messages, err := c.Fetch(set, &goimap.FetchOptions{UID: true, Flags: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		slices.Sort(m.Flags)
		list = append(list, fmt.Sprint(m.SeqNum, m.UID, m.Flags))
	}
	if mb := c.Mailbox(); mb == nil || mb.NumMessages != uint32(len(list)) {
		t.Errorf("mailbox is %+v, and has %d messages", mb, len(list))
	}
	return list
}
