package interop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
)

const (
	operateConnections = 10 // That send mail while the server is operated.

	// operateMax bounds what they send, each, and otherMax what those of them send that
	// are other servers: a network may send 500 messages a minute to an account.
	operateMax, otherMax = 2000, 450
)

const operateDomains = `# Domains of the test.
Domains:
	one.test: nil
	# The second.
	two.test: nil
Accounts:
	ann:
		Domain: one.test
		Destinations:
			ann@one.test: nil
	ben:
		Domain: two.test
		# He is at the other domain.
		Destinations:
			ben@two.test: nil
	cleo:
		Domain: one.test
		MaxOutgoingMessagesPerDay: 100000
		Destinations:
			cleo@one.test: nil
			cleo@two.test: nil
`

// operated is a service under load, and what it said it has taken.
type operated struct {
	*service
	stop atomic.Bool
	wg   sync.WaitGroup
	ids  atomic.Int64

	mu    sync.Mutex
	acked map[string][]string // Recipients of each message that got 250, by its id.
	from  []string            // Errors of senders, while the server was to be there.
}

// TestOperate has mox serve for two domains under load: its configuration is changed
// by commands and by an editor, a backup is made, the server is killed and restored
// elsewhere. All mail that was taken before the backup is there, once.
func TestOperate(t *testing.T) {
	inNetwork(t, func(t *testing.T, dir string) {
		o := newOperated(t, filepath.Join(dir, "first"))
		o.started()
		for _, account := range []string{"ann", "ben", "cleo"} {
			o.run("setaccountpassword", account)
		}
		for i := range operateConnections {
			o.wg.Go(func() { o.load(i) })
		}
		o.wait250(200)
		o.changeByCommand()
		o.changeByEditor()
		o.wait250(200)
		backup := o.backup()
		o.wait250(50)

		o.stop.Store(true)
		for _, pid := range []int{o.cmd.Process.Pid, o.child()} {
			_ = syscall.Kill(pid, syscall.SIGKILL) // The child may be quicker.
		}
		o.wait()
		o.wg.Wait()
		if len(o.from) > 0 {
			t.Errorf("%d errors of senders, the first is %s", len(o.from), o.from[0])
		}
		o.restored(filepath.Join(dir, "second"), backup)
	})
}

// newOperated makes the service, and a directory for backups.
func newOperated(t *testing.T, dir string) *operated {
	t.Helper()
	o := &operated{service: newService(t, dir, "127.0.1.1"), acked: map[string][]string{}}
	o.configure(func(text string) string {
		text = strings.Replace(text, "\t\tIMAPS:\n", "\t\tSubmission:\n\t\t\tEnabled: true\n\t\tIMAPS:\n", 1)
		return strings.Replace(text, "Account: alice", "Account: ann", 1)
	})
	if err := os.WriteFile(o.domains(), []byte(operateDomains), 0o640); err != nil {
		t.Fatal(err)
	}
	backups := filepath.Join(dir, "backups")
	if err := os.Mkdir(backups, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(backups, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *operated) domains() string { return filepath.Join(o.dir, "config", "domains.conf") }

// load sends mail over one connection until the server is killed: half of the
// senders are other servers, half are users.
func (o *operated) load(n int) {
	rcpts := []string{"ann@one.test", "ben@two.test", "cleo@one.test", "cleo@two.test"}
	most, from, connect := otherMax, "sender@remote.example", func() (*gosmtp.Client, error) { return o.other(n) }
	if n%2 == 0 {
		most, from, connect = operateMax, "cleo@one.test", o.asCleo
	}
	c, err := connect()
	for i := 0; i < most && err == nil && !o.stop.Load(); i++ {
		to := []string{rcpts[(n+i)%len(rcpts)], rcpts[(n+i+1)%len(rcpts)]}
		err = o.send(c, from, fmt.Sprintf("op-%d", o.ids.Add(1)), to)
	}
	if err != nil && !o.stop.Load() {
		o.mu.Lock()
		o.from = append(o.from, err.Error())
		o.mu.Unlock()
	}
	if c != nil {
		_ = c.Close()
	}
}

// other connects as another server, each in a network of its own.
func (o *operated) other(n int) (*gosmtp.Client, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(10+n), 0, 1)}}
	conn, err := d.Dial("tcp", o.address("SMTP"))
	if err != nil {
		return nil, err
	}
	return gosmtp.NewClientStartTLS(conn, &tls.Config{RootCAs: o.roots, ServerName: "mox.test"})
}

// asCleo connects as a user of cleo's account.
func (o *operated) asCleo() (*gosmtp.Client, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(o.ip, "587"), patience)
	if err != nil {
		return nil, err
	}
	c, err := gosmtp.NewClientStartTLS(conn, &tls.Config{RootCAs: o.roots, ServerName: "mox.test"})
	if err != nil {
		return nil, err
	}
	return c, c.Auth(sasl.NewPlainClient("", "cleo@one.test", password))
}

// fromOther sends a message as another server.
func (o *operated) fromOther(to ...string) error {
	c, err := o.other(operateConnections)
	if err != nil {
		return err
	}
	defer c.Close()
	return o.send(c, "sender@remote.example", fmt.Sprintf("op-%d", o.ids.Add(1)), to)
}

// send sends a message, and notes it when it is taken.
func (o *operated) send(c *gosmtp.Client, from, id string, to []string) error {
	if err := transact(c, from, gosmtp.MailOptions{}, newMail(from, id, strings.Repeat("Hello.\r\n", 500)), to...); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acked[id] = to
	return nil
}

// wait250 waits until some more messages are taken.
func (o *operated) wait250(n int) {
	o.t.Helper()
	count := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.acked)
	}
	if from := count(); !eventually(func() bool { return count() >= from+n }) {
		o.t.Fatalf("%d messages were taken, %d before\n%s", count(), from, o.out.String())
	}
}

// changeByCommand changes the configuration by commands, and sees that it holds.
func (o *operated) changeByCommand() {
	for _, args := range [][]string{
		{"config", "domain", "add", "three.test", "ann"},
		{"config", "account", "add", "dora", "dora@three.test"},
		{"config", "address", "add", "dd@one.test", "dora"},
		{"config", "alias", "add", "all@one.test", "ann@one.test", "dora@three.test"},
		{"config", "account", "disable", "ben", "Away."},
	} {
		o.run(args...)
	}
	for _, to := range []string{"dora@three.test", "dd@one.test", "all@one.test", "ben@two.test"} {
		if err := o.fromOther(to); err != nil {
			o.t.Errorf("to %s: %v", to, err)
		}
	}
	o.run("config", "account", "enable", "ben")
	text, err := os.ReadFile(o.domains())
	if err != nil {
		o.t.Fatal(err)
	}
	for _, want := range []string{"# Domains of the test.\n", "\t# The second.\n\ttwo.test:", "\t\t# He is at the other domain.\n", "dd@one.test"} {
		if !strings.Contains(string(text), want) {
			o.t.Errorf("domains.conf has no %q after the changes:\n%s", want, text)
		}
	}
}

// changeByEditor changes domains.conf as people do: first with a mistake, in place,
// then by another file in its place.
func (o *operated) changeByEditor() {
	t := o.t
	text, err := os.ReadFile(o.domains())
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(string(text), "\t\t\tben@two.test: nil\n", "\t\t\tben@four.test: nil\n", 1)
	if err := os.WriteFile(o.domains(), []byte(bad), 0o640); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { out, _ := o.try("status"); return strings.Contains(out, "four.test") }) {
		out, _ := o.try("status")
		t.Errorf("the status says nothing of the mistake:\n%s", out)
	}
	if out, err := o.try("config", "reload"); err == nil || !strings.Contains(out, "four.test") {
		t.Errorf("reload: got %v, %s", err, out)
	}
	good := strings.Replace(string(text), "\t\t\tben@two.test: nil\n", "\t\t\tben@two.test: nil\n\t\t\tbenny@two.test: nil\n", 1)
	other := o.domains() + "~"
	if err := os.WriteFile(other, []byte(good), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(other, 65534, -1); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, o.domains()); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool {
		out, _ := o.try("config", "account", "addresses", "ben")
		return strings.Contains(out, "benny@two.test")
	}) {
		t.Errorf("the change by an editor is not seen\n%s", o.out.String())
	}
	if err := o.fromOther("benny@two.test"); err != nil {
		t.Error(err)
	}
}

// backedUp is a backup, and what it must have.
type backedUp struct {
	dir      string
	acked    map[string][]string
	validity string // UIDVALIDITY of ann's Inbox.
}

// backup makes a backup under load, and checks it. Before, a message goes to
// somebody whose server can't be found.
func (o *operated) backup() backedUp {
	t := o.t
	c, err := o.asCleo()
	if err == nil {
		err = o.send(c, "cleo@one.test", "remote", []string{"somebody@remote.example"})
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	o.mu.Lock()
	delete(o.acked, "remote")
	b := backedUp{dir: filepath.Join(o.dir, "backups", "one"), acked: maps.Clone(o.acked)}
	o.mu.Unlock()
	out, err := o.try("backup", b.dir)
	if last := lastLine(out); err != nil || !strings.Contains(last, "complete") {
		t.Fatalf("backup: %v\n%s", err, out)
	}
	if out, err := o.try("verifydata", b.dir); err != nil {
		t.Errorf("verifying the backup: %v\n%s", err, out)
	}
	if out, err := o.try("verifydata"); err != nil {
		t.Errorf("verifying the running server: %v\n%s", err, out)
	}
	if out, err := o.try("backup", b.dir); err == nil {
		t.Errorf("over another backup: %s", out)
	}
	b.validity, _ = o.subjects("ann@one.test")
	return b
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

var (
	subjectPattern  = regexp.MustCompile(`mail (op-\d+)`)
	validityPattern = regexp.MustCompile(`UIDVALIDITY (\d+)`)
)

// subjects returns UIDVALIDITY of the Inbox of a user, and the ids of the messages
// there.
func (o *operated) subjects(user string) (validity string, ids []string) {
	t := o.t
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", o.address("IMAPS"), &tls.Config{ServerName: "mox.test", RootCAs: o.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := &imapPeer{t: t, conn: conn, r: bufio.NewReader(conn)}
	p.response()
	p.ok("LOGIN %s %s", user, password)
	if m := validityPattern.FindStringSubmatch(fmt.Sprint(p.ok("SELECT Inbox"))); m != nil {
		validity = m[1]
	}
	for _, m := range subjectPattern.FindAllStringSubmatch(fmt.Sprint(p.ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")), -1) {
		ids = append(ids, m[1])
	}
	p.ok("LOGOUT")
	return validity, ids
}

// restored restores a backup elsewhere, serves from there, and looks for all mail
// that was taken before the backup.
func (o *operated) restored(dir string, b backedUp) {
	t := o.t
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	second := &operated{service: &service{t: t, dir: dir, ip: o.ip, user: serviceUser, keys: o.keys, roots: o.roots}}
	config, data := filepath.Join(dir, "config"), filepath.Join(dir, "data")
	if out, err := o.try("restore", "-config", config, b.dir, data); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	if out, err := o.try("verifydata", data); err != nil {
		t.Errorf("verifying what was restored: %v\n%s", err, out)
	}
	second.started()
	if out, err := second.try("queue", "list"); err != nil || !strings.Contains(out, "somebody@remote.example") || !strings.Contains(out, "held") {
		t.Errorf("the message to another server: got %v\n%s", err, out)
	}
	var validity string
	boxes := map[string][]string{}
	look := func() (missing []string) {
		for _, user := range []string{"ann@one.test", "ben@two.test", "cleo@one.test"} {
			v, ids := second.subjects(user)
			if boxes[user] = ids; user == "ann@one.test" {
				validity = v
			}
		}
		boxes["cleo@two.test"], boxes["benny@two.test"] = boxes["cleo@one.test"], boxes["ben@two.test"]
		for id, to := range b.acked {
			for _, rcpt := range to {
				if box, ok := boxes[rcpt]; ok && !slices.Contains(box, id) {
					missing = append(missing, id+" for "+rcpt)
				}
			}
		}
		return missing
	}
	// What was in the queue is delivered now.
	if !eventually(func() bool { return len(look()) == 0 }) {
		missing := look()
		t.Errorf("%d of %d messages are missing, the first is %s", len(missing), len(b.acked), missing[0])
	}
	for _, user := range []string{"ann@one.test", "ben@two.test"} { // Cleo has two addresses, and gets two copies.
		ids := slices.Sorted(slices.Values(boxes[user]))
		if n := len(ids) - len(slices.Compact(slices.Clone(ids))); n > 0 {
			t.Errorf("%s has %d messages twice", user, n)
		}
	}
	if validity == "" || validity == b.validity {
		t.Errorf("UIDVALIDITY is %q, was %q", validity, b.validity)
	}
	if out, err := second.try("verifydata"); err != nil {
		t.Errorf("verifying the second server: %v\n%s", err, out)
	}
	t.Logf("%d messages were taken before the backup, %d in all", len(b.acked), len(o.acked))
	second.run("stop")
	if got := second.wait(); got != 0 {
		t.Errorf("got exit status %d\n%s", got, second.out.String())
	}
}
