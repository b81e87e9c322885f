package store

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/bstore"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/journal"
)

// asideDir and failedDir, in the journal's directory, keep records apart: those
// of accounts that could not apply them in time, and those that nobody can apply.
const (
	asideDir  = "aside"
	failedDir = "failed"
)

// replay is the state of visiting the journal at start.
type replay struct {
	d        *Dir
	accounts map[string]*Account // Nil: there is no such account.
	items    []replayItem
	aside    map[asideKey]bool // Records that were put aside, and may be in the journal too.
	unpin    func()
}

// replayItem is an item whose account is known.
type replayItem struct {
	a  *Account
	it *item
}

// openJournal opens the journal, visits every record in it, and hands those not
// yet applied to their accounts (journal.md, rule 7).
func (d *Dir) openJournal(ctx context.Context) error {
	j, err := journal.Open(filepath.Join(d.opts.Dir, "journal"), journal.Options{
		SegmentSize: d.opts.SegmentSize, Faults: d.faults, Rand: d.opts.Rand, Durable: d.durable,
		Observe: func(e journal.Event) {
			d.observe(Event{Kind: "batch", Records: e.Records, Bytes: e.Bytes, Took: e.Took, Err: e.Err})
		},
	})
	if err != nil {
		return fmt.Errorf("opening journal: %w", err)
	}
	d.journal = j
	for _, sub := range []string{asideDir, failedDir} {
		if err := atomicfile.MkdirAll(filepath.Join(d.opts.Dir, "journal", sub), 0o750); err != nil {
			return err
		}
	}
	if err := d.removeShared(); err != nil {
		return fmt.Errorf("removing shared content: %w", err)
	}
	// A file must not be erased between its check and its repair.
	r := &replay{d: d, accounts: map[string]*Account{}, aside: map[asideKey]bool{}, unpin: d.pin()}
	defer r.close()
	if err := r.loadAside(ctx); err != nil {
		return err
	}
	if err := j.Entries(func(e *journal.Entry) error { return r.visit(ctx, e) }); err != nil {
		return fmt.Errorf("visiting journal: %w", err)
	}
	for _, a := range r.accounts {
		if a != nil && a.watermark.journal == j.ID() {
			j.Floor(a.watermark.seq)
		}
	}
	if err := j.Start(); err != nil {
		return fmt.Errorf("starting journal: %w", err)
	}
	for _, ri := range r.items {
		ri.a.push(ri.it)
	}
	return nil
}

// close gives back the accounts; those with items stay open by themselves.
func (r *replay) close() {
	r.unpin()
	for _, a := range r.accounts {
		if a == nil {
			continue
		}
		a.eraseSoon()
		if err := a.Close(); err != nil {
			r.d.log.Error("closing account after replay", "account", a.name, "err", err)
		}
	}
}

// errDamaged means that an account is there and can't be opened.
var errDamaged = errors.New("store: account can't be opened")

// account returns an open account by name, nil if there is none. One that can't
// be opened is errDamaged: it must not keep the others from their mail.
func (r *replay) account(ctx context.Context, name string) (*Account, error) {
	if a, ok := r.accounts[name]; ok {
		return a, nil
	}
	a, err := r.d.Account(ctx, name)
	switch {
	case err == nil, errors.Is(err, ErrNoAccount):
		r.accounts[name] = a
		return a, nil
	case ctx.Err() != nil || r.d.opts.only != "":
		return nil, fmt.Errorf("opening account %q for replay: %w", name, err)
	case !errors.Is(err, errDamaged):
		r.d.log.Error("account can't be opened, its deliveries are put aside until the next start", "account", name, "err", err)
		r.d.setDamaged(name, err)
	}
	return nil, errDamaged
}

// setDamaged makes Account fail for an account with records that it can't take.
// If it were opened later, it would go on after them.
func (d *Dir) setDamaged(name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.damaged[name] = fmt.Errorf("%w: %q, when the server started: %w", errDamaged, name, err)
}

// visit deals with one record of the journal. Its accounts either verify what
// they have applied or get it as an item.
func (r *replay) visit(ctx context.Context, e *journal.Entry) error {
	rec, err := decodeRecord(e)
	if err != nil {
		return r.d.keepFailed(kept{seq: e.Seq, accountID: unreadableID, data: e.Data, content: r.d.entryFile(e)}, err)
	}
	n := 0
	for _, name := range rec.accountsOf() {
		if only := r.d.opts.only; only != "" && only != name {
			continue
		}
		pending, err := r.visitAccount(ctx, e, rec, name)
		if err != nil {
			return err
		}
		if pending {
			n++
		}
	}
	rec.left.Store(int32(n))
	if n > 1 {
		rec.shared.users.Store(int32(n))
	}
	if n > 0 {
		r.d.backlog.add(rec.size)
	}
	r.d.tracker.push(e.Seq, n)
	return nil
}

// visitAccount deals with one account of a record, and reports whether the
// account has still to apply it.
func (r *replay) visitAccount(ctx context.Context, e *journal.Entry, rec *record, name string) (bool, error) {
	it := &item{rec: rec, seq: e.Seq, flags: rec.messages(), appended: time.Now()}
	var id string
	for i := range rec.rcpts {
		if rec.rcpts[i].account == name {
			it.rcpts = append(it.rcpts, &rec.rcpts[i])
			id = rec.rcpts[i].accountID
		}
	}
	a, err := r.account(ctx, name)
	switch {
	case errors.Is(err, errDamaged):
		if r.aside[asideKey{id, e.Seq}] {
			return false, nil
		}
		return false, r.d.keepRecord(asideDir, kept{e.Seq, id, it.lastID(), e.Data, r.d.entryFile(e)})
	case err != nil:
		return false, err
	case a == nil || a.id != id:
		return false, r.d.strayRecord(e, it, id, name)
	}
	a.raiseID(it.lastID())
	if r.aside[asideKey{id, e.Seq}] {
		return false, nil
	}
	if e.Seq > a.watermarkOf(r.d.journal.ID()) {
		r.items = append(r.items, replayItem{a, it})
		return true, nil
	}
	return false, r.d.verifyApplied(ctx, a, it)
}

// lastID returns the highest id reserved for the item.
func (it *item) lastID() int64 {
	id := it.last
	for _, rcpt := range it.rcpts {
		id = max(id, rcpt.emailID, rcpt.messageID)
	}
	return id
}

// strayRecord drops a record for an account that was removed, and keeps one for
// an account that nobody knows (journal.md, rule 12).
func (d *Dir) strayRecord(e *journal.Entry, it *item, id, name string) error {
	if d.opts.Removed != nil {
		removed, err := d.opts.Removed(id)
		if err != nil {
			return fmt.Errorf("asking whether account %q was removed: %w", name, err)
		}
		if removed {
			d.log.Info("dropping delivery for removed account", "account", name, "account_id", id, "seq", e.Seq)
			return nil
		}
	}
	return d.keepFailed(kept{e.Seq, id, it.lastID(), e.Data, d.entryFile(e)}, fmt.Errorf("no account %q with id %s", name, id))
}

// verifyApplied makes sure that the files of an applied record are there and
// whole: the commit may have outlived them.
func (d *Dir) verifyApplied(ctx context.Context, a *Account, it *item) error {
	for _, rcpt := range it.rcpts {
		if it.isFlags() {
			break // They are rows alone, and so as durable as the watermark.
		}
		e := Email{ID: rcpt.emailID}
		err := a.db.Get(ctx, &e)
		if errors.Is(err, bstore.ErrAbsent) {
			continue
		} else if err != nil {
			return err
		}
		if e.FileSize != it.rec.size || e.CRC != it.rec.crc {
			continue // The account was restored since, and its ids come again.
		}
		path := a.messagePath(rcpt.emailID)
		if sum, size, err := checksum(path); err == nil && size == it.rec.size && sum == it.rec.crc {
			continue
		}
		d.log.Warn("writing message file again from journal", "account", a.name, "email", rcpt.emailID, "seq", it.rec.seq)
		if err := d.rewrite(it.rec, path); err != nil {
			return fmt.Errorf("writing message file %d of account %q again: %w", rcpt.emailID, a.name, err)
		}
	}
	return nil
}

// rewrite replaces the file at path by the record's content, durably. The name
// that it uses meanwhile is always the same, so that a crash leaves nothing.
func (d *Dir) rewrite(r *record, path string) error {
	if err := atomicfile.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	content, done, err := d.recordContent(r)
	if err != nil {
		return err
	}
	defer done()
	temp := path + ".tmp-0" // As atomicfile names them, so that strays are known.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(temp, io.NewSectionReader(content, 0, r.size)); err != nil {
		return err
	}
	if err := syncPath(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}

// checksum returns the CRC-32C and the size of a file.
func checksum(path string) (uint32, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	n, err := io.Copy(h, f)
	return h.Sum32(), n, err
}

// unreadableID stands in the place of an account's id for records that say none.
const unreadableID = "unreadable"

// kept is a record that is kept apart.
type kept struct {
	seq       uint64
	accountID string
	lastID    int64 // The highest id that it uses.
	data      []byte
	content   string // Path of the file with its content, if it is not in data.
}

// name is the name of the file that keeps it.
func (k kept) name() string { return fmt.Sprintf("%d-%s-%d", k.seq, k.accountID, k.lastID) }

// entryFile returns the path of the file that a record names, or "".
func (d *Dir) entryFile(e *journal.Entry) string {
	if len(e.Files) == 0 {
		return ""
	}
	return d.journal.FilePath(e.Files[0].Name)
}

// keepFailed keeps a record that can't be applied in failed/, durably, with its
// file if it has one.
func (d *Dir) keepFailed(k kept, cause error) error {
	d.log.Error("delivery can't be applied, keeping it", "seq", k.seq, "account_id", k.accountID, "file", filepath.Join(failedDir, k.name()), "err", cause)
	d.observe(Event{Kind: "poison", Records: 1, Err: cause})
	return d.keepRecord(failedDir, k)
}

// keepRecord writes a record's bytes and its file to a directory of the journal,
// durably.
func (d *Dir) keepRecord(dir string, k kept) error {
	path := filepath.Join(d.opts.Dir, "journal", dir, k.name())
	if k.content != "" {
		err := atomicfile.Write(path+".content", 0o640, func(w io.Writer) error {
			f, err := os.Open(k.content)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(w, f)
			return err
		})
		if err != nil {
			return fmt.Errorf("keeping content of record: %w", err)
		}
	}
	if err := atomicfile.WriteFile(path, k.data, 0o640); err != nil {
		return fmt.Errorf("keeping record: %w", err)
	}
	return nil
}

// keptRecord is the name of a record in aside/ or failed/.
type keptRecord struct {
	seq       uint64
	accountID string
	lastID    int64
	path      string
}

// keptRecords lists the records in a directory of the journal, in sequence order.
func keptRecords(dir string) ([]keptRecord, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var kept []keptRecord
	for _, e := range entries {
		parts := strings.Split(e.Name(), "-")
		if len(parts) != 3 || strings.Contains(parts[2], ".") {
			continue
		}
		seq, err1 := strconv.ParseUint(parts[0], 10, 64)
		last, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err1 == nil && err2 == nil {
			kept = append(kept, keptRecord{seq, parts[1], last, filepath.Join(dir, e.Name())})
		}
	}
	sortKept(kept)
	return kept, nil
}

// accountsOf returns the names of the accounts of a record, each once.
func (r *record) accountsOf() []string {
	var names []string
	for i := range r.rcpts {
		if !slices.Contains(names, r.rcpts[i].account) {
			names = append(names, r.rcpts[i].account)
		}
	}
	return names
}
