//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/system"
)

// serveUserID is the user that serves.
type serveUserID struct{ uid, gid int }

// rootServer is what runs as root: it gets what needs that, starts the process that
// serves, and waits for it. It reads nothing that comes over the network.
type rootServer struct {
	inv    *invocation
	config *live.Config
	log    *slog.Logger
	user   serveUserID
	in     *inheritance

	// What the child gets. Descriptors of extra begin with fdFirst.
	extra          []*os.File
	sockets, files []namedFD
}

// serveRoot starts the process that serves, and waits for it.
func (inv *invocation) serveRoot(ctx context.Context, signals <-chan os.Signal) error {
	runtime.GOMAXPROCS(1)  // There is nothing to do at a time.
	runtime.LockOSThread() // What a thread gives up is what processes have not that it starts.
	for _, name := range []string{socketsEnv, filesEnv, parentEnv} {
		if os.Getenv(name) != "" {
			return fmt.Errorf("%s is set in the environment, and not used as root: descriptors come from a process that runs as root, and go to one that doesn't", name)
		}
	}
	in, err := inherit()
	if err != nil {
		return err
	}
	r := &rootServer{inv: inv, in: in}
	defer r.close()
	for _, step := range []func(context.Context) error{
		closeOnExec, r.open, r.findUser, r.bind, r.openKeys, r.makeData, r.fixPermissions,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil // Stopped while it was starting.
	}
	return r.run(signals)
}

// close closes what has been opened for the child.
func (r *rootServer) close() {
	for _, f := range r.extra {
		_ = f.Close() // Only read, or a socket that nothing was done with.
	}
	r.extra = nil
	r.in.close()
}

// closeOnExec keeps descriptors that this process happens to have from others.
func closeOnExec(context.Context) error {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return fmt.Errorf("listing open descriptors: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= fdFirst {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// open reads the configuration, with keys.
func (r *rootServer) open(ctx context.Context) error {
	var err error
	if r.config, err = live.Open(r.inv.config, live.Options{}); err != nil {
		return err
	}
	levels, err := r.inv.logLevels(r.config.Current().Static)
	if err != nil {
		return err
	}
	r.log = slog.New(logfmt.New(r.inv.stderr, levels)).With("pkg", "serve")
	// Any user who could have written mox.conf must not have a say in what root does.
	// What else is wrong is corrected, or told by the process that serves.
	trusted := []serveFile{{path: r.config.Dir()}, {path: filepath.Join(r.config.Dir(), config.StaticName)}}
	if err := checkFiles(ctx, trusted, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	return system.Running(r.config.DataDir())
}

// findUser looks for the user to serve as.
func (r *rootServer) findUser(context.Context) error {
	name := r.config.Current().User()
	u, err := user.Lookup(name)
	if _, unknown := errors.AsType[user.UnknownUserError](err); unknown {
		u, err = &user.User{Uid: name, Gid: name}, nil
	}
	if err != nil {
		return fmt.Errorf("looking for User %q: %w", name, err)
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	switch {
	case uerr != nil || gerr != nil || uid == math.MaxUint32 || gid == math.MaxUint32:
		return fmt.Errorf("there is no user %q: make it, for example with useradd --system --no-create-home --shell /usr/sbin/nologin %s, or set another User in mox.conf", name, quoteArg(name))
	case uid == 0:
		return fmt.Errorf("mox.conf has User %q, which is root, and the server doesn't run as that: set another", name)
	}
	r.user = serveUserID{int(uid), int(gid)}
	return nil
}

// bind opens the sockets of all listeners.
func (r *rootServer) bind(ctx context.Context) error {
	for _, e := range r.config.Current().Endpoints {
		ln, err := r.in.listen(ctx, e.Network(), e.Addr.String())
		if err != nil {
			return fmt.Errorf("listening for %s: %w", e.Service, err)
		}
		tcp, ok := ln.(*net.TCPListener)
		if !ok {
			return errors.Join(fmt.Errorf("listening for %s at %s: not TCP", e.Service, e.Addr), ln.Close())
		}
		f, err := tcp.File()
		if err := errors.Join(err, ln.Close()); err != nil {
			return fmt.Errorf("passing the socket for %s: %w", e.Service, err)
		}
		r.sockets = append(r.sockets, r.pass(f, e.Addr.String()))
	}
	r.in.closeUnused(ctx, r.log)
	return nil
}

// pass notes that the child gets a file.
func (r *rootServer) pass(f *os.File, name string) namedFD {
	r.extra = append(r.extra, f)
	return namedFD{fdFirst + len(r.extra) - 1, name}
}

// openKeys opens the files of TLS keys and certificates.
func (r *rootServer) openKeys(context.Context) error {
	for _, name := range pairNames(r.config.Current().Static) {
		f, err := os.Open(configPath(r.config.Dir(), name))
		if err != nil {
			return err
		}
		r.files = append(r.files, r.pass(f, name))
	}
	return nil
}

// makeData makes the data directory, if it isn't there: the user may not be allowed
// to.
func (r *rootServer) makeData(context.Context) error {
	dir := r.config.DataDir()
	err := os.Mkdir(dir, 0o750)
	if errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("making data directory: %w", err)
	}
	if err := os.Chown(dir, r.user.uid, r.user.gid); err != nil {
		return fmt.Errorf("making data directory: %w", err)
	}
	return nil
}

func (r *rootServer) fixPermissions(ctx context.Context) error {
	if r.config.Current().Static.NoFixPermissions {
		return nil
	}
	f := &fixer{user: r.user, log: r.log}
	f.fixConfig(ctx, r.config)
	f.fixData(ctx, r.config.DataDir())
	return nil
}

// environment returns that of the child.
func (r *rootServer) environment(parent int) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return name == "WATCHDOG_PID" // It is about this process.
	})
	return append(env, socketsEnv+"="+formatFDs(r.sockets), filesEnv+"="+formatFDs(r.files), parentEnv+"="+strconv.Itoa(parent))
}

// start starts the process that serves. The pipe ends with this process.
func (r *rootServer) start() (cmd *exec.Cmd, pipe *os.File, err error) {
	read, pipe, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	parent := r.pass(read, "parent")
	program, err := ownProgram()
	if err == nil {
		err = noNewPrivileges()
	}
	if err != nil {
		return nil, nil, errors.Join(err, pipe.Close())
	}
	cmd = exec.Command(program) //nolint:noctx // It is stopped by signals.
	cmd.Args, cmd.Env, cmd.ExtraFiles = os.Args, r.environment(parent.fd), r.extra
	cmd.Stdout, cmd.Stderr = r.inv.stdout, r.inv.stderr
	// Without Groups it has none but its own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(r.user.uid), Gid: uint32(r.user.gid)}}
	if err := cmd.Start(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("starting as user %d: %w", r.user.uid, err), pipe.Close())
	}
	return cmd, pipe, nil
}

// run starts the process that serves, passes on signals to it, and returns when it
// has ended.
func (r *rootServer) run(signals <-chan os.Signal) error {
	cmd, pipe, err := r.start()
	if err != nil {
		return err
	}
	defer pipe.Close()
	r.close()
	r.log.Debug("started as user", "uid", r.user.uid, "gid", r.user.gid, "pid", cmd.Process.Pid)
	debug.FreeOSMemory() // The configuration was the last that it needed.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case sig := <-signals:
			if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				r.log.Error("passing on a signal", "signal", sig.String(), "err", err)
			}
		case err := <-ended:
			return childStatus(err)
		}
	}
}

// childStatus returns an error for what a child has ended with, nil if that is
// success.
func childStatus(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Errorf("the process that serves ended by a signal: %v", status.Signal())
	}
	return exitStatus(exit.ExitCode())
}

// absolute returns an absolute path, or the path itself if there is none.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
