//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
)

// Permissions of others.
const (
	othersAny   fs.FileMode = 0o007
	othersWrite fs.FileMode = 0o002
)

// serveFile is a file or directory of the server that others should leave alone.
type serveFile struct {
	path string
	key  bool // With a private key.
}

// serveFiles returns those whose permissions matter most. What is below the data
// directory can't be reached if others may not enter that.
func serveFiles(c *live.Config) []serveFile {
	list := []serveFile{{path: c.Dir()}, {path: c.DataDir()}}
	for _, name := range []string{config.StaticName, config.DynamicName} {
		list = append(list, serveFile{path: filepath.Join(c.Dir(), name)})
	}
	for _, name := range slices.Concat(keyNames(c.Current().Static), c.Current().Dynamic.DKIMKeyFiles()) {
		list = append(list, serveFile{path: configPath(c.Dir(), name), key: true})
	}
	return list
}

// keyNames returns the names of files of TLS keys in mox.conf.
func keyNames(s config.Static) (names []string) {
	for _, l := range s.Listeners {
		if l.TLS != nil {
			for _, kc := range l.TLS.KeyCerts {
				names = append(names, kc.KeyFile)
			}
		}
	}
	return names
}

// pairNames returns the names of files of TLS keys and certificates in mox.conf, each
// once.
func pairNames(s config.Static) (names []string) {
	for _, l := range s.Listeners {
		if l.TLS != nil {
			for _, kc := range l.TLS.KeyCerts {
				names = append(names, kc.CertFile, kc.KeyFile)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// configPath returns the path of a file that is named in mox.conf.
func configPath(dir, name string) string {
	if name = filepath.FromSlash(name); filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// checkFiles looks at who may reach files of the server. What others may change is
// refused: they could take over the server. What they may read is only told.
func checkFiles(ctx context.Context, list []serveFile, log *slog.Logger) error {
	var errs []error
	for _, f := range list {
		info, err := os.Stat(f.path)
		if err != nil {
			continue // A directory that will be made, or a key that only root can see. Others are read, with better errors.
		}
		problem, refuse := permissionProblem(f, info.Mode())
		switch {
		case refuse:
			errs = append(errs, errors.New(problem))
		case problem != "":
			log.WarnContext(ctx, "permissions", "problem", problem)
		}
	}
	return errors.Join(errs...)
}

// permissionProblem returns what is wrong with the permissions of a file, with the
// command that mends it, empty if nothing. Refuse: the server should not start.
func permissionProblem(f serveFile, mode fs.FileMode) (problem string, refuse bool) {
	switch {
	case mode&othersWrite != 0:
		return fmt.Sprintf("any user can change %s: run chmod o-rwx %s", f.path, quoteArg(f.path)), true
	case mode&othersAny == 0:
		return "", false
	case f.key:
		return fmt.Sprintf("any user may read the key %s: run chmod o-rwx %s", f.path, quoteArg(f.path)), false
	}
	return fmt.Sprintf("any user may look into %s: run chmod o-rwx %s", f.path, quoteArg(f.path)), false
}

// quoteArg quotes an argument for a shell, if it has to be.
func quoteArg(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@%+=,", c)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// whoami names the user of the process.
func whoami() string {
	uid := strconv.Itoa(os.Geteuid())
	u, err := user.LookupId(uid)
	if err != nil {
		return "user " + uid
	}
	return fmt.Sprintf("user %s (%s)", u.Username, uid)
}

// explainAccess adds to an error about a file that may not be opened which
// directory or file is in the way, and what to do.
func explainAccess(err error) error {
	pe, ok := errors.AsType[*fs.PathError](err)
	if !ok || !errors.Is(pe, fs.ErrPermission) {
		return err
	}
	path, aerr := filepath.Abs(pe.Path)
	if aerr != nil {
		return err
	}
	for i, c := range path {
		dir := path[:i]
		if c != filepath.Separator || dir == "" {
			continue
		}
		if unix.Access(dir, unix.X_OK) != nil {
			return fmt.Errorf("%w\n%s may not enter the directory %s: let it, for example with chmod o+x %s, or use another directory", err, whoami(), dir, quoteArg(dir))
		}
	}
	if unix.Access(path, unix.F_OK) != nil {
		path = filepath.Dir(path) // It can't be made there.
	}
	return fmt.Errorf("%w\n%s needs %s: run chown -R %d %s, or start as root without NoFixPermissions in %s", err, whoami(), path, os.Geteuid(), quoteArg(path), config.StaticName)
}

// explainListen says in words of an operator why there can't be a listener.
func explainListen(addr netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, unix.EACCES):
		if os.Geteuid() == 0 {
			return fmt.Errorf("%w\nroot may not listen on port %d here: the container or the unit took CAP_NET_BIND_SERVICE away; allow it, or use a port from 1024 on", err, addr.Port())
		}
		return fmt.Errorf("%w\n%s may not listen on port %d, since it is below 1024. There are three ways to let it:\n%s", err, whoami(), addr.Port(), listenWays)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w\nanother program listens there already; this tells which: ss -ltnp 'sport = :%d'", err, addr.Port())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w\nthis machine has no address %s: correct IPs of the listener in %s, or start when the network is up", err, addr.Addr(), config.StaticName)
	}
	return err
}

const listenWays = `  - start as root: it opens the sockets, and then runs as the User of mox.conf
  - give it the capability: AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit, or setcap cap_net_bind_service=+ep on the program
  - have systemd open the sockets, with a socket unit
See "mox help serve". Or use ports from 1024 on.`
