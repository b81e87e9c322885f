package interop

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestServeAsRoot runs mox serve with the ports of mail, in a network of its own.
func TestServeAsRoot(t *testing.T) {
	inNetwork(t, func(t *testing.T, dir string) {
		for i, test := range []struct {
			name string
			run  func(s *service)
		}{
			{"serves as another user", testDropped},
			{"reloads certificates", testCertificates},
			{"keeps certificates that it may not read", testUnreadableKeys},
			{"is stopped by the command", testStopCommand},
			{"is stopped in order, told twice", testStopTwice},
			{"ends with its parent", testParentKilled},
			{"ends with its child", testChildKilled},
			{"listens for IPv4 and IPv6", testBothFamilies},
			{"serves with a capability", testCapability},
			{"serves with sockets of systemd", testActivated},
			{"says why it doesn't start", testErrors},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(newService(t, filepath.Join(dir, fmt.Sprintf("s%d", i)), fmt.Sprintf("127.0.1.%d", i+1)))
			})
		}
	})
}

// TestServeUnprivileged runs mox serve without root, at ports that anyone may use.
func TestServeUnprivileged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newService(t, filepath.Join(dir, "s"), fmt.Sprintf("127.%d.%d.%d", 16+rand.IntN(200), rand.IntN(256), 1+rand.IntN(254)))
	s.ports = map[string]string{"SMTP": "2525", "IMAPS": "9993"}
	s.configure(nil)
	if os.Geteuid() == 0 {
		for _, d := range []string{dir, filepath.Dir(dir)} { // Another user runs there.
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		s.asUser()
	}
	key := filepath.Join(s.keys, "mox.test.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	s.manage(time.Minute)
	s.start()
	if got := s.heard(); got != "READY=1\nSTATUS=serving at 2 addresses" {
		t.Errorf("the service manager hears first: %q", got)
	}
	s.run("setaccountpassword", "alice")
	s.deliver("one")
	s.wantMail(1)
	if got := s.reload(); got != "READY=1\nSTATUS=serving at 2 addresses" {
		t.Errorf("after a reload: %q", got)
	}
	s.signal(s.cmd.Process.Pid, syscall.SIGINT)
	if got := s.heard(); got != "STOPPING=1\nSTATUS=stopping" {
		t.Errorf("the service manager hears last: %q", got)
	}
	if got := s.wait(); got != 0 {
		t.Errorf("got exit status %d, want 0", got)
	}
	if want := "problem=\"any user may read the key " + key + ": run chmod o-rwx " + key; !strings.Contains(s.out.String(), want) {
		t.Errorf("the log has no %s:\n%s", want, s.out.String())
	}
	s.check()
	// The level of mox.conf is debug.
	s.out.reset()
	s.flags = []string{"-loglevel", "warn"}
	s.started()
	s.run("stop")
	s.wait()
	if out := s.out.String(); !strings.Contains(out, "l=warn") || strings.Contains(out, "l=info") || strings.Contains(out, "l=debug") {
		t.Errorf("with -loglevel warn: got %s", out)
	}
}

// testDropped looks at the process that serves, and at its whole life.
func testDropped(s *service) {
	t := s.t
	leaked, err := os.Open("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	defer leaked.Close()
	s.extra = []*os.File{leaked}
	s.manage(time.Second)
	s.start()
	if got := s.heard(); got != "READY=1\nSTATUS=serving at 2 addresses" {
		t.Errorf("the service manager hears first: %q", got)
	}
	// It is ready indeed.
	s.run("setaccountpassword", "alice")
	s.deliver("one")
	s.wantMail(1)

	child := s.child()
	all := serviceUID + " " + serviceUID + " " + serviceUID + " " + serviceUID
	for name, want := range map[string]string{
		"Name": "mox", "Uid": all, "Gid": all, "Groups": "", "NoNewPrivs": "1", "Umask": "0007",
		"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
	} {
		if got := s.status(child, name); got != want {
			t.Errorf("the process that serves has %s %q, want %q", name, got, want)
		}
	}
	s.wantDescriptors(child, `^(socket|pipe|anon_inode):|^/dev/null$|^/sys/fs/cgroup/|^`+regexp.QuoteMeta(filepath.Join(s.dir, "data"))+"/")
	// What a socket of the parent would be: with one, the ports would be taken until
	// it ends, too.
	s.wantDescriptors(s.cmd.Process.Pid, `^(pipe|anon_inode):|^/dev/null$|^/sys/fs/cgroup/|^/etc/shadow$`)
	for _, d := range []string{"config", "data"} {
		info, err := os.Stat(filepath.Join(s.dir, d))
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; fmt.Sprint(uid) != serviceUID || info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s has %v of user %d", d, info.Mode(), uid)
		}
	}
	if out, err := s.try("serve"); err == nil || out != fmt.Sprintf("mox: server is running: pid %d\n", child) {
		t.Errorf("a second server: got %v, %s", err, out)
	}
	s.signal(s.cmd.Process.Pid, syscall.SIGTERM)
	if got := s.heard(); got != "STOPPING=1\nSTATUS=stopping" {
		t.Errorf("the service manager hears last: %q", got)
	}
	if got := s.wait(); got != 0 {
		t.Errorf("got exit status %d, want 0\n%s", got, s.out.String())
	}
	s.check()
}

// wantDescriptors checks what a process has open.
func (s *service) wantDescriptors(pid int, allowed string) {
	s.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	re := regexp.MustCompile(allowed)
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && !re.MatchString(target) {
			s.t.Errorf("process %d has %s open, as %s", pid, target, e.Name())
		}
	}
}

// readable lets the user of the service read the keys.
func (s *service) readable() {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.keys, "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range append(files, s.keys) {
		if err := os.Chown(path, 65534, 65534); err != nil {
			s.t.Fatal(err)
		}
	}
}

// reload tells it to, and returns what the service manager hears after that.
func (s *service) reload() string {
	s.t.Helper()
	s.signal(s.cmd.Process.Pid, syscall.SIGHUP)
	if got := s.heard(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		s.t.Errorf("the service manager hears at a reload: %q", got)
	}
	return s.heard()
}

// testCertificates exchanges the certificate while sessions run, and asks for names.
func testCertificates(s *service) {
	t := s.t
	s.manage(time.Minute)
	s.readable()
	s.start()
	s.heard()
	s.run("setaccountpassword", "alice")
	for _, test := range []struct {
		name string
		ok   bool // At IMAPS. Port 25 takes all.
	}{{"mox.test", true}, {"", true}, {"MOX.test", true}, {"127.0.0.1", true}, {"other.test", false}, {"sub.mox.test", false}} {
		conn, err := s.dialTLS(test.name)
		if (err == nil) != test.ok || err != nil && !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("name %q at IMAPS: got %v", test.name, err)
		}
		if err == nil {
			_ = conn.Close()
		}
		c, err := s.startTLS(test.name)
		if err != nil {
			t.Errorf("name %q at port 25: %v", test.name, err)
			continue
		}
		if err := c.Hello("client.example"); err != nil {
			t.Errorf("name %q at port 25: %v", test.name, err)
		} else if state, ok := c.TLSConnectionState(); !ok || state.PeerCertificates[0].DNSNames[0] != "mox.test" {
			t.Errorf("name %q at port 25: got certificate for %v", test.name, state.PeerCertificates[0].DNSNames)
		}
		_ = c.Close()
	}
	before, session := s.shown(), s.inbox()
	s.newCert()
	s.readable()
	if got := s.reload(); got != "READY=1\nSTATUS=serving at 2 addresses" {
		t.Errorf("after a reload: %q", got)
	}
	if s.shown() == before {
		t.Errorf("the old certificate is shown\n%s", s.out.String())
	}
	s.deliver("to a session from before")
	if session.ok("NOOP"); len(session.search("ALL")) != 1 {
		t.Error("the session from before has no new message")
	}
	_ = session.conn.Close()
	// As OpenSSL sees it.
	out := command(t, nil, tool(t, "openssl"), "s_client", "-connect", s.address("IMAPS"), "-servername", "mox.test",
		"-CAfile", filepath.Join(s.keys, "mox.test.crt"), "-verify_return_error", "-brief")
	if !strings.Contains(out, "Verification: OK") {
		t.Errorf("openssl: %s", out)
	}
	s.signal(s.cmd.Process.Pid, syscall.SIGINT)
	if got := s.wait(); got != 0 {
		t.Errorf("got exit status %d, want 0", got)
	}
	s.check()
}

// testUnreadableKeys exchanges a certificate that only root can read.
func testUnreadableKeys(s *service) {
	t := s.t
	s.manage(time.Minute)
	s.start()
	s.heard()
	before := s.shown()
	s.newCert()
	const status = "READY=1\nSTATUS=serving at 2 addresses; reloading the configuration failed, see the log"
	if got := s.reload(); got != status {
		t.Errorf("after a reload: %q", got)
	}
	if s.shown() != before {
		t.Error("another certificate is shown")
	}
	for _, want := range []string{"l=error", "mox.test.key: permission denied", "certificates stay as they were", "user 65534 may not read", "or restart the server"} {
		if !strings.Contains(s.out.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, s.out.String())
		}
	}
	s.readable() // As it says.
	if got := s.reload(); strings.Contains(got, "failed") || s.shown() == before {
		t.Errorf("after the mending: %q\n%s", got, s.out.String())
	}
	s.run("stop")
	if got := s.wait(); got != 0 {
		t.Errorf("got exit status %d, want 0", got)
	}
}

// testStopCommand stops it by the control socket. It can be started again at once,
// with what is there.
func testStopCommand(s *service) {
	t := s.t
	s.started()
	s.run("setaccountpassword", "alice")
	s.deliver("one")
	s.run("stop")
	if got := s.wait(); got != 0 {
		t.Errorf("got exit status %d, want 0\n%s", got, s.out.String())
	}
	s.started()
	s.deliver("two")
	s.wantMail(2)
	s.run("stop")
	s.wait()
	s.check()
}

// testStopTwice has the signal come from a terminal or a service manager: to both
// processes, and again.
func testStopTwice(s *service) {
	s.started()
	s.run("setaccountpassword", "alice")
	session := s.inbox() // Something to end.
	pids := []int{s.child(), s.cmd.Process.Pid, s.cmd.Process.Pid}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGTERM) // The last may be gone.
	}
	if got := s.wait(); got != 0 {
		s.t.Errorf("got exit status %d, want 0\n%s", got, s.out.String())
	}
	_ = session.conn.Close()
	s.check()
}

// gone waits for the end of a process that isn't a child of ours.
func gone(pid int) bool {
	return eventually(func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, state, _ := strings.Cut(string(text), ") ")
		return err != nil || strings.HasPrefix(state, "Z") // Its new parent doesn't wait for it, in a network of its own.
	})
}

// testParentKilled kills the parent. The child ends, and in order.
func testParentKilled(s *service) {
	t := s.t
	s.started()
	s.run("setaccountpassword", "alice")
	s.deliver("one")
	child := s.child()
	s.signal(s.cmd.Process.Pid, syscall.SIGKILL)
	s.wait()
	if !gone(child) {
		t.Fatal("the process that serves goes on")
	}
	s.check()
	s.started()
	s.wantMail(1)
	s.run("stop")
	s.wait()
}

// testChildKilled kills the child. The parent ends with an error, so that the service
// manager starts it again.
func testChildKilled(s *service) {
	s.started()
	s.signal(s.child(), syscall.SIGKILL)
	if got := s.wait(); got != 1 || !strings.Contains(s.out.String(), "mox: the process that serves ended by a signal: killed\n") {
		s.t.Errorf("got exit status %d, want 1\n%s", got, s.out.String())
	}
}

// testBothFamilies listens on all addresses, which for IPv6 includes those of IPv4
// unless that is said.
func testBothFamilies(s *service) {
	s.ports = map[string]string{"SMTP": "2626", "IMAPS": "9994"}
	s.configure(func(text string) string {
		return strings.Replace(text, "\t\t\t- "+s.ip+"\n", "\t\t\t- 0.0.0.0\n\t\t\t- ::\n", 1)
	})
	s.started()
	for _, ip := range []string{"127.0.0.1", "::1"} {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, "2626"), patience)
		if err != nil {
			s.t.Errorf("%s: %v", ip, err)
			continue
		}
		p := newSMTPPeer(s.t, conn)
		p.want("220")
		_ = conn.Close()
	}
	s.run("stop")
	if got := s.wait(); got != 0 {
		s.t.Errorf("got exit status %d, want 0", got)
	}
}

// asUser gives all to the user, and lets the program run as that from the begin.
func (s *service) asUser(setpriv ...string) {
	s.t.Helper()
	command(s.t, nil, "chown", "-R", serviceUID+":"+serviceUID, s.dir)
	s.args = append([]string{tool(s.t, "setpriv"), "--reuid=" + serviceUID, "--regid=" + serviceUID, "--clear-groups"}, setpriv...)
}

// testCapability starts it as the user, with the capability to use low ports.
func testCapability(s *service) {
	s.asUser("--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service")
	s.manage(time.Minute)
	s.start()
	if got := s.heard(); !strings.HasPrefix(got, "READY=1\n") {
		s.t.Errorf("the service manager hears: %q", got)
	}
	s.run("setaccountpassword", "alice")
	s.deliver("one")
	s.wantMail(1)
	s.signal(s.cmd.Process.Pid, syscall.SIGTERM)
	if got := s.wait(); got != 0 {
		s.t.Errorf("got exit status %d, want 0\n%s", got, s.out.String())
	}
	s.check()
}

// testActivated has systemd's own program open the sockets, one too many, and
// another family than asked for.
func testActivated(s *service) {
	s.asUser()
	s.args = append([]string{
		tool(s.t, "systemd-socket-activate"), "-l", s.address("SMTP"), "-l", s.address("IMAPS"), "-l", net.JoinHostPort(s.ip, "587"), "--fdname=a:b:c",
	}, s.args...)
	s.start()
	// The first connection starts it, and is served.
	begun := eventually(func() bool {
		conn, err := net.DialTimeout("tcp", s.address("SMTP"), patience)
		if err != nil {
			return false
		}
		defer conn.Close()
		newSMTPPeer(s.t, conn).want("220")
		return true
	})
	if !begun {
		s.t.Fatalf("not started\n%s", s.out.String())
	}
	s.run("setaccountpassword", "alice")
	s.deliver("one")
	s.wantMail(1)
	if want := `is for no listener in mox.conf" pkg=serve addr=` + net.JoinHostPort(s.ip, "587"); !strings.Contains(s.out.String(), want) {
		s.t.Errorf("the log has no %s:\n%s", want, s.out.String())
	}
	s.run("stop")
	if got := s.wait(); got != 0 {
		s.t.Errorf("got exit status %d, want 0\n%s", got, s.out.String())
	}
	s.check()
}

// testErrors starts it wrongly. Nothing of it is left, so each is done with the same
// directory, and what it prints names what to do.
func testErrors(s *service) {
	t := s.t
	busy, err := net.Listen("tcp", s.address("IMAPS"))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	conf, domains := filepath.Join(s.dir, "config", "mox.conf"), filepath.Join(s.dir, "config", "domains.conf")
	chmod := func(path string, perm os.FileMode) func() {
		return func() {
			if err := os.Chmod(path, perm); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(old, new string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, new, 1) }
	}
	high := func(text string) string {
		return replace("Port: 993", "Port: 9993")(replace("Port: 25", "Port: 2525")(text))
	}
	nobody := []string{tool(t, "setpriv"), "--reuid=" + serviceUID, "--regid=" + serviceUID, "--clear-groups"}
	for _, test := range []struct {
		name   string
		edit   func(string) string
		before func()
		args   []string
		env    []string
		want   []string
	}{
		{"a port in use", nil, nil, nil, nil, []string{"listening for imaps: ", "address already in use", "ss -ltnp 'sport = :993'"}},
		{"empty variables, and sockets for another process", nil, nil, nil, []string{"MOX_FILES=", "MOX_SOCKETS=", "LISTEN_FDS=x", "LISTEN_PID=1"}, []string{"address already in use"}},
		{"an address of another machine", replace(s.ip, "192.0.2.1"), nil, nil, nil, []string{"this machine has no address 192.0.2.1: correct IPs"}},
		{"an unknown user", replace(serviceUser, "nosuchuser"), nil, nil, nil, []string{`there is no user "nosuchuser"`, "useradd --system", "another User in mox.conf"}},
		{"root as user", replace(serviceUser, "root"), nil, nil, nil, []string{`mox.conf has User "root", which is root`}},
		{"root by number", replace(serviceUser, "0"), nil, nil, nil, []string{`mox.conf has User "0", which is root`}},
		{"a key that isn't there", replace("mox.test.key", "none.key"), nil, nil, nil, []string{"mox.conf:", "none.key: no such file"}},
		{"descriptors for root", nil, nil, nil, []string{"MOX_SOCKETS=3=127.0.0.1:25"}, []string{"MOX_SOCKETS is set in the environment, and not used as root"}},
		{"files for root", nil, nil, nil, []string{"MOX_FILES=3=x"}, []string{"MOX_FILES is set in the environment, and not used as root"}},
		{"a directory that the user may not enter", high, chmod(s.dir, 0o700), nil, nil,
			[]string{"user nobody (65534) may not enter the directory " + s.dir + ": let it, for example with chmod o+x " + s.dir}},
		{"a configuration that the user may not read", func(text string) string { return "NoFixPermissions: true\n" + high(text) },
			func() {
				chmod(s.dir, 0o755)()
				command(t, nil, "chown", "-R", "0:0", filepath.Join(s.dir, "config"))
				chmod(filepath.Join(s.dir, "config"), 0o755)()
			}, nil, nil, []string{"user nobody (65534) needs " + domains + ": run chown -R 65534 " + domains}},
		{"a configuration that all may change", func(text string) string { return "NoFixPermissions: true\n" + high(text) }, chmod(conf, 0o666), nil, nil,
			[]string{"any user can change " + conf + ": run chmod o-rwx " + conf}},
		{"no root, and a low port", nil, func() {
			chmod(conf, 0o640)()
			command(t, nil, "chown", "-R", serviceUID+":"+serviceUID, s.dir)
		}, nobody, nil,
			[]string{"user nobody (65534) may not listen on port 25", "- start as root", "AmbientCapabilities=CAP_NET_BIND_SERVICE", "socket unit"}},
	} {
		edit := test.edit
		if edit == nil {
			edit = func(text string) string { return text }
		}
		s.configure(edit)
		if test.before != nil {
			test.before()
		}
		s.args, s.env = test.args, test.env
		s.out.reset()
		s.start()
		if got := s.wait(); got != 1 {
			t.Errorf("%s: got exit status %d, want 1", test.name, got)
		}
		out := s.out.String()
		if slices.ContainsFunc(test.want, func(want string) bool { return !strings.Contains(out, want) }) {
			t.Errorf("%s: got %s, want %q", test.name, out, test.want)
		}
	}
}
