package interop

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// postfix is a Postfix with a configuration and directories of its own. It takes
// mail for some domains, any address of theirs, and sends on what comes from
// 127.0.0.0/8.
type postfix struct {
	dir  string
	mail string // Maildir of all mail that it has delivered.
}

// postfixMain is main.cf. DIR is where it has its files.
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
inet_interfaces = ` + postfixIP + `
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtputf8_enable = yes
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = postfix.test, alias.test, several.test, aonly.test, brokentls.test, plain.test, strict.test
virtual_mailbox_base = DIR/mail
virtual_mailbox_maps = texthash:DIR/etc/mailboxes
virtual_alias_maps = texthash:DIR/etc/aliases
virtual_minimum_uid = 1
virtual_uid_maps = static:OWNER
virtual_gid_maps = static:OWNER
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_chain_files = DIR/etc/mx.postfix.test.pem
smtpd_tls_received_header = yes
smtp_tls_security_level = may
smtp_tls_loglevel = 1
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
`

// postfixMaster is master.cf: without chroot, where name servers would be others.
const postfixMaster = postfixIP + `:25 inet n - n - - smtpd
` + brokenTLSIP + `:25 inet n - n - - smtpd
  -o smtpd_tls_protocols=TLSv1
` + plainIP + `:25 inet n - n - - smtpd
  -o smtpd_tls_security_level=none
  -o smtpd_discard_ehlo_keywords=silent-discard,dsn
pickup unix n - n 1 1 pickup
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

// postfixOwner is the user id that mail belongs to. It needs no name.
const postfixOwner = 5000

// newPostfix writes the configuration. It starts nothing.
func newPostfix(t *testing.T, dir string) *postfix {
	t.Helper()
	sbin(t, "postfix")
	for _, ip := range []string{postfixIP, brokenTLSIP, plainIP} {
		command(t, nil, sbin(t, "ip"), "address", "add", ip+"/8", "dev", "lo") // Postfix wants to see those that are its own.
	}
	p := &postfix{dir: filepath.Join(dir, "postfix")}
	p.mail = filepath.Join(p.dir, "mail", "all", "new")
	for _, sub := range []string{"etc", "spool", "data", "mail"} {
		if err := os.MkdirAll(filepath.Join(p.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own(t, filepath.Join(p.dir, "mail"), postfixOwner)
	postfixUser, err := user.Lookup("postfix")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(postfixUser.Uid)
	if err != nil {
		t.Fatal(err)
	}
	own(t, filepath.Join(p.dir, "data"), uid)

	etc := filepath.Join(p.dir, "etc")
	writeCert(t, etc, "mx.postfix.test")
	key, err := os.ReadFile(filepath.Join(etc, "mx.postfix.test.key"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := os.ReadFile(filepath.Join(etc, "mx.postfix.test.crt"))
	if err != nil {
		t.Fatal(err)
	}
	var mailboxes strings.Builder
	for _, domain := range []string{"postfix", "alias", "several", "aonly", "brokentls", "plain"} {
		mailboxes.WriteString("@" + domain + ".test all/\n")
	}
	mailboxes.WriteString("known@strict.test all/\n")
	replace := strings.NewReplacer("DIR", p.dir, "OWNER", strconv.Itoa(postfixOwner))
	for name, text := range map[string]string{
		"main.cf":             replace.Replace(postfixMain),
		"master.cf":           replace.Replace(postfixMaster),
		"mailboxes":           mailboxes.String(),
		"aliases":             "bounces@strict.test nobody@gone.test\n",
		"mx.postfix.test.pem": string(key) + string(cert),
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func own(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
}

// start starts it, and waits until it greets. It is stopped when the test ends.
func (p *postfix) start(t *testing.T) {
	t.Helper()
	etc := filepath.Join(p.dir, "etc")
	if out, err := tryCommand(t, nil, sbin(t, "postfix"), "-c", etc, "start"); err != nil {
		t.Fatalf("starting Postfix: %v\n%s\n%s", err, out, p.log())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Postfix:\n%s", p.log())
		}
		if out, err := exec.Command(sbin(t, "postfix"), "-c", etc, "stop").CombinedOutput(); err != nil {
			t.Errorf("stopping Postfix: %v\n%s", err, out)
		}
	})
	for _, ip := range []string{postfixIP, brokenTLSIP, plainIP} {
		greets := func() bool {
			conn, err := net.DialTimeout("tcp", ip+":25", patience)
			if err != nil {
				return false
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			line, err := bufio.NewReader(conn).ReadString('\n')
			return err == nil && strings.HasPrefix(line, "220 ")
		}
		if !eventually(greets) {
			t.Fatalf("Postfix does not greet at %s:\n%s", ip, p.log())
		}
	}
}

func (p *postfix) log() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "spool", "postfix.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// messages returns the messages with some text that it has delivered to a
// recipient, any if "". Line ends are CRLF again.
func (p *postfix) messages(t *testing.T, rcpt, text string) (found []string) {
	t.Helper()
	files, err := os.ReadDir(p.mail)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(p.mail, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		msg := strings.ReplaceAll(string(content), "\n", "\r\n")
		if strings.Contains(msg, text) && strings.Contains(msg, "\r\nDelivered-To: "+rcpt) {
			found = append(found, msg)
		}
	}
	return found
}

// received waits for a message, and returns the only one.
func (p *postfix) received(t *testing.T, rcpt, text string) string {
	t.Helper()
	var found []string
	if !eventually(func() bool { found = p.messages(t, rcpt, text); return len(found) > 0 }) {
		t.Fatalf("Postfix has no message for %s with %q", rcpt, text)
	}
	if len(found) != 1 {
		t.Errorf("Postfix has %d messages for %s with %q", len(found), rcpt, text)
	}
	return found[0]
}
