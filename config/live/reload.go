package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/mjl-/mox/config"
)

const (
	// settleTime is how long ago a file must have been written to be taken as
	// complete: some editors write in place, in several steps.
	settleTime = 100 * time.Millisecond

	// settleMax bounds waiting for that.
	settleMax = 2 * time.Second

	// watchEvery is how often Watch looks, if Options don't say it. What has changed is
	// read when it is the same the next time, so that a key and its certificate, which
	// can't be written at once, are.
	watchEvery = 400 * time.Millisecond
)

// Status is how the configuration is.
type Status struct {
	Loaded  time.Time // When the current one was read or written.
	Problem string    // Of what is on disk and not current, empty if all is. It can have several lines.
	Since   time.Time // When the problem was seen first.
}

// Status returns how the configuration is. It doesn't wait for changes that are
// being made.
func (c *Config) Status() Status { return *c.status.Load() }

// Outcome is what became of reading files again.
type Outcome struct {
	Err   error // Nil if what is on disk is current.
	Known bool  // The problem is that of the last time.
}

// OnReload sets what is called after each time that files were read again because
// they have changed, or to reload; nil for nothing. As with OnChange, it must not
// wait, nor change the configuration.
func (c *Config) OnReload(fn func(Outcome)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outcome = fn
}

// Reload reads domains.conf and the files of TLS keys and certificates again, and
// makes what they say current. If there are mistakes, those are returned and
// nothing changes. Changes in mox.conf have no effect until the next start. The
// error is a *KeysError if all is current except for certificates whose files may
// not be read.
func (c *Config) Reload(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	err := c.reload(ctx)
	if ctx.Err() == nil {
		c.note(err)
	}
	return err
}

// reload is Reload while c.mu is held.
func (c *Config) reload(ctx context.Context) error {
	text, err := c.read(ctx)
	if err != nil {
		return fmt.Errorf("reloading configuration: %w", err)
	}
	pairs, problems := c.readPairs(c.Current().Static)
	if err := c.load(text, pairs); err != nil {
		return fmt.Errorf("reloading configuration:\n%w", err)
	}
	if len(problems) > 0 {
		return &KeysError{problems}
	}
	return nil
}

// load makes a domains.conf current that something else has written.
func (c *Config) load(text []byte, pairs map[string][]byte) error {
	next, err := c.Current().Reload(text, c.files(keyFiles{config: c, known: pairs}))
	if err != nil {
		return err
	}
	if !bytes.Equal(text, c.text) {
		// An editor may have had the version before ours open. Where nothing can be
		// written, nothing of ours was replaced.
		_ = c.keep(time.Now())
	}
	c.text, c.pairs = text, pairs
	c.use(next)
	return nil
}

// read returns what domains.conf has now. If it was written just now it waits
// until that is complete.
func (c *Config) read(ctx context.Context) ([]byte, error) {
	limit := time.Now().Add(settleMax)
	var before os.FileInfo
	for {
		text, err := os.ReadFile(c.dynamicPath())
		if err != nil || bytes.Equal(text, c.text) {
			return text, err
		}
		info, err := os.Stat(c.dynamicPath())
		if err != nil {
			return nil, err
		}
		// The clock of the file system may be another than ours.
		settled := before != nil && unchanged(before, info)
		if age := time.Since(info.ModTime()); settled || age > c.settle || time.Now().After(limit) {
			return text, nil
		}
		before = info
		if err := sleep(ctx, c.settle); err != nil {
			return nil, err
		}
	}
}

// unchanged tells whether a file is the same as before, as far as can be told
// without reading it.
func unchanged(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// note remembers and tells what became of reading files again. c.mu is held.
func (c *Config) note(err error) {
	known := err != nil && c.problem != nil && err.Error() == c.problem.Error()
	c.problem = err
	c.setStatus(c.Status().Loaded)
	if c.outcome != nil {
		c.outcome(Outcome{err, known})
	}
}

// aboutKeys tells whether there is a problem that a change of domains.conf by
// Update doesn't end: one of the files of keys and certificates.
func (c *Config) aboutKeys() bool {
	if _, ok := errors.AsType[*KeysError](c.problem); ok {
		return true
	}
	problems, _ := errors.AsType[config.Problems](c.problem)
	return len(problems) > 0 && !slices.ContainsFunc(problems, func(p *config.Problem) bool { return p.File == config.DynamicName })
}

// setStatus makes the status what is known. A problem keeps its time.
func (c *Config) setStatus(loaded time.Time) {
	s := Status{Loaded: loaded}
	if c.problem != nil {
		s.Problem, s.Since = c.problem.Error(), time.Now()
		if last := c.Status(); last.Problem == s.Problem {
			s.Since = last.Since
		}
	}
	c.status.Store(&s)
}

// Watch reloads what is changed on disk by something else, within about a second,
// until ctx is done: domains.conf, and files of TLS keys and certificates. If there
// are mistakes all stays as it is, and Status and OnReload tell.
func (c *Config) Watch(ctx context.Context) {
	w := watch{config: c}
	for sleep(ctx, c.watchEvery) == nil {
		w.step(ctx)
	}
}

// watch is what Watch knows.
type watch struct {
	config *Config
	loaded []os.FileInfo // Of files as they were read, nil for those that can't be seen. Nil: unknown.
	last   []os.FileInfo // As they were last seen.
}

// look looks at all files, domains.conf first.
func (w *watch) look() []os.FileInfo {
	c := w.config
	names := []string{c.dynamicPath()}
	if c.withKeys {
		k := keyFiles{config: c}
		for _, kc := range keyCerts(c.Current().Static) {
			names = append(names, k.path(kc.CertFile), k.path(kc.KeyFile))
		}
	}
	infos := make([]os.FileInfo, len(names))
	for i, name := range names {
		infos[i], _ = os.Stat(name)
	}
	return infos
}

// step looks once, and reloads what has changed since it was read and not since
// the last look.
func (w *watch) step(ctx context.Context) {
	now := w.look()
	last := w.last
	w.last = now
	if allUnchanged(now, w.loaded) || !allUnchanged(now, last) {
		return
	}
	keys := w.loaded != nil && !allUnchanged(now[1:], w.loaded[1:])
	w.loaded = now
	w.config.reloadChanged(ctx, keys)
}

// reloadChanged is Reload for files that look different, but may not be: what
// Update writes is known.
func (c *Config) reloadChanged(ctx context.Context, keys bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if text, err := os.ReadFile(c.dynamicPath()); err == nil && bytes.Equal(text, c.text) && !keys && (c.problem == nil || c.aboutKeys()) {
		return
	}
	var err error
	if keys {
		err = c.reload(ctx)
	} else {
		err = c.reloadDynamic(ctx)
	}
	if ctx.Err() == nil {
		c.note(err)
	}
}

// reloadDynamic reloads domains.conf only. A problem with keys remains.
func (c *Config) reloadDynamic(ctx context.Context) error {
	text, err := c.read(ctx)
	if err != nil {
		return fmt.Errorf("reloading configuration: %w", err)
	}
	if err := c.load(text, c.pairs); err != nil {
		return fmt.Errorf("reloading configuration:\n%w", err)
	}
	if c.aboutKeys() {
		return c.problem
	}
	return nil
}

func allUnchanged(a, b []os.FileInfo) bool {
	return slices.EqualFunc(a, b, func(a, b os.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return unchanged(a, b)
	})
}
