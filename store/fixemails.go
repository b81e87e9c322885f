package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
)

// size returns the bytes that the Emails count for.
func (m *merge) size(ctx context.Context) (size int64, err error) {
	for {
		id := m.next()
		if id == cursorEnd {
			return size, nil
		}
		one, err := m.take(id)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return 0, err
		}
		if one.email != nil && one.messages > 0 {
			size += one.email.Size
		}
	}
}

// emailFix is an Email with something wrong, and what its file says.
type emailFix struct {
	id   int64
	rows emailRows
	gone bool // There is no content.
	size int64
	crc  uint32
	an   *Analysis // Nil: what was derived from the content stays.
}

// threadRounds is how often Emails are gone through again after a thread was
// mended: those further down are looked at anew.
const threadRounds = 10

// emails mends Emails, with what belongs to them.
func (f *fixer) emails(ctx context.Context) error {
	for range threadRounds {
		before := f.threads
		if err := f.emailsOnce(ctx); err != nil || f.threads == before {
			return err
		}
	}
	return nil
}

// emailsOnce goes through all Emails in the order of their ids.
func (f *fixer) emailsOnce(ctx context.Context) error {
	for after := int64(0); ; {
		list, last, err := f.wrongEmails(ctx, after)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			err := f.update(ctx, func(tx *Tx) error {
				for i := range list {
					if err := f.fixEmail(tx, &list[i]); err != nil {
						return fmt.Errorf("email %d: %w", list[i].id, err)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if last == cursorEnd {
			return nil
		}
		after = last
	}
}

// wrongEmails returns Emails with something wrong and ids above after, and the id
// up to which it looked.
func (f *fixer) wrongEmails(ctx context.Context, after int64) (list []emailFix, last int64, err error) {
	err = f.db.Read(ctx, func(b *bstore.Tx) error {
		list, last = nil, cursorEnd
		m, err := newMerge(b, after+1)
		if err != nil {
			return err
		}
		defer m.close()
		for id := m.next(); id != cursorEnd; id = m.next() {
			one, err := m.take(id)
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			fix, wrong, err := f.look(ctx, b, id, one)
			if err != nil {
				return err
			}
			if wrong {
				list = append(list, fix)
			}
			if len(list) == fixMax {
				last = id
				return nil
			}
		}
		return nil
	})
	return list, last, err
}

// look finds out whether something is wrong with an Email: what Verify would
// report.
func (f *fixer) look(ctx context.Context, b *bstore.Tx, id int64, one emailRows) (fix emailFix, wrong bool, err error) {
	c := newChecker(f.c.a, func(Problem) { wrong = true })
	c.tx, c.content, c.again = newTx(f.c.a, b, accountRow{}, false), true, f.c.again
	fix = emailFix{id: id, rows: one}
	if _, err := c.email(ctx, id, one); err != nil || one.email == nil {
		return fix, wrong, err
	}
	f.known.add(id)
	e := one.email
	fix.size, fix.crc = e.FileSize, e.CRC
	if !wrong || one.erase && one.messages == 0 {
		return fix, wrong, nil
	}
	if _, ok := f.c.again[id]; ok {
		return fix, wrong, nil // The journal has the content.
	}
	sum, size, err := checksum(f.c.a.messagePath(id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fix.gone = true
		return fix, wrong, nil
	case err != nil:
		return fix, wrong, err
	case size == e.FileSize && sum != e.CRC:
		return fix, wrong, nil // Damaged: nothing in it is to be believed.
	}
	fix.size, fix.crc = size, sum
	fix.an, err = f.analyze(id, size)
	return fix, wrong, err
}

// analyze reads the file of an Email.
func (f *fixer) analyze(id, size int64) (*Analysis, error) {
	file, err := os.Open(f.c.a.messagePath(id))
	if err != nil {
		return nil, err
	}
	an, err := Analyze(file, size)
	return &an, errors.Join(err, file.Close())
}

// fixEmail mends one Email.
func (f *fixer) fixEmail(tx *Tx, fix *emailFix) error {
	e := fix.rows.email
	switch {
	case e == nil && fix.rows.messages == 0:
		f.did("removed structure %d, which has no email", fix.id)
		return deleteIfThere(tx, &Structure{EmailID: fix.id})
	case e == nil || fix.gone && fix.rows.messages > 0:
		return f.removeLost(tx, fix)
	case fix.rows.messages == 0 && !fix.rows.erase:
		f.did("email %d is in no mailbox, and is erased at the next start", fix.id)
		return tx.b.Insert(&Erase{EmailID: fix.id, ModSeq: tx.row.ModSeq})
	case fix.rows.messages > 0 && fix.rows.erase:
		f.did("email %d is in a mailbox, and is not erased any more", fix.id)
		if err := deleteIfThere(tx, &Erase{EmailID: fix.id}); err != nil {
			return err
		}
	}
	if err := f.fixSize(tx, fix); err != nil {
		return err
	}
	if err := f.fixReject(tx, e); err != nil {
		return err
	}
	if err := f.fixThread(tx, e); err != nil {
		return err
	}
	if err := tx.b.Update(e); err != nil {
		return err
	}
	return f.fixStructure(tx, fix)
}

// fixSize makes an Email and its messages have the size of the content.
func (f *fixer) fixSize(tx *Tx, fix *emailFix) error {
	e := fix.rows.email
	size := fix.size + int64(len(e.Prefix))
	if e.FileSize != fix.size {
		f.did("email %d had a file of %d bytes, and is taken to be that of %d bytes that is there", e.ID, e.FileSize, fix.size)
	}
	e.FileSize, e.CRC = fix.size, fix.crc
	if e.Size == size && (fix.rows.messages == 0 || fix.rows.least == size && fix.rows.most == size) {
		return nil
	}
	f.did("email %d said size %d, its messages %d, and says %d", e.ID, e.Size, fix.rows.most, size)
	e.Size = size
	list, err := bstore.QueryTx[Message](tx.b).FilterNonzero(Message{EmailID: e.ID}).List()
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Size = size
		if err := tx.b.Update(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// fixThread mends by what an Email is found, and its place in its thread.
func (f *fixer) fixThread(tx *Tx, e *Email) error {
	if e.MessageKey != key(e.MessageID) || e.SubjectKey != key(e.Subject) {
		f.did("email %d is found by its Message-ID and subject again", e.ID)
		e.MessageKey, e.SubjectKey = key(e.MessageID), key(e.Subject)
	}
	wrong := false
	c := newChecker(f.c.a, func(Problem) { wrong = true })
	c.tx = tx
	if err := c.thread(e); err != nil || !wrong {
		return err
	}
	f.threads++
	f.did("email %d in thread %d with ancestors %d has got its place anew", e.ID, e.ThreadID, e.Ancestors)
	var parent *Email
	for _, id := range e.Ancestors {
		p := Email{ID: id}
		if err := tx.b.Get(&p); err == nil && id < e.ID { // It was there first, so that there is no circle.
			parent = &p
			break
		} else if err != nil && !errors.Is(err, bstore.ErrAbsent) {
			return err
		}
	}
	e.ThreadID, e.Ancestors = e.ID, nil
	if parent != nil {
		e.ThreadID, e.Ancestors = parent.ThreadID, ancestorsOf(e.ID, parent)
	}
	return nil
}

// fixStructure derives a structure from the content again.
func (f *fixer) fixStructure(tx *Tx, fix *emailFix) error {
	if fix.an == nil {
		return nil
	}
	s := fix.rows.structure
	header := keptHeader(fix.rows.email.Prefix, fix.an)
	if s != nil && s.differs(fix.an, header) == "" {
		return nil
	}
	f.did("the structure of email %d was derived from its file again", fix.id)
	row := Structure{EmailID: fix.id, Tree: fix.an.Tree, Envelope: fix.an.Envelope, BodyStructure: fix.an.BodyStructure, Header: header}
	if s == nil {
		return tx.b.Insert(&row)
	}
	return tx.b.Update(&row)
}

// lostMessage is what is known of a message that was removed.
type lostMessage struct {
	Mailbox   string    `json:"mailbox"`
	UID       UID       `json:"uid"`
	Flags     []string  `json:"flags,omitempty"`
	Received  time.Time `json:"received"`
	Size      int64     `json:"size"` // In bytes.
	EmailID   int64     `json:"emailID"`
	MessageID string    `json:"messageID,omitempty"`
	Subject   string    `json:"subject,omitempty"` // Base subject.
	Preview   string    `json:"preview,omitempty"`
	Envelope  string    `json:"envelope,omitempty"` // As IMAP has it.
	Prefix    string    `json:"prefix,omitempty"`   // Header lines added here.
	MailFrom  string    `json:"mailFrom,omitempty"`
	RcptTo    string    `json:"rcptTo,omitempty"`
}

// removeLost removes the messages of an Email without content, as if a client had
// expunged them, and keeps what is known of them in a file.
func (f *fixer) removeLost(tx *Tx, fix *emailFix) error {
	list, err := bstore.QueryTx[Message](tx.b).FilterEqual("EmailID", fix.id).List()
	if err != nil {
		return err
	}
	for i := range list {
		m := &list[i]
		box, err := tx.box(m.MailboxID)
		if err != nil && !errors.Is(err, ErrNoMailbox) {
			return err
		}
		lost := lostOf(m, box, fix)
		if err := f.note(lost); err != nil {
			return err
		}
		f.did("removed UID %d from %q, of which there is no file: Message-ID %q, subject %q, received %s",
			m.UID, lost.Mailbox, lost.MessageID, lost.Subject, lost.Received.Format(time.RFC3339))
		if err := tx.remove(box, m, false); err != nil {
			return err
		}
	}
	if fix.rows.email == nil {
		return deleteIfThere(tx, &Structure{EmailID: fix.id})
	}
	if fix.rows.erase {
		return nil
	}
	return tx.b.Insert(&Erase{EmailID: fix.id, ModSeq: tx.row.ModSeq})
}

// lostOf returns what is known of a message. box may be nil.
func lostOf(m *Message, box *Mailbox, fix *emailFix) lostMessage {
	l := lostMessage{UID: m.UID, Flags: m.Flags().Names(), Received: since(m.Received), Size: m.Size, EmailID: fix.id}
	if box != nil {
		l.Mailbox = box.Name
	}
	if e := fix.rows.email; e != nil {
		l.MessageID, l.Subject, l.Preview, l.Prefix = e.MessageID, e.Subject, e.Preview, string(e.Prefix)
		l.MailFrom, l.RcptTo = e.Facts.MailFrom, e.Facts.RcptTo
	}
	if s := fix.rows.structure; s != nil {
		l.Envelope = string(s.Envelope)
	}
	return l
}

// note adds a line to removed.jsonl of the account, durably.
func (f *fixer) note(l lostMessage) error {
	dir := filepath.Join(f.Moved, "accounts", f.c.a.name)
	if err := atomicfile.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, "removed.jsonl"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	return errors.Join(err, file.Sync(), file.Close(), atomicfile.SyncDir(dir))
}

// deleteIfThere removes a row.
func deleteIfThere(tx *Tx, row any) error {
	if err := tx.b.Get(row); errors.Is(err, bstore.ErrAbsent) {
		return nil
	} else if err != nil {
		return err
	}
	return tx.b.Delete(row)
}
