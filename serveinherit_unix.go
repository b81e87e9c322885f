//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Variables of the environment that say what a server gets from its parent.
const (
	socketsEnv = "MOX_SOCKETS" // Listening sockets, as "3=127.0.0.1:25 4=127.0.0.1:993".
	filesEnv   = "MOX_FILES"   // Keys and certificates by their names in mox.conf, escaped as in URLs, as "5=mail.key".
	parentEnv  = "MOX_PARENT"  // A pipe that is closed when the parent ends, as "6".
)

// inheritedEnv are all of them, and those of systemd's sockets.
var inheritedEnv = []string{socketsEnv, filesEnv, parentEnv, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}

const (
	// fdFirst is the first descriptor after those for input, output and errors.
	fdFirst = 3

	// fdMax bounds descriptors that are inherited: as many as a process has at most
	// unless that is changed.
	fdMax = 1024

	// keyFileMax bounds files of keys and certificates, in bytes. They are of some
	// thousands.
	keyFileMax = 1 << 20
)

// namedFD is a descriptor and what it is for.
type namedFD struct {
	fd   int
	name string
}

// formatFDs writes descriptors for the environment.
func formatFDs(list []namedFD) string {
	var words []string
	for _, d := range list {
		words = append(words, fmt.Sprintf("%d=%s", d.fd, url.PathEscape(d.name)))
	}
	return strings.Join(words, " ")
}

// parseFDs reads what formatFDs has written. None is named twice.
func parseFDs(text string) (list []namedFD, err error) {
	seen := map[int]bool{}
	for word := range strings.FieldsSeq(text) {
		number, name, ok := strings.Cut(word, "=")
		fd, err := parseFD(number)
		if err != nil {
			return nil, err
		}
		if name, err = url.PathUnescape(name); !ok || err != nil || seen[fd] {
			return nil, fmt.Errorf("%q is not number=name, each number once", word)
		}
		seen[fd] = true
		list = append(list, namedFD{fd, name})
	}
	return list, nil
}

func parseFD(text string) (int, error) {
	fd, err := strconv.Atoi(text)
	if err != nil || fd < fdFirst || fd >= fdMax {
		return 0, fmt.Errorf("%q is not a descriptor from %d to %d", text, fdFirst, fdMax-1)
	}
	return fd, nil
}

// inheritance is what a process got from the one that started it.
type inheritance struct {
	sockets []*inheritedSocket
	files   map[string][]byte // Contents of keys and certificates.
	only    bool              // No other sockets can be made.

	parent   *os.File // At its end when the parent has ended. Nil: the parent doesn't matter.
	watching sync.WaitGroup
}

// inheritedSocket is a socket that listens already.
type inheritedSocket struct {
	listener net.Listener
	addr     netip.AddrPort
	dual     bool // For all IPv6 addresses, and all IPv4 addresses too.
	used     bool
}

// inherit takes what the environment names, and removes that from it: it isn't for
// processes that this one starts.
func inherit() (*inheritance, error) {
	in := &inheritance{}
	err := in.take(os.Getenv, os.Getpid())
	for _, name := range inheritedEnv {
		if uerr := os.Unsetenv(name); uerr != nil {
			err = errors.Join(err, uerr)
		}
	}
	if err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

func (in *inheritance) take(getenv func(string) string, pid int) error {
	steps := []struct {
		name string
		take func(text string) error
	}{
		{socketsEnv, in.takeSockets},
		{filesEnv, in.takeFiles},
		{parentEnv, in.takeParent},
		{"LISTEN_FDS", func(text string) error { return in.takeActivated(text, getenv("LISTEN_PID"), pid) }},
	}
	for _, s := range steps {
		if text := getenv(s.name); text != "" {
			if err := s.take(text); err != nil {
				return fmt.Errorf("%s in the environment: %w", s.name, err)
			}
		}
	}
	return nil
}

func (in *inheritance) takeSockets(text string) error {
	list, err := parseFDs(text)
	if err != nil {
		return err
	}
	in.only = true
	for _, d := range list {
		s, err := newInheritedSocket(d.fd)
		if err != nil {
			return err
		}
		in.sockets = append(in.sockets, s)
		want, err := netip.ParseAddrPort(d.name)
		if err != nil || want != s.addr && !s.covers(want) {
			return fmt.Errorf("descriptor %d listens on %s, not on %s", d.fd, s.addr, d.name)
		}
		s.addr, s.dual = want, false
	}
	return nil
}

// takeActivated takes the sockets of sd_listen_fds(3). Their names are those that
// someone gave them in a unit; addresses say more.
func (in *inheritance) takeActivated(text, forPID string, pid int) error {
	if forPID != strconv.Itoa(pid) {
		return nil // For another process, as that which started this one.
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > fdMax-fdFirst {
		return fmt.Errorf("%q is not a number of sockets", text)
	}
	for fd := fdFirst; fd < fdFirst+n; fd++ {
		s, err := newInheritedSocket(fd)
		if err != nil {
			return err
		}
		in.sockets = append(in.sockets, s)
	}
	return nil
}

func newInheritedSocket(fd int) (*inheritedSocket, error) {
	f := os.NewFile(uintptr(fd), "socket")
	if f == nil {
		return nil, fmt.Errorf("no descriptor %d", fd)
	}
	defer f.Close() // The listener has its own.
	dual := false
	if only, err := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); err == nil {
		dual = only == 0
	}
	if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens == 0 {
		return nil, fmt.Errorf("descriptor %d is a socket that doesn't listen", fd)
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is not a listening socket: %w", fd, err)
	}
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("descriptor %d listens on %s, which is not TCP", fd, ln.Addr()), ln.Close())
	}
	ap := addr.AddrPort()
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	return &inheritedSocket{listener: ln, addr: ap, dual: dual && ap.Addr() == netip.IPv6Unspecified()}, nil
}

func (in *inheritance) takeFiles(text string) error {
	list, err := parseFDs(text)
	if err != nil {
		return err
	}
	in.files = map[string][]byte{}
	for _, d := range list {
		f := os.NewFile(uintptr(d.fd), d.name)
		content, err := io.ReadAll(io.LimitReader(f, keyFileMax))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		in.files[d.name] = content
	}
	return nil
}

func (in *inheritance) takeParent(text string) error {
	fd, err := parseFD(text)
	if err != nil {
		return err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil { // So that closing it ends reading.
		return fmt.Errorf("descriptor %d: %w", fd, err)
	}
	in.parent = os.NewFile(uintptr(fd), "parent")
	return nil
}

// watchParent calls stop when the parent has ended.
func (in *inheritance) watchParent(stop func()) {
	if in.parent == nil {
		return
	}
	in.watching.Go(func() {
		_, _ = in.parent.Read(make([]byte, 1))
		stop()
	})
}

// listen returns a socket that was inherited for an address, or makes one.
func (in *inheritance) listen(ctx context.Context, network, address string) (net.Listener, error) {
	want, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	for _, s := range in.sockets {
		if s.addr == want && !s.used {
			s.used = true
			return s.listener, nil
		}
	}
	for _, s := range in.sockets {
		if s.covers(want) {
			return s.share()
		}
	}
	if in.only {
		return nil, fmt.Errorf("no socket for %s was passed in %s", address, socketsEnv)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return nil, explainListen(want, err)
	}
	return ln, nil
}

// covers tells whether an address is that of all IPv4 addresses, which a socket for
// IPv6 listens on too.
func (s *inheritedSocket) covers(addr netip.AddrPort) bool {
	return s.dual && addr == netip.AddrPortFrom(netip.IPv4Unspecified(), s.addr.Port())
}

// share returns another listener for the same socket.
func (s *inheritedSocket) share() (net.Listener, error) {
	tcp, ok := s.listener.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("socket at %s can't be shared", s.addr)
	}
	f, err := tcp.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// closeUnused closes sockets that nothing in mox.conf is for: who connects to them
// would wait in vain.
func (in *inheritance) closeUnused(ctx context.Context, log *slog.Logger) {
	for _, s := range in.sockets {
		if !s.used {
			log.WarnContext(ctx, "socket from the service manager is for no listener in mox.conf", "addr", s.addr.String())
			_ = s.listener.Close()
		}
	}
}

// close closes what has not been given away, and waits for watchParent.
func (in *inheritance) close() {
	for _, s := range in.sockets {
		if !s.used {
			_ = s.listener.Close() // Perhaps it is already.
		}
	}
	if in.parent != nil {
		_ = in.parent.Close()
	}
	in.watching.Wait()
}
