//go:build unix

package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
	"github.com/mjl-/mox/system"
)

// drainWait bounds the wait until a queue is empty.
const drainWait = 30 * time.Second

// inspectSystem does what inspect does with a whole System: it starts one on what
// is left, sees that new mail goes through, waits until all mail is where it
// belongs, and looks at all of it.
func inspectSystem(ctx context.Context, l *mailLedger, dir string) (dump, *mailDump, error) {
	out, found := dump{Accounts: map[string]dumpAccount{}}, newMailDump()
	if err := out.verifyDir(ctx, dir); err != nil {
		return out, found, err
	}
	r, err := l.server.run(ctx, nil)
	if err != nil {
		return out, found, err
	}
	m := mailer{r, l.note}
	err = m.probe(ctx, fmt.Sprintf("probe.%d", len(l.letters)))
	if err == nil {
		err = m.drain(ctx, !l.patient)
	}
	if err := errors.Join(err, r.stop()); err != nil {
		return out, found, errors.Join(err, r.Close())
	}
	if err := errors.Join(out.open(ctx, r.Accounts()), out.mail(ctx, r.System, found)); err != nil {
		return out, found, errors.Join(err, r.Close())
	}
	if err := r.Close(); err != nil {
		return out, found, err
	}
	out.leftInQueue(dir)
	if err := out.verifyJournal(ctx, dir, "after the restart"); err != nil {
		return out, found, err
	}
	return out, found, out.strays(dir)
}

// probe sends mail each way.
func (m *mailer) probe(ctx context.Context, id string) error {
	for way, rcpts := range map[string][]string{
		wayUser:  {"alice@crash.example", "list@crash.example", refused, id + ".user-ok@remote.example"},
		wayOther: {"bob@crash.example"},
	} {
		s := &session{way: way}
		if err := errors.Join(m.letter(ctx, s, id+"."+way, rcpts), s.close()); err != nil {
			return fmt.Errorf("new mail after the crash: %w", err)
		}
	}
	return nil
}

// drainPoll is the time between looks at a queue.
const drainPoll = 5 * time.Millisecond

var errHeld = errors.New("messages are held")

// drain waits until nothing waits in the queue. In a hurry it doesn't wait for the
// time of the next attempts.
func (m *mailer) drain(ctx context.Context, hurry bool) error {
	deadline := time.Now().Add(drainWait)
	for {
		counts := m.Queue().Stats().Messages
		if counts[queue.Waiting]+counts[queue.Delivering] == 0 {
			if counts[queue.Held] > 0 {
				return fmt.Errorf("%w: %v", errHeld, counts)
			}
			return nil
		}
		select {
		case err := <-m.served:
			m.served <- err
			return fmt.Errorf("serving ended: %w", err)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the queue is not empty: %v", counts)
		}
		if counts[queue.Waiting] > 0 && hurry {
			if _, err := m.Queue().Reschedule(ctx, queue.Filter{State: queue.Waiting}, func(queue.Message) time.Time { return time.Now() }); err != nil {
				return err
			}
		}
		time.Sleep(drainPoll)
	}
}

// mail reads what became of mail.
func (out *dump) mail(ctx context.Context, s *system.System, found *mailDump) error {
	waiting, err := unconfirmed(ctx, s.Queue())
	if err != nil {
		return err
	}
	for _, name := range userNames {
		a, err := s.Accounts().Account(ctx, name)
		if err != nil {
			return err
		}
		a.WaitDurable(ctx) // The last deliveries may not be applied yet.
		err = out.mailOf(ctx, name, a, found)
		keys, kerr := a.HandoverKeys(ctx)
		for _, key := range keys {
			if !waiting[queue.Handed{Account: name, Key: key}] {
				out.problem("account %s has a key that the queue doesn't know: %s", name, key)
			}
		}
		if err := errors.Join(err, kerr, a.Close()); err != nil {
			return fmt.Errorf("reading account %s: %w", name, err)
		}
	}
	for _, err := range s.Queue().Check(ctx) {
		out.problem("queue: %v", err)
	}
	retired, err := s.Queue().List(ctx, queue.Filter{State: queue.Retired}, queue.Sort{})
	for _, m := range retired {
		id := contentID(strings.Trim(m.MessageID, "<>"))
		found.retired[id] = append(found.retired[id], m)
	}
	return err
}

// unconfirmed returns the keys of retired messages.
func unconfirmed(ctx context.Context, q *queue.DB) (map[queue.Handed]bool, error) {
	keys := map[queue.Handed]bool{}
	list, err := q.Unconfirmed(ctx, 1<<20)
	for _, k := range list {
		keys[k] = true
	}
	return keys, err
}

// mailOf reads all messages of an account.
func (out *dump) mailOf(ctx context.Context, name string, a *store.Account, found *mailDump) error {
	return a.View(ctx, func(tx *store.Tx) error {
		boxes, err := tx.Mailboxes()
		if err != nil {
			return err
		}
		for _, mb := range boxes {
			for uid := store.UID(1); uid < mb.UIDNext; uid++ {
				data, err := messageOf(tx, a, mb.ID, uid)
				if err != nil {
					return fmt.Errorf("%s, UID %d: %w", mb.Name, uid, err)
				}
				out.addMail(name, data, found)
			}
		}
		return nil
	})
}

// messageOf returns prefix and content of a message.
func messageOf(tx *store.Tx, a *store.Account, mailbox int64, uid store.UID) ([]byte, error) {
	m, err := tx.Message(mailbox, uid)
	if err != nil {
		return nil, err
	}
	e, err := tx.Email(m.EmailID)
	if err != nil {
		return nil, err
	}
	f, err := a.OpenMessage(e.ID)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(f)
	return slices.Concat(e.Prefix, content), errors.Join(err, f.Close())
}

// addMail notes a message that an account has.
func (out *dump) addMail(name string, data []byte, found *mailDump) {
	about, err := parseNotice(data)
	if err == nil {
		found.notices[about]++
		if name != userNames[0] {
			out.problem("account %s has a notice about %s", name, about.id)
		}
		return
	}
	_, id, _ := strings.Cut(string(data), "\r\nMessage-ID: <")
	id, _, ok := strings.Cut(id, "@crash.example>\r\n")
	if why := wholeness(data, id); !ok || why != "" {
		out.problem("account %s: %s: %s", name, id, why)
		return
	}
	if found.copies[id] == nil {
		found.copies[id] = map[string]int{}
	}
	found.copies[id][name]++
}

// leftInQueue looks for content files of an empty queue.
func (out *dump) leftInQueue(dir string) {
	err := filepath.WalkDir(filepath.Join(dir, "queue", "content"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out.problem("left in the empty queue: %s", path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		out.problem("reading contents of the queue: %v", err)
	}
}

// confirmed starts a System, and returns when what accounts keep for the queue is
// confirmed. It fails if they keep more than that.
func confirmed(ctx context.Context, l *mailLedger) error {
	r, err := l.server.run(ctx, nil)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(drainWait); err == nil; time.Sleep(drainPoll) {
		var waiting map[queue.Handed]bool
		if waiting, err = unconfirmed(ctx, r.Queue()); len(waiting) == 0 {
			break
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("not confirmed: %v", waiting)
		}
	}
	err = errors.Join(err, r.stop())
	for _, name := range userNames {
		a, aerr := r.Accounts().Account(ctx, name)
		if aerr != nil {
			return errors.Join(err, aerr, r.Close())
		}
		keys, kerr := a.HandoverKeys(ctx)
		if len(keys) > 0 {
			kerr = fmt.Errorf("account %s keeps %q", name, keys)
		}
		err = errors.Join(err, kerr, a.Close())
	}
	return errors.Join(err, r.Close())
}
