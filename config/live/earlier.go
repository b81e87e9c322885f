package live

import (
	"os"
	"path/filepath"
	"slices"
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

// write replaces domains.conf, which must have the content that was read last, and
// keeps that. Owners and groups of the new file are those of the process.
func (c *Config) write(text []byte) error {
	if err := c.keep(time.Now()); err != nil {
		return err
	}
	info, err := os.Stat(c.dynamicPath())
	if err != nil {
		return err
	}
	return atomicfile.ReplaceFile(c.dynamicPath(), c.text, text, info.Mode().Perm())
}

// keep keeps the content that was read last as an earlier version, and drops the
// oldest of them.
func (c *Config) keep(now time.Time) error {
	info, err := os.Stat(c.dynamicPath())
	if err != nil {
		return err
	}
	dir := filepath.Join(c.Dir(), earlierDir)
	if err := atomicfile.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	name := filepath.Join(dir, config.DynamicName+"."+now.UTC().Format(earlierTime))
	if err := atomicfile.WriteFile(name, c.text, info.Mode().Perm()); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(dir, config.DynamicName+".*Z"))
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-earlierMax)] {
		// What stays too long does no harm.
		_ = os.Remove(name)
	}
	return nil
}
