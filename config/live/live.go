// Package live holds the configuration of a running server: read from its two
// files, given out as an immutable snapshot, and changed as a whole.
//
// It doesn't know what settings mean; package config does. Package system opens
// it; servers take a snapshot per command, and admin changes it.
package live

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/config"
)

// updateTries is how often a change is tried while the file is being edited.
const updateTries = 5

// ErrEdited means that domains.conf was changed by something else and can't be
// reloaded, as it has mistakes. The caller should try again when they are mended,
// so that neither change is lost.
var ErrEdited = errors.New(config.DynamicName + " was edited, and can't be reloaded")

// Config is the configuration of one server. It is safe for concurrent use.
type Config struct {
	path     string                       // Of mox.conf.
	withKeys bool                         // TLS keys and certificates are loaded.
	readFile func(string) ([]byte, error) // os.ReadFile, but in tests. For keys.
	settle   time.Duration                // Age from which a file is taken to be complete.

	watchEvery time.Duration
	current    atomic.Pointer[config.Config]
	status     atomic.Pointer[Status]

	mu      sync.Mutex           // Serialises changes.
	text    []byte               // Of domains.conf, as read or written last.
	pairs   map[string][]byte    // Of TLS keys and certificates, by name in mox.conf, as read last.
	changed func(*config.Config) // Called with what becomes current. Nil: nothing is.
	outcome func(Outcome)        // Called after reading files again. Nil: nothing is.
	problem error                // Of the files on disk.
}

// Options are for Open.
type Options struct {
	// WithoutKeys leaves the files of TLS keys and certificates alone: for commands
	// that listen on nothing.
	WithoutKeys bool

	// Inherited has contents of files of TLS keys and certificates, by their names in
	// mox.conf, that are not read: this process may not be allowed to.
	Inherited map[string][]byte

	// WatchEvery is how often Watch looks at the files. Zero: so often that changes
	// take effect within a second.
	WatchEvery time.Duration
}

// Open reads mox.conf at path, and domains.conf beside it. If they have mistakes
// the error is, or wraps, config.Problems.
func Open(path string, opts Options) (*Config, error) {
	c := &Config{path: path, withKeys: !opts.WithoutKeys, readFile: os.ReadFile, settle: settleTime, watchEvery: cmp.Or(opts.WatchEvery, watchEvery)}
	text, err := os.ReadFile(c.dynamicPath())
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	static, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	keys := keyFiles{config: c, known: opts.Inherited, read: map[string][]byte{}}
	next, err := config.Load(static, text, c.files(keys))
	if err != nil {
		return nil, fmt.Errorf("checking configuration %s:\n%w", path, err)
	}
	c.text, c.pairs = text, keys.pairs(next.Static)
	c.current.Store(next)
	c.status.Store(&Status{Loaded: time.Now()})
	return c, nil
}

// Current returns the configuration that holds now. It doesn't change; what
// takes it for one command keeps it to its end.
func (c *Config) Current() *config.Config { return c.current.Load() }

// DataDir returns the data directory, absolute or relative to the working
// directory.
func (c *Config) DataDir() string {
	dir := filepath.FromSlash(c.Current().Static.DataDir)
	if filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(filepath.Dir(c.path), dir)
}

// Dir returns the directory of the files, absolute or relative to the working
// directory.
func (c *Config) Dir() string { return filepath.Dir(c.path) }

// Update changes domains.conf: fn changes a copy of it, which is checked, written
// and then made current. If fn fails, the result has mistakes (config.Problems),
// or writing fails, nothing changes. The version replaced is kept beside it, and
// its comments and layout stay.
//
// If the file was edited, that is taken in first, so that neither change is lost.
// The error is ErrEdited if that can't be. As it may be edited just now, fn may run
// several times, on another copy each time.
func (c *Config) Update(ctx context.Context, fn func(*config.Dynamic) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := atomicfile.ErrChanged
	for range updateTries {
		if err = c.update(ctx, fn); !errors.Is(err, atomicfile.ErrChanged) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrEdited, err)
}

// update is one attempt of Update. The error is atomicfile.ErrChanged if the file
// was edited while it ran.
func (c *Config) update(ctx context.Context, fn func(*config.Dynamic) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	onDisk, err := c.read(ctx)
	if err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	if before := c.Current(); !bytes.Equal(onDisk, c.text) {
		err := c.reloadDynamic(ctx)
		c.note(err)
		if c.Current() == before {
			return fmt.Errorf("%w: %w", ErrEdited, err)
		}
	}
	dynamic, err := config.ParseDynamic(c.text) // A copy that shares nothing.
	if err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	if err := fn(&dynamic); err != nil {
		return err
	}
	// Certificates stay as they are: what is being done to their files now has nothing
	// to do with this change.
	next, err := config.Check(c.Current().Static, dynamic, c.files(keyFiles{config: c, known: c.pairs}))
	if err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	// What has mistakes may have no form in the file.
	text, err := config.EditDynamic(c.text, dynamic)
	if err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	if err := c.write(text); err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	c.text = text
	c.use(next)
	return nil
}

// OnChange sets what is called with each configuration that becomes current from
// now on, in their order; nil for nothing. It is called while no other change can be
// made, so it must not wait, nor change the configuration itself. When OnChange has
// returned, what was set before is not called any more.
func (c *Config) OnChange(fn func(*config.Config)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = fn
}

// use makes a configuration current. c.mu is held.
func (c *Config) use(next *config.Config) {
	c.current.Store(next)
	if !c.aboutKeys() {
		c.problem = nil
	}
	c.setStatus(time.Now())
	if c.changed != nil {
		c.changed(next)
	}
}

func (c *Config) dynamicPath() string {
	return filepath.Join(filepath.Dir(c.path), config.DynamicName)
}

// files returns what config.Check takes: nil if keys are not loaded.
func (c *Config) files(k keyFiles) fs.FS {
	if !c.withKeys {
		return nil
	}
	return k
}
