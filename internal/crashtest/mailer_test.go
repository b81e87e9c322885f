//go:build unix

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/smtp"
	"strings"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
)

// mailer puts mail into a System that runs, and tells of it.
type mailer struct {
	*running
	tell func(fact)
}

// Ways of mail into a System.
const (
	wayUser     = "user"     // Submitted by alice.
	wayUserNull = "usernull" // The same with the null sender.
	wayOther    = "other"    // From another server.
	wayOwn      = "own"      // Queued by the System itself, with the null sender.
	wayForward  = "forward"  // The same, with a sender that is not ours.
)

// session is a connection on which messages are sent.
type session struct {
	c    *smtp.Client
	way  string
	left int // Messages until there is a new connection.
}

// sessionMax bounds the messages on a connection.
const sessionMax = 10

// newLetter returns the message with an id. It is complete, so that it stays as it
// is.
func newLetter(id string) []byte {
	return append([]byte("From: <alice@crash.example>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nTo: others:;\r\n"), newMessage(id)...)
}

// senderOf returns the MAIL FROM of a message, without angle brackets.
func senderOf(way, id string) string {
	switch way {
	case wayUserNull, wayOwn:
		return ""
	case wayOther:
		return "somebody@remote.example"
	case wayForward:
		return id + "-" + sinkOK + "@remote.example"
	}
	return "alice@crash.example"
}

// letter tells of a message on its way in, sends it, and tells that it was taken.
func (m *mailer) letter(ctx context.Context, s *session, id string, rcpts []string) error {
	m.tell(fact{Op: opSubmitting, ID: id, Account: s.way, Accounts: rcpts})
	var err error
	if s.way == wayOwn || s.way == wayForward {
		err = m.queue(ctx, s.way, id, rcpts)
	} else {
		err = m.send(s, id, rcpts)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.way, err)
	}
	m.tell(fact{Op: opSubmitted, ID: id})
	return nil
}

// send sends a message over SMTP.
func (m *mailer) send(s *session, id string, rcpts []string) error {
	if err := m.connect(s); err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	s.left--
	if err := s.c.Mail(senderOf(s.way, id)); err != nil {
		return err
	}
	for _, rcpt := range rcpts {
		if err := s.c.Rcpt(rcpt); err != nil {
			return fmt.Errorf("%s: %w", rcpt, err)
		}
	}
	w, err := s.c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(newLetter(id)); err != nil {
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

// connect makes a connection if there is none, or if it had its share.
func (m *mailer) connect(s *session) error {
	if s.c != nil && s.left > 0 {
		return nil
	}
	if s.c != nil {
		if err := s.c.Quit(); err != nil {
			return err
		}
	}
	service := config.ServiceSubmission
	if s.way == wayOther {
		service = config.ServiceSMTP
	}
	var err error
	if s.c, err = smtp.Dial(m.address(service)); err != nil {
		return err
	}
	s.left = sessionMax
	if err := s.c.Hello("client.example"); err != nil || s.way == wayOther {
		return err
	}
	return s.c.Auth(smtp.PlainAuth("", "alice@crash.example", password, "127.0.0.1"))
}

// close ends the connection.
func (s *session) close() error {
	if s.c == nil {
		return nil
	}
	return s.c.Quit()
}

// queue puts a message into the queue without a client.
func (m *mailer) queue(ctx context.Context, way, id string, rcpts []string) error {
	from, err := queue.Path(senderOf(way, id))
	if err != nil {
		return err
	}
	msg := newLetter(id)
	n := queue.New{MailFrom: from, MessageID: "<" + id + "@crash.example>", Subject: id}
	for _, rcpt := range rcpts {
		to, err := queue.Path(rcpt)
		if err != nil {
			return err
		}
		n.To = append(n.To, queue.NewRcpt{Path: to, Prefix: []byte("Received: by itself\r\n")})
	}
	if n.Content, err = m.Queue().NewContent(ctx, int64(len(msg)), strings.NewReader(string(msg))); err != nil {
		return err
	}
	_, err = m.Queue().Add(ctx, n)
	return err
}

// refused is an address of ours that fails when the queue delivers to it, and
// unknown one that is not there: submission doesn't take it.
const (
	refused = "queue-550@crash.example"
	unknown = "nobody@crash.example"
)

// pickRcpts returns recipients for a message: some, in any order.
func pickRcpts(rng *rand.Rand, way, id string) []string {
	var all []string
	for _, name := range userNames {
		all = append(all, name+"@crash.example")
	}
	if way != wayOther {
		// A list makes copies of a message whose author is alice for the others.
		all = append(all, "list@crash.example", refused)
		for _, kind := range []string{sinkOK, sinkOK, sinkLater, sinkDrop, sinkNever} {
			all = append(all, fmt.Sprintf("%s-%d-%s@remote.example", id, len(all), kind))
		}
	}
	if way == wayOwn || way == wayForward {
		all = append(all, unknown)
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+rng.IntN(min(4, len(all)))]
}

// mail puts a System under load: it runs what it is given, each again and again.
func (c *child) mail(run func(n int, fn func(*rand.Rand))) {
	ctx := context.Background()
	for i, way := range []string{wayUser, wayUser, wayUser, wayUserNull, wayOther, wayOther, wayOwn, wayForward} {
		s := &session{way: way}
		run(200+i, func(rng *rand.Rand) {
			id := c.newID(rng)
			if err := c.mailer.letter(ctx, s, id, pickRcpts(rng, way, id)); err != nil {
				c.unexpected(err)
			}
		})
	}
	if len(c.NoSync) == 0 {
		run(210, func(rng *rand.Rand) {
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
			if _, err := c.system.Queue().CopyTo(ctx, c.Dir+queueBackupSuffix); err != nil {
				c.unexpected(fmt.Errorf("copying queue: %w", err))
			}
			c.remove(c.Dir + queueBackupSuffix)
		})
	}
}

// mailOut submits mail to the sink.
func (c *child) mailOut(run func(n int, fn func(*rand.Rand))) {
	for i := range 4 {
		s := &session{way: wayUser}
		run(200+i, func(rng *rand.Rand) {
			id := c.newID(rng)
			if err := c.mailer.letter(context.Background(), s, id, []string{id + "-ok@remote.example"}); err != nil {
				c.unexpected(err)
			}
		})
	}
}

// sendOne submits one message.
func (c *child) sendOne() {
	s := &session{way: wayUser}
	if err := c.mailer.letter(context.Background(), s, c.Round+".one", c.Rcpts); err != nil {
		c.unexpected(err)
	}
}

// queueBackupSuffix follows the name of the data directory in that of the copy of
// its queue.
const queueBackupSuffix = ".queue"
