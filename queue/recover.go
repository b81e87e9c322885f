package queue

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/mjl-/bstore"
)

// chunkMax is how many rows are changed in one transaction when nobody waits for
// all of them together.
const chunkMax = 1000

// resultErrorMax bounds the text of a result, in bytes.
const resultErrorMax = 1000

// contentMissing is what is wrong with a content without file.
const contentMissing = "content file is missing"

// recover makes the state in memory from what is on disk, and sets right what the
// end of the last process has left.
func (db *DB) recover(ctx context.Context, now time.Time) error {
	rows, err := db.readContents(ctx)
	if err != nil {
		return err
	}
	broken, err := db.checkContents(rows)
	if err != nil {
		return err
	}
	for id, why := range broken {
		db.log.Error("messages without their content are held", "content", id, "err", why)
	}
	if err := db.readRules(ctx); err != nil {
		return err
	}
	now = now.Round(0)
	var repaired []int64
	joiner := joiner{last: map[joinKey]*entry{}}
	err = bstore.QueryDB[messageRow](ctx, db.db).ForEach(func(r messageRow) error {
		if db.repair(&r, broken, now) {
			repaired = append(repaired, r.ID)
		}
		if r.Unsure {
			db.unsure = append(db.unsure, r.ID)
		}
		db.enlist(&r, &joiner)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading messages: %w", err)
	}
	for len(repaired) > 0 {
		n := min(len(repaired), chunkMax)
		if err := db.repairRows(ctx, repaired[:n], broken, now); err != nil {
			return fmt.Errorf("setting right messages: %w", err)
		}
		repaired = repaired[n:]
	}
	return nil
}

// dropUnsure drops messages that were provisional when the last process died.
func (db *DB) dropUnsure(ctx context.Context) error {
	if len(db.unsure) == 0 {
		return nil
	}
	dropped, err := db.Drop(ctx, Filter{IDs: db.unsure, State: Held})
	if err != nil {
		return fmt.Errorf("dropping messages that nobody was told are taken: %w", err)
	}
	db.log.Info("dropped messages that nobody was told are taken", "messages", len(dropped))
	db.unsure = nil
	return nil
}

// repairRows writes what repair changes.
func (db *DB) repairRows(ctx context.Context, ids []int64, broken map[int64]string, now time.Time) error {
	return db.db.Write(ctx, func(tx *bstore.Tx) error {
		for _, id := range ids {
			r := messageRow{ID: id}
			if err := tx.Get(&r); err != nil {
				return err
			}
			db.repair(&r, broken, now)
			if err := tx.Update(&r); err != nil {
				return err
			}
		}
		return nil
	})
}

// repair sets right a row that was read at start. It says whether it changed it.
func (db *DB) repair(r *messageRow, broken map[int64]string, now time.Time) bool {
	m, changed := &r.M, false
	if m.State == Delivering {
		m.State, m.LeaseUntil, changed = Waiting, time.Time{}, true
	}
	if r.HoldNext {
		m.State, r.HoldNext, changed = Held, false, true
	}
	if why := broken[m.ContentID]; why != "" && m.State != Held {
		m.State, m.HoldReason, m.HoldRule, changed = Held, HeldDamaged, 0, true
		r.addResult(Result{Start: now, Error: why})
	}
	// The clock may have been wrong when these were written.
	if m.Queued.After(now) {
		m.Queued, changed = now, true
	}
	if m.LastAttempt.After(now) {
		m.LastAttempt, changed = now, true
	}
	if m.Attempts > 0 && m.Since.After(now) {
		m.Since, changed = now, true
	}
	if latest := now.Add(db.opts.Schedule.longest()); !r.Chosen && m.NextAttempt.After(latest) {
		m.NextAttempt, changed = latest, true
	}
	return changed
}

// addResult adds a result to those kept.
func (r *messageRow) addResult(res Result) {
	res.Start = res.Start.Round(0)
	res.Error = cut(res.Error, resultErrorMax)
	r.M.Results = append(r.M.Results, res)
	if n := len(r.M.Results); n > ResultsMax {
		r.M.Results = r.M.Results[n-ResultsMax:]
	}
}

// readContents returns all contents by their names.
func (db *DB) readContents(ctx context.Context) (map[string]contentRow, error) {
	rows := map[string]contentRow{}
	err := bstore.QueryDB[contentRow](ctx, db.db).ForEach(func(c contentRow) error {
		c.Prefixes = nil
		rows[c.Name] = c
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading contents: %w", err)
	}
	return rows, nil
}

// checkContents looks at all content files. It removes those without row, and
// returns what is wrong with the contents whose file is missing or has another
// size, by id.
func (db *DB) checkContents(rows map[string]contentRow) (broken map[int64]string, err error) {
	dirs, err := os.ReadDir(db.contentPath(""))
	if err != nil {
		return nil, fmt.Errorf("reading content directory: %w", err)
	}
	for _, dir := range dirs {
		if dir.IsDir() && isHex(dir.Name(), 1) { // Others are not ours, as lost+found.
			db.removeLeftovers(dir.Name(), rows)
		}
	}
	broken = map[int64]string{}
	for name, row := range rows {
		if why := checkFile(db.contentPath(name), row.Size); why != "" {
			broken[row.ID] = why
		}
	}
	return broken, nil
}

// removeLeftovers removes files without row from a content directory. What has no
// name that we give stays, and Check tells of it. What can't be removed is in
// nobody's way.
func (db *DB) removeLeftovers(dir string, rows map[string]contentRow) {
	files, err := os.ReadDir(db.contentPath(dir))
	if err != nil {
		db.log.Error("reading content directory", "dir", dir, "err", err)
	}
	for _, f := range files {
		name := dir + "/" + f.Name()
		if _, ok := rows[name]; ok || !f.Type().IsRegular() || !isHex(f.Name(), 16) {
			continue
		}
		db.log.Info("removing content without message", "file", name)
		if err := os.Remove(db.contentPath(name)); err != nil {
			db.log.Error("removing content without message", "file", name, "err", err)
		}
	}
}

// isHex says whether s is n bytes in hex, as in the names of contents.
func isHex(s string, n int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == n && s == hex.EncodeToString(b)
}

// checkFile returns what is wrong with a content file, empty if nothing is.
func checkFile(path string, size int64) string {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return contentMissing
	case err != nil:
		return fmt.Sprintf("content file can't be read: %v", err)
	case !info.Mode().IsRegular() || info.Size() != size:
		return fmt.Sprintf("content file has %d bytes, not %d", info.Size(), size)
	}
	return ""
}

// checkCRC returns what is wrong with the bytes of a file, empty if nothing is.
func checkCRC(path string, crc uint32) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	h := crc32.New(castagnoli)
	if _, err := io.Copy(h, f); err != nil {
		return err.Error()
	}
	if got := h.Sum32(); got != crc {
		return fmt.Sprintf("content file has CRC %08x, not %08x", got, crc)
	}
	return ""
}

// syncFile makes the bytes of a file durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
