package outgoing

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/test/interop/netns"
)

// greylistAddr is where postgrey listens, and greylistDelay how long it makes senders
// wait.
const (
	greylistAddr  = "127.0.0.1:10023"
	greylistDelay = 2 * time.Second
)

// postfixMain is main.cf. DIR is where it has its files. Each smtpd has a name in the
// log, and settings of its own, in master.cf.
const postfixMain = `compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = DIR/spool/postfix.log
maillog_file_prefixes = DIR
myhostname = mx.postfix.test
myorigin = postfix.test
mydestination =
inet_interfaces = SENDING
inet_protocols = all
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = texthash:DIR/etc/domains
virtual_mailbox_base = DIR/mail
virtual_mailbox_maps = texthash:DIR/etc/mailboxes
virtual_minimum_uid = 1
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
smtpd_peername_lookup = no
smtpd_delay_reject = no
smtpd_error_sleep_time = 0
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_tls_security_level = may
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtp_tls_security_level = dane
smtp_dns_support_level = dnssec
smtp_tls_loglevel = 1
smtp_bind_address = SENDING
smtp_address_preference = ipv4
`

// postfixMaster is master.cf, without its smtpd, and without chroot, where name
// servers would be others.
const postfixMaster = `pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// startPostfix starts a Postfix that is at all ends that are for it.
func (w *world) startPostfix(t *testing.T) {
	t.Helper()
	w.postfix = filepath.Join(w.dir, "postfix")
	for _, sub := range []string{"etc", "spool", "data", "mail"} {
		if err := os.MkdirAll(filepath.Join(w.postfix, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.own(t, "postfix/mail", "5000")
	u, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	w.own(t, "postfix/data", u.Uid)
	master := postfixMaster
	var domains, mailboxes strings.Builder
	for _, r := range w.rows {
		fmt.Fprintf(&domains, "%s ok\n", r.fqdn())
		fmt.Fprintf(&mailboxes, "@%s %[1]s/\n", r.fqdn())
		for _, e := range r.ends() {
			if !e.postfix {
				continue
			}
			cert := w.write(t, "postfix/etc/"+e.logs+".pem", e.issued.pem(t))
			master += fmt.Sprintf("%s inet n - n - - smtpd\n  -o syslog_name=%s\n  -o smtpd_tls_chain_files=%s\n", net.JoinHostPort(e.ip, "25"), e.logs, cert)
			for _, option := range e.options {
				name, value, _ := strings.Cut(option, "=")
				master += fmt.Sprintf("  -o { %s = %s }\n", name, value)
			}
		}
	}
	w.write(t, "postfix/etc/main.cf", strings.NewReplacer("DIR", w.postfix, "SENDING", w.sending).Replace(postfixMain))
	w.write(t, "postfix/etc/master.cf", master)
	w.write(t, "postfix/etc/domains", domains.String())
	w.write(t, "postfix/etc/mailboxes", mailboxes.String())
	w.startPostgrey(t)
	etc := filepath.Join(w.postfix, "etc")
	if out, err := netns.Try(t, nil, netns.Program(t, "postfix"), "-c", etc, "start"); err != nil {
		t.Fatalf("starting Postfix: %v\n%s\n%s", err, out, w.postfixLog(t))
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Postfix:\n%s", w.postfixLog(t))
		}
		if out, err := exec.Command(netns.Program(t, "postfix"), "-c", etc, "abort").CombinedOutput(); err != nil {
			t.Errorf("stopping Postfix: %v\n%s", err, out)
		}
	})
}

// startPostgrey starts what makes senders wait, as Postfix asks it.
func (w *world) startPostgrey(t *testing.T) {
	t.Helper()
	u, err := user.Lookup("postgrey")
	if err != nil {
		t.Fatalf("%v: run scripts/install-test-deps.sh", err)
	}
	dir := filepath.Join(w.dir, "postgrey")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.own(t, "postgrey", u.Uid)
	empty := w.write(t, "nobody", "")
	w.run(t, netns.Program(t, "postgrey"), "--inet="+greylistAddr, fmt.Sprintf("--delay=%d", int(greylistDelay.Seconds())), "--dbdir="+dir, "--pidfile="+filepath.Join(dir, "pid"),
		"--user=postgrey", "--group=postgrey", "--whitelist-clients="+empty, "--whitelist-recipients="+empty)
	if !eventually(func() bool { return answersAt(greylistAddr, "") }) {
		t.Fatal("postgrey does not listen")
	}
}

// answersAt tells whether there is somebody at an address, who greets so.
func answersAt(address, greeting string) bool {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if greeting == "" {
		return true
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, greeting)
}

func (w *world) own(t *testing.T, name, uid string) {
	t.Helper()
	id, err := strconv.Atoi(uid)
	if err == nil {
		err = os.Chown(filepath.Join(w.dir, name), id, id)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) postfixLog(t *testing.T) string {
	t.Helper()
	return w.read(t, "postfix/spool/postfix.log")
}

// postfixConnections returns how many connections there were from some addresses to
// an end.
func (w *world) postfixConnections(t *testing.T, e *end, from ...netip.Addr) (n int) {
	t.Helper()
	for line := range strings.Lines(w.postfixLog(t)) {
		if !strings.Contains(line, " "+e.logs+"/smtpd[") {
			continue
		}
		for _, ip := range from {
			if strings.Contains(line, ": connect from unknown["+ip.String()+"]") {
				n++
			}
		}
	}
	return n
}

// postfixMessages returns the messages with some text that Postfix has for a domain.
func (w *world) postfixMessages(t *testing.T, domain, text string) (found []string) {
	t.Helper()
	dir := filepath.Join(w.postfix, "mail", domain, "new")
	files, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), text) {
			found = append(found, string(content))
		}
	}
	return found
}
