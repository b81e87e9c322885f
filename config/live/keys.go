package live

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mjl-/mox/config"
)

// KeysError means that a configuration was reloaded, except for TLS certificates
// whose files the user of the server may not read: those from before stay. It is
// usual for keys that only root can read: a server that was started by root has
// read them before it gave that up.
type KeysError struct{ Problems []error }

// Error tells which files, and what to do.
func (e *KeysError) Error() string {
	text := errors.Join(e.Problems...).Error()
	return fmt.Sprintf("the configuration is reloaded, but certificates stay as they were, since user %d may not read:\n%s\n"+
		"Let that user read the files and enter the directories above them (chgrp, chmod g+r; chmod a+x), or restart the server", os.Getuid(), text)
}

// keyFiles gives the contents of files by their names in the configuration. Other
// than fs.FS asks for, names can be absolute or go up: config.Check says so.
type keyFiles struct {
	config *Config
	known  map[string][]byte // Contents that are not read from disk, by name.
	read   map[string][]byte // Takes those that are. Nil: nothing does.
}

// path returns the path of a file.
func (k keyFiles) path(name string) string {
	name = filepath.FromSlash(name)
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(k.config.Dir(), name)
}

// Open opens a file on disk for reading.
func (k keyFiles) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, "/") || strings.HasSuffix(name, string(filepath.Separator)) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return os.Open(k.path(name))
}

// ReadFile returns the content of a file, which is not to be changed.
func (k keyFiles) ReadFile(name string) ([]byte, error) {
	if text, ok := k.known[name]; ok {
		return text, nil
	}
	text, err := k.config.readFile(k.path(name))
	if err == nil && k.read != nil {
		k.read[name] = text
	}
	return text, err
}

// keyCerts returns the keys and certificates of all listeners.
func keyCerts(s config.Static) (list []config.KeyCert) {
	for _, l := range s.Listeners {
		if l.TLS != nil {
			list = append(list, l.TLS.KeyCerts...)
		}
	}
	return list
}

// pairs returns the contents that keyFiles has given for keys and certificates.
func (k keyFiles) pairs(s config.Static) map[string][]byte {
	pairs := map[string][]byte{}
	for _, kc := range keyCerts(s) {
		for _, name := range []string{kc.CertFile, kc.KeyFile} {
			if text, ok := k.known[name]; ok {
				pairs[name] = text
			} else if text, ok := k.read[name]; ok {
				pairs[name] = text
			}
		}
	}
	return pairs
}

// readPairs reads keys and certificates again. For a pair of which a file may not
// be read there is the old one, and a problem unless it is known to be the same.
// What can't be read for other reasons is missing, and left to config.Check.
func (c *Config) readPairs(s config.Static) (pairs map[string][]byte, problems []error) {
	pairs = map[string][]byte{}
	if !c.withKeys {
		return pairs, nil
	}
	k := keyFiles{config: c}
	for _, kc := range keyCerts(s) {
		cert, cerr := k.ReadFile(kc.CertFile)
		key, kerr := k.ReadFile(kc.KeyFile)
		oldCert, oldKey := c.pairs[kc.CertFile], c.pairs[kc.KeyFile]
		if err := errors.Join(cerr, kerr); errors.Is(err, fs.ErrPermission) && oldCert != nil && oldKey != nil {
			if cerr != nil || !bytes.Equal(cert, oldCert) {
				problems = append(problems, err)
			}
			cert, key, cerr, kerr = oldCert, oldKey, nil, nil
		}
		if cerr == nil {
			pairs[kc.CertFile] = cert
		}
		if kerr == nil {
			pairs[kc.KeyFile] = key
		}
	}
	return pairs, problems
}

// Files gives the contents of files by their names in the configuration, as
// config.Check takes them.
func (c *Config) Files() fs.FS { return keyFiles{config: c} }
