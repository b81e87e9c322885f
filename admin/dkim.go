package admin

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	slash "path"
	"path/filepath"
	"slices"
	"time"

	"github.com/mjl-/mox/atomicfile"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
)

const (
	// DKIMDir is where keys of DKIM are made, in the directory of the configuration.
	DKIMDir = "dkim"

	// oldDir gets those that are no longer named, in the directory they were in.
	oldDir = "old"

	dkimDirPerm = 0o750
	dkimKeyPerm = 0o600

	// expirationDefault is how long signatures of new selectors hold: longer than
	// messages are on their way, and not long enough to be of use for others later.
	expirationDefault = 72 * time.Hour
)

// DNSRecord is a record to publish.
type DNSRecord struct {
	Name  string `json:"name"` // Absolute.
	Type  string `json:"type"`
	Value string `json:"value"` // Of TXT: the text, in one piece.
}

// dkimKeys are new keys of a domain, in their files, for the configuration.
type dkimKeys struct {
	settings config.DKIM
	records  []DNSRecord
	paths    []string
}

// makeDKIMKeys makes two keys for a new domain: one to sign with, and one for which
// DNS is ready when the first is to be replaced. They are on disk when it returns
// nil, and gone with an error.
func (a *Admin) makeDKIMKeys(d dns.Domain, now time.Time) (*dkimKeys, error) {
	keys := &dkimKeys{settings: config.DKIM{Selectors: map[string]config.Selector{}}}
	if a.opts.ConfigDir == "" {
		return keys, nil
	}
	if err := atomicfile.MkdirAll(filepath.Join(a.opts.ConfigDir, DKIMDir), dkimDirPerm); err != nil {
		return nil, fmt.Errorf("making directory for DKIM keys: %w", err)
	}
	for _, letter := range []string{"a", "b"} {
		if err := a.makeDKIMKey(keys, d, now.Format("2006")+letter, now); err != nil {
			return nil, errors.Join(fmt.Errorf("making DKIM key for %s: %w", d, err), keys.remove())
		}
	}
	keys.settings.Sign = []string{now.Format("2006") + "a"}
	return keys, nil
}

// makeDKIMKey makes the key of a selector.
func (a *Admin) makeDKIMKey(keys *dkimKeys, d dns.Domain, selector string, now time.Time) error {
	key, kind, err := a.newDKIMKey()
	if err != nil {
		return err
	}
	text, err := dkim.FormatKey(key)
	if err != nil {
		return err
	}
	rec, err := dkim.NewRecord(key.Public())
	if err != nil {
		return err
	}
	label := selector + "._domainkey." + d.ASCII
	name := slash.Join(DKIMDir, label+"."+now.Format("20060102T150405")+"."+kind+".privatekey.pkcs8.pem")
	file := filepath.Join(a.opts.ConfigDir, filepath.FromSlash(name))
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s is there already: try again", file), err)
	}
	keys.paths = append(keys.paths, file)
	keys.settings.Selectors[selector] = config.Selector{Expiration: expirationDefault, PrivateKeyFile: name}
	keys.records = append(keys.records, DNSRecord{label + ".", "TXT", rec.Text()})
	return atomicfile.WriteFile(file, text, dkimKeyPerm)
}

// newDKIMKey makes a key, and says what it is.
func (a *Admin) newDKIMKey() (key crypto.Signer, kind string, err error) {
	if a.opts.FastDKIMKeys {
		key, err = dkim.GenerateEd25519(a.opts.Rand)
		return key, "ed25519", err
	}
	key, err = dkim.GenerateRSA(a.opts.Rand)
	return key, "rsa2048", err
}

// remove removes the files.
func (k *dkimKeys) remove() error {
	var errs []error
	for _, file := range k.paths {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// dropDKIMKeys removes the files of keys that were not taken into the configuration.
// If it isn't certain that they were not, because of a disk fault, they stay: without
// them the server could not start again.
func (a *Admin) dropDKIMKeys(ctx context.Context, keys *dkimKeys, cause error) {
	if len(keys.paths) == 0 {
		return
	}
	dynamic := a.opts.Config().Dynamic
	named := slices.ContainsFunc(dynamic.DKIMKeyFiles(), func(name string) bool {
		return slices.ContainsFunc(slices.Collect(maps.Values(keys.settings.Selectors)), func(s config.Selector) bool { return s.PrivateKeyFile == name })
	})
	if _, certain := errors.AsType[*Error](cause); !certain || named {
		a.log.WarnContext(ctx, "dkim keys of a domain that could not be added are left", "files", keys.paths)
		return
	}
	if err := keys.remove(); err != nil {
		a.log.ErrorContext(ctx, "removing dkim keys of a domain that was not added", "files", keys.paths, "err", err)
	}
}

// retireDKIMKeys moves the files of keys of a domain that was removed, if no other
// selector names them, and returns their new names. What is outside of the directory
// of the configuration is left alone, and so is what can't be moved.
func (a *Admin) retireDKIMKeys(ctx context.Context, removed config.Domain) (moved []string) {
	if a.opts.ConfigDir == "" || len(removed.DKIM.Selectors) == 0 {
		return nil
	}
	root, err := os.OpenRoot(a.opts.ConfigDir)
	if err != nil {
		a.log.ErrorContext(ctx, "moving dkim keys", "err", err)
		return nil
	}
	defer root.Close()
	dynamic := a.opts.Config().Dynamic
	used := dynamic.DKIMKeyFiles()
	for _, selector := range slices.Sorted(maps.Keys(removed.DKIM.Selectors)) {
		name := slash.Clean(removed.DKIM.Selectors[selector].PrivateKeyFile)
		if slices.ContainsFunc(used, func(other string) bool { return slash.Clean(other) == name }) || !filepath.IsLocal(filepath.FromSlash(name)) {
			continue
		}
		to, err := a.retireFile(root, name)
		if err != nil {
			a.log.ErrorContext(ctx, "moving dkim key", "file", name, "err", err)
			continue
		}
		moved = append(moved, to)
	}
	return moved
}

// retireFile moves a file in root to the directory for old ones beside it.
func (a *Admin) retireFile(root *os.Root, name string) (to string, err error) {
	dir := slash.Join(slash.Dir(name), oldDir)
	to = slash.Join(dir, slash.Base(name))
	if err := root.Mkdir(dir, dkimDirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if _, err := root.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return "", errors.Join(fmt.Errorf("%s is there already", to), err)
	}
	if err := root.Rename(name, to); err != nil {
		return "", err
	}
	for _, changed := range []string{dir, slash.Dir(name)} {
		if err := atomicfile.SyncDir(filepath.Join(a.opts.ConfigDir, filepath.FromSlash(changed))); err != nil {
			return "", err
		}
	}
	return to, nil
}
