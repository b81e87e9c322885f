//go:build unix

package main

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseFDs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       []namedFD
		err        string // Part of it.
	}{
		{"nothing", "", nil, ""},
		{"sockets", "3=127.0.0.1:25 4=%5B::1%5D:25", []namedFD{{3, "127.0.0.1:25"}, {4, "[::1]:25"}}, ""},
		{"a name with space and =", "5=a%20b=c", []namedFD{{5, "a b=c"}}, ""},
		{"the largest", "1023=a", []namedFD{{1023, "a"}}, ""},
		{"too large", "1024=a", nil, `"1024" is not a descriptor from 3 to 1023`},
		{"output", "2=a", nil, `"2" is not a descriptor`},
		{"not a number", "x=a", nil, `"x" is not a descriptor`},
		{"no name", "3", nil, `"3" is not number=name`},
		{"named twice", "3=a 3=b", nil, "each number once"},
		{"escaped badly", "3=%", nil, "is not number=name"},
	} {
		got, err := parseFDs(test.text)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got error %v, want %q", test.name, err, test.err)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// FuzzParseFDs checks that what is parsed is written so that it is parsed again.
func FuzzParseFDs(f *testing.F) {
	f.Add("3=127.0.0.1:25 4=%5B::1%5D:25")
	f.Add("5=a%20b=c\t7=")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseFDs(text)
		if err != nil {
			return
		}
		again, err := parseFDs(formatFDs(list))
		if err != nil || !reflect.DeepEqual(again, list) {
			t.Errorf("%q is %v, and then %v, %v", text, list, again, err)
		}
	})
}

// descriptor returns one that is to be taken over.
func descriptor(t *testing.T, file func() (*os.File, error)) int {
	t.Helper()
	f, err := file()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fd)
	return fd
}

// tcp returns a listening socket, and its address.
func tcp(t *testing.T, network, address string) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("this machine can't listen on %s: %v", address, err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	return ln.(*net.TCPListener), netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// TestNotSockets gives descriptors that no connections can be accepted from.
func TestNotSockets(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	local, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	ln, _ := tcp(t, "tcp4", "127.0.0.1:0")
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, test := range []struct {
		name string
		file func() (*os.File, error)
		want string
	}{
		{"a file", func() (*os.File, error) { return os.Open(os.DevNull) }, "is not a listening socket"},
		{"UDP", udp.File, "doesn't listen"},
		{"a connection", conn.(*net.TCPConn).File, "doesn't listen"},
		{"a unix socket", local.File, "which is not TCP"},
	} {
		if s, err := newInheritedSocket(descriptor(t, test.file)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %+v, %v, want %q", test.name, s, err, test.want)
		}
	}
}

// TestInheritedSockets listens on sockets that are there.
func TestInheritedSockets(t *testing.T) {
	t.Parallel()
	one, oneAddr := tcp(t, "tcp4", "127.0.0.1:0")
	both, bothAddr := tcp(t, "tcp", "[::]:0")
	six, sixAddr := tcp(t, "tcp6", "[::]:0")
	in := &inheritance{}
	t.Cleanup(in.close)
	for _, ln := range []*net.TCPListener{one, both, six} {
		s, err := newInheritedSocket(descriptor(t, ln.File))
		if err != nil {
			t.Fatal(err)
		}
		in.sockets = append(in.sockets, s)
	}
	any4 := func(addr netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	}
	other, otherAddr := tcp(t, "tcp4", "127.0.0.1:0")
	for _, test := range []struct {
		name string
		addr netip.AddrPort
		want string // Where it listens, or part of the error.
	}{
		{"all IPv4 addresses, of a socket for both", any4(bothAddr), bothAddr.String()},
		{"all IPv6 addresses, of a socket for both", bothAddr, bothAddr.String()},
		{"an address", oneAddr, oneAddr.String()},
		{"the same again", oneAddr, "another program listens there already"},
		{"all IPv4 addresses, of a socket for IPv6", any4(sixAddr), any4(sixAddr).String()},
		{"in use by another program", otherAddr, "another program listens there already; this tells which: ss -ltnp 'sport = :"},
		{"of another machine", netip.MustParseAddrPort("192.0.2.1:25"), "this machine has no address 192.0.2.1"},
	} {
		ln, err := in.listen(t.Context(), "tcp4", test.addr.String())
		switch {
		case err == nil && ln.Addr().String() != test.want:
			t.Errorf("%s: listens on %s, want %s", test.name, ln.Addr(), test.want)
		case err != nil && !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
		if err == nil {
			t.Cleanup(func() { _ = ln.Close() })
		}
	}
	_ = other.Close()
	in.only = true
	if _, err := in.listen(t.Context(), "tcp4", otherAddr.String()); err == nil || !strings.Contains(err.Error(), "no socket for "+otherAddr.String()+" was passed in MOX_SOCKETS") {
		t.Errorf("with other sockets from the parent: got %v", err)
	}
}

// TestTake reads environments.
func TestTake(t *testing.T) {
	t.Parallel()
	ln, addr := tcp(t, "tcp4", "127.0.0.1:0")
	for _, test := range []struct {
		name string
		env  map[string]string
		want string // Part of the error, empty for none.
	}{
		{"nothing", nil, ""},
		{"a bad list", map[string]string{"MOX_SOCKETS": "x"}, `MOX_SOCKETS in the environment: "x" is not a descriptor`},
		{"a bad list of files", map[string]string{"MOX_FILES": "3"}, "MOX_FILES in the environment: "},
		{"a bad pipe", map[string]string{"MOX_PARENT": "1"}, `MOX_PARENT in the environment: "1" is not`},
		{"a descriptor that isn't there", map[string]string{"MOX_SOCKETS": "1000=127.0.0.1:25"}, "descriptor 1000 is not a listening socket"},
		{"a file that isn't there", map[string]string{"MOX_FILES": "1000=a"}, "MOX_FILES in the environment: read a: bad file descriptor"},
		{"sockets for another process", map[string]string{"LISTEN_FDS": "1", "LISTEN_PID": "1"}, ""},
		{"not a number of sockets", map[string]string{"LISTEN_FDS": "x", "LISTEN_PID": "7"}, `LISTEN_FDS in the environment: "x" is not a number of sockets`},
		{"too many sockets", map[string]string{"LISTEN_FDS": "1022", "LISTEN_PID": "7"}, "is not a number of sockets"},
		{"none", map[string]string{"LISTEN_FDS": "0", "LISTEN_PID": "7"}, ""},
	} {
		in := &inheritance{}
		err := in.take(func(name string) string { return test.env[name] }, 7)
		in.close()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
	for _, test := range []struct{ addr, want string }{
		{addr.String(), ""},
		{"127.0.0.1:1", "listens on " + addr.String() + ", not on 127.0.0.1:1"},
		{"x", "not on x"},
	} {
		in := &inheritance{}
		err := in.takeSockets(formatFDs([]namedFD{{descriptor(t, ln.File), test.addr}}))
		in.close()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("named %s: got %v, want %q", test.addr, err, test.want)
		}
	}
}

// TestParentEnds shows that the end of the parent is noticed, and that nobody
// waits for it in vain.
func TestParentEnds(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{true, false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		in := &inheritance{}
		fd := descriptor(t, func() (*os.File, error) { return r, nil })
		if err := in.takeParent(formatFD(fd)); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		in.watchParent(func() { close(stopped) })
		if ends {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			<-stopped
		}
		in.close()
		<-stopped
		_ = w.Close()
	}
}

func formatFD(fd int) string {
	text, _, _ := strings.Cut(formatFDs([]namedFD{{fd, ""}}), "=")
	return text
}
