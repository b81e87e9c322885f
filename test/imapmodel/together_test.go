package imapmodel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Sessions that run together do so many steps each until all wait for the others, and
// come to such a point so often with one server.
const (
	togetherSteps  = 12
	togetherRounds = 15
)

// TestTogether lets sessions run at the same time, and compares what they know when
// all have stopped.
func TestTogether(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	dir, until := t.TempDir(), time.Now().Add(*modelTime)
	for done := 0; done < *modelSteps/4 && time.Now().Before(until); done += sessionsOf * togetherSteps * togetherRounds {
		path := filepath.Join(dir, fmt.Sprint(seed))
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		synctest.Test(t, func(*testing.T) { err = together(path, seed) })
		if err := errors.Join(err, os.RemoveAll(path)); err != nil {
			t.Fatalf("seed %d, but it depends on who is first: %v", seed, err)
		}
		seed++
	}
}

// together runs sessions in a new world.
func together(dir string, seed uint64) (err error) {
	w, err := newWorld(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	emails := &registry{emails: map[[2]uint32]*email{}}
	var rovers []*rover
	for i, s := range w.sessions {
		// What is said is kept for each alone.
		own := &world{conns: w.conns, tamper: w.tamper}
		o := &rover{session: session{w: own, name: s.name, qresync: i%2 == 0}, emails: emails, first: i * 100_000, boxes: []string{"Inbox", "Inbox", "Archive"}}
		if err := o.enter(); err != nil {
			return err
		}
		defer func() { o.conn.close() }()
		if _, err := o.open("Inbox", ""); err != nil {
			return err
		}
		rovers = append(rovers, o)
	}
	for round := range togetherRounds {
		if err := runTogether(rovers, seed, round); err != nil {
			return err
		}
		if err := agree(rovers); err != nil {
			return err
		}
	}
	return w.check()
}

// runTogether lets all do some steps at the same time.
func runTogether(rovers []*rover, seed uint64, round int) error {
	errs := make([]error, len(rovers))
	var all sync.WaitGroup
	for i, o := range rovers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(round*len(rovers)+i)))
			for range togetherSteps {
				if err := o.step(r); err != nil {
					errs[i] = fmt.Errorf("session %s: %w\n%s", o.name, err, strings.Join(o.w.log, "\n"))
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// agree compares what sessions know, when nothing more happens, with what is there.
func agree(rovers []*rover) error {
	truth := map[string][]slot{}
	for _, o := range rovers {
		before := []slot(nil)
		err := o.plain("NOOP", false)
		if err == nil {
			before = append(before, o.view.slots...)
			err = o.plain("UID FETCH 1:* (FLAGS MODSEQ)", false)
		}
		if err == nil {
			err = compareSlots(before, o.view.slots)
		}
		if err == nil && truth[o.at] != nil {
			err = compareSlots(truth[o.at], o.view.slots)
		}
		if err != nil {
			return fmt.Errorf("session %s, when all have stopped: %w\n%s", o.name, err, strings.Join(o.w.log, "\n"))
		}
		truth[o.at] = append([]slot{}, o.view.slots...)
	}
	return nil
}

// compareSlots looks whether what was known is true.
func compareSlots(known, truth []slot) error {
	if len(known) != len(truth) {
		return fmt.Errorf("%d messages, should be %d", len(known), len(truth))
	}
	for i, is := range truth {
		was := known[i]
		if was.uid != 0 && was.uid != is.uid || was.known && was.flags != is.flags || was.modseq > 0 && was.modseq != is.modseq {
			return fmt.Errorf("message %d was %+v, and is %+v", i+1, was, is)
		}
	}
	return nil
}
