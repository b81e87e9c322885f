// Package live holds the configuration of a running server: read from its two
// files, given out as an immutable snapshot, and changed as a whole.
//
// It doesn't know what settings mean; package config does. Package system opens
// it; servers take a snapshot per command, and admin changes it.
package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/config"
)

const (
	// earlierDir is below the directory of the files.
	earlierDir = "earlier"

	// earlierMax is how many earlier versions of domains.conf are kept. An
	// operator looks for the last few.
	earlierMax = 20

	// earlierTime sorts, and fits in file names of all systems.
	earlierTime = "20060102T150405.000000000Z"
)

// ErrEdited means that domains.conf was changed by something else since it was
// read. The caller should Reload, so that neither change is lost, and then try
// again.
var ErrEdited = errors.New(config.DynamicName + " was edited, and not reloaded since")

// Config is the configuration of one server. It is safe for concurrent use.
type Config struct {
	path     string                       // Of mox.conf.
	withKeys bool                         // TLS keys and certificates are loaded.
	readFile func(string) ([]byte, error) // os.ReadFile, but in tests. For keys.
	current  atomic.Pointer[config.Config]

	mu      sync.Mutex           // Serialises changes.
	text    []byte               // Of domains.conf, as read or written last.
	pairs   map[string][]byte    // Of TLS keys and certificates, by name in mox.conf, as read last.
	changed func(*config.Config) // Called with what becomes current. Nil: nothing is.
}

// Options are for Open.
type Options struct {
	// WithoutKeys leaves the files of TLS keys and certificates alone: for commands
	// that listen on nothing.
	WithoutKeys bool

	// Inherited has contents of files of TLS keys and certificates, by their names in
	// mox.conf, that are not read: this process may not be allowed to.
	Inherited map[string][]byte
}

// Open reads mox.conf at path, and domains.conf beside it. If they have mistakes
// the error is, or wraps, config.Problems.
func Open(path string, opts Options) (*Config, error) {
	c := &Config{path: path, withKeys: !opts.WithoutKeys, readFile: os.ReadFile}
	text, err := os.ReadFile(c.dynamicPath())
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	keys := keyFiles{config: c, known: opts.Inherited, read: map[string][]byte{}}
	next, err := c.load(text, keys)
	if err != nil {
		return nil, err
	}
	c.text, c.pairs = text, keys.pairs(next.Static)
	c.current.Store(next)
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
	text, err := os.ReadFile(c.dynamicPath())
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	dynamic, err := config.ParseDynamic(text)
	if err != nil {
		return fmt.Errorf("reloading configuration: %w", err)
	}
	static := c.Current().Static
	pairs, problems := c.readPairs(static)
	next, err := config.Check(static, dynamic, c.files(keyFiles{config: c, known: pairs}))
	if err != nil {
		return fmt.Errorf("reloading configuration: %w", err)
	}
	c.text, c.pairs = text, pairs
	c.use(next)
	if len(problems) > 0 {
		return &KeysError{problems}
	}
	return nil
}

// Update changes domains.conf: fn changes a copy of it, which is checked, written
// and then made current. If fn fails, the result has mistakes (config.Problems),
// or writing fails, nothing changes. The version replaced is kept beside it.
//
// Comments in the file are lost: what is written comes from the settings alone.
func (c *Config) Update(ctx context.Context, fn func(*config.Dynamic) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	onDisk, err := os.ReadFile(c.dynamicPath())
	if err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	if !bytes.Equal(onDisk, c.text) {
		return ErrEdited
	}
	dynamic, err := config.ParseDynamic(c.text) // A copy that shares nothing.
	if err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	if err := fn(&dynamic); err != nil {
		return err
	}
	text, err := config.FormatDynamic(dynamic)
	if err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	// Certificates stay as they are: what is being done to their files now has nothing
	// to do with this change.
	next, err := config.Check(c.Current().Static, dynamic, c.files(keyFiles{config: c, known: c.pairs}))
	if err != nil {
		return fmt.Errorf("changing configuration: %w", err)
	}
	if err := c.write(text, time.Now()); err != nil {
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

func (c *Config) load(dynamic []byte, keys keyFiles) (*config.Config, error) {
	static, err := os.ReadFile(c.path)
	if err != nil {
		return nil, fmt.Errorf("reading configuration: %w", err)
	}
	next, err := config.Load(static, dynamic, c.files(keys))
	if err != nil {
		return nil, fmt.Errorf("checking configuration %s:\n%w", c.path, err)
	}
	return next, nil
}

// write replaces domains.conf and drops the oldest of its earlier versions.
func (c *Config) write(text []byte, now time.Time) error {
	dir := filepath.Join(filepath.Dir(c.path), earlierDir)
	if err := atomicfile.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	earlier := filepath.Join(dir, config.DynamicName+"."+now.UTC().Format(earlierTime))
	if err := atomicfile.WriteFileKeep(c.dynamicPath(), earlier, text, 0o640); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(dir, config.DynamicName+".*Z"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-earlierMax)] {
		// The new version is in place; what stays too long does no harm.
		_ = os.Remove(name)
	}
	return nil
}
