package interop

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mjl-/mox/store"
)

// dovecotConf is dovecot.conf of a mailbox of its own in DIR, and of ours at IP.
const dovecotConf = `base_dir = DIR/run
log_path = /dev/stderr
protocols = imap
mail_home = DIR/home
mail_location = sdbox:DIR/mail
mail_save_crlf = yes
mail_fsync = never
mail_uid = OWNER
mail_gid = OWNER
ssl = no
imapc_host = IP
imapc_port = ` + portIMAP + `
imapc_user = ` + login + `
imapc_password = ` + password + `
imapc_features = rfc822.size fetch-headers search modseq delay-login
namespace inbox {
  inbox = yes
  separator = /
}
`

// dovecotOwner is the user id that mail belongs to if the test runs as root, with
// which Dovecot reads no mail. It needs no name.
const dovecotOwner = 5000

// syncTime is how long one synchronisation may take.
const syncTime = 2 * time.Minute

// dovecot is the mail of one user on disk, as Dovecot keeps it.
type dovecot struct {
	dir  string
	conf string
}

func newDovecot(t *testing.T, s *server) *dovecot {
	t.Helper()
	return newDovecotWith(t, s, dovecotConf)
}

// newDovecotWith makes one with a configuration in which DIR, IP and OWNER are
// replaced.
func newDovecotWith(t *testing.T, s *server, conf string) *dovecot {
	t.Helper()
	// Those of other users can't get into t.TempDir.
	dir, err := os.MkdirTemp("", "mox-dovecot-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &dovecot{dir: dir}
	d.conf = filepath.Join(d.dir, "dovecot.conf")
	owner := os.Getuid()
	if owner == 0 {
		owner = dovecotOwner
	}
	for _, sub := range []string{"run", "home", "mail"} {
		if err := os.MkdirAll(filepath.Join(d.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 {
			own(t, filepath.Join(d.dir, sub), owner)
		}
	}
	text := strings.NewReplacer("DIR", d.dir, "IP", s.ip, "OWNER", strconv.Itoa(owner)).Replace(conf)
	if err := os.WriteFile(d.conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return d
}

// run prepares a program of Dovecot for the user.
func (d *dovecot) run(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "USER=mox", "HOME="+filepath.Join(d.dir, "home"))
	return cmd
}

// backup makes the mail a copy of ours, and returns how many messages it took over
// the network.
func (d *dovecot) backup(t *testing.T) (copied int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), syncTime)
	defer cancel()
	out, err := d.run(ctx, tool(t, "doveadm"), "-D", "-c", d.conf, "backup", "-R", "imapc:").CombinedOutput()
	if err != nil {
		t.Fatalf("doveadm: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, ": Warning: ") || strings.Contains(line, ": Error: ") || strings.Contains(line, ": Panic: ") {
			t.Errorf("doveadm: %s", line)
		}
		if strings.Contains(line, ": Import mail body for ") {
			copied++
		}
	}
	return copied
}

// imap starts Dovecot's IMAP server for the mail.
func (d *dovecot) imap(t *testing.T) *imapPeer {
	t.Helper()
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := d.run(ctx, "/usr/lib/dovecot/imap", "-c", d.conf)
	cmd.Stdin, cmd.Stdout = theirs, theirs
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = theirs.Close()
		_ = cmd.Wait() // It was told to stop.
	})
	p := &imapPeer{t: t, conn: ours, r: bufio.NewReader(ours)}
	if got := p.response(); len(got) < 2 || got[1] != atom("PREAUTH") {
		t.Fatalf("greeting of Dovecot: %v", got)
	}
	return p
}

// mailboxes returns all that a server has: by mailbox, a line for each message.
func (p *imapPeer) mailboxes() map[string][]string {
	p.t.Helper()
	all := map[string][]string{}
	for _, r := range p.ok(`LIST "" *`) {
		if len(r) != 5 || r[1] != atom("LIST") {
			continue
		}
		attributes, _ := r[2].([]any)
		if slices.Contains(attributes, any(atom(`\Noselect`))) {
			continue
		}
		name := fmt.Sprint(r[4])
		all[name] = p.messages(name)
	}
	return all
}

// messages returns a line for each message of a mailbox.
func (p *imapPeer) messages(name string) []string {
	p.t.Helper()
	lines := []string{}
	exists := false
	for _, r := range p.ok(`EXAMINE "%s"`, name) {
		exists = exists || len(r) == 3 && r[2] == atom("EXISTS") && r[1] != atom("0")
	}
	if !exists {
		return lines
	}
	for _, r := range p.ok("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])") {
		if len(r) == 4 && r[2] == atom("FETCH") {
			lines = append(lines, p.message(r[3].([]any)))
		}
	}
	return lines
}

// message returns a line for what FETCH told of a message.
func (p *imapPeer) message(items []any) string {
	p.t.Helper()
	got := map[any]any{}
	for i := 0; i+1 < len(items); i += 2 {
		got[items[i]] = items[i+1]
	}
	var flags []string
	for _, f := range got[atom("FLAGS")].([]any) {
		if f != atom(`\Recent`) {
			flags = append(flags, strings.ToLower(fmt.Sprint(f)))
		}
	}
	slices.Sort(flags)
	date, err := time.Parse("_2-Jan-2006 15:04:05 -0700", fmt.Sprint(got[atom("INTERNALDATE")]))
	if err != nil {
		p.t.Fatal(err)
	}
	body, ok := got[atom("BODY[]")].(string)
	if !ok {
		p.t.Fatalf("no body in %v", items)
	}
	return fmt.Sprintf("%v %v %s %d bytes %x", got[atom("UID")], flags, date.UTC(), len(body), sha256.Sum256([]byte(body)))
}

// syncBoxes are mailboxes with the number of messages in each, syncMessages in all.
var syncBoxes = []struct {
	mailbox string
	n       int
}{
	{"Inbox", 700}, {"Archive", 500}, {"Lists/go", 300}, {"Lists/Ümlaut & more", 200}, {"To be renamed", 100}, {"Sent", 150}, {"dots.in it", 50},
}

const syncMessages = 2000

// TestSyncDovecot has doveadm copy 2,000 messages out of ours, and again after
// changes: it takes what has changed, and has the same then.
func TestSyncDovecot(t *testing.T) {
	t.Parallel()
	tool(t, "doveadm")
	s := start(t)
	fillSync(t, s)
	d := newDovecot(t, s)

	if copied := d.backup(t); copied != syncMessages {
		t.Errorf("first: %d messages were copied, want %d", copied, syncMessages)
	}
	compareSync(t, s, d, "first")
	if copied := d.backup(t); copied != 0 {
		t.Errorf("without changes: %d messages were copied", copied)
	}
	compareSync(t, s, d, "without changes")

	want := changeSync(t, s)
	if copied := d.backup(t); copied != want {
		t.Errorf("after changes: %d messages were copied, want %d", copied, want)
	}
	compareSync(t, s, d, "after changes")
}

// compareSync compares both sides, message by message.
func compareSync(t *testing.T, s *server, d *dovecot, when string) {
	t.Helper()
	ours, theirs := s.imap(t, "").mailboxes(), d.imap(t).mailboxes()
	if got, want := slices.Sorted(maps.Keys(theirs)), slices.Sorted(maps.Keys(ours)); !slices.Equal(got, want) {
		t.Errorf("%s: mailboxes: got %q, want %q", when, got, want)
	}
	for name, want := range ours {
		got := theirs[name]
		if len(got) != len(want) {
			t.Errorf("%s: %s: got %d messages, want %d", when, name, len(got), len(want))
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %s: got\n%s\nwant\n%s", when, name, got[i], want[i])
				break
			}
		}
	}
}

// syncMessage returns message n: of several kinds, with line ends and bytes as
// they come.
func syncMessage(n int) string {
	header := fmt.Sprintf("From: <sender%d@remote.example>\r\nTo: <%s>\r\nSubject: message %d\r\nMessage-ID: <%d@remote.example>\r\n", n%17, login, n, n)
	switch n % 10 {
	case 0:
		return header + "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>text</p>\r\n--x--\r\n"
	case 1:
		return header + "Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n" + strings.Repeat("ä", n) + "\r\n"
	case 2:
		return header + "\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", n)
	case 3:
		return header + "X-Long: " + strings.Repeat(" word", 300) + "\r\n\r\nno line end"
	case 4:
		return header + "\r\n"
	case 5:
		return header + "Subject: another\r\n\tfolded\r\n\r\n.\r\n..\r\nFrom here\r\n"
	}
	return header + fmt.Sprintf("\r\nThis is message %d.\r\n", n)
}

// syncFlags returns the flags of message n.
func syncFlags(n int) string {
	var flags []string
	for i, flag := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`, "$Forwarded", "$Junk", "work", "later"} {
		if n%(i+2) == 0 {
			flags = append(flags, flag)
		}
	}
	return strings.Join(flags, " ")
}

// fillSync stops the server and delivers the messages, several at a time: on a busy
// disk each takes longer than all.
func fillSync(t *testing.T, s *server) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.exited
	d, err := store.Open(t.Context(), store.Options{Dir: filepath.Join(s.dir, "data"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a, err := d.Account(t.Context(), "mox")
	if err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	g.SetLimit(100)
	n := 0
	for _, box := range syncBoxes {
		for range box.n {
			i := n
			n++
			g.Go(func() error { return deliverSync(t.Context(), d, a, box.mailbox, i) })
		}
	}
	if err := errors.Join(g.Wait(), a.Close(), d.Close()); err != nil || n != syncMessages {
		t.Fatalf("delivering %d messages: %v", n, err)
	}
	s.run()
	s.imap(t, "").ok(`CREATE "Empty"`)
}

// deliverSync delivers message n.
func deliverSync(ctx context.Context, d *store.Dir, a *store.Account, mailbox string, n int) error {
	content := d.ContentBytes([]byte(syncMessage(n)))
	analysis, err := store.Analyze(content.ReaderAt(), content.Size())
	if err != nil {
		return err
	}
	flags, keywords, err := store.ParseFlags(strings.Fields(syncFlags(n)))
	if err != nil {
		return err
	}
	return d.Deliver(ctx, store.Delivery{Content: content, Analysis: analysis, Received: syncDate(n), To: []store.Recipient{
		{Account: a, Mailbox: mailbox, Flags: flags, Keywords: keywords},
	}})
}

// syncDate returns when message n came in.
func syncDate(n int) time.Time {
	return time.Date(2020, 1, 1, 12, 0, 0, 0, time.FixedZone("", 2*3600)).Add(time.Duration(n) * 7 * time.Hour)
}

// appendAll appends messages.
func (p *imapPeer) appendAll(mailbox string, first, count int) error {
	if err := p.conn.SetDeadline(time.Now().Add(syncTime)); err != nil {
		return err
	}
	for n := first; n < first+count; n++ {
		date, msg := syncDate(n).Format("_2-Jan-2006 15:04:05 -0700"), syncMessage(n)
		if _, err := fmt.Fprintf(p.conn, "a%d APPEND \"%s\" (%s) \"%s\" {%d}\r\n", n, mailbox, syncFlags(n), date, len(msg)); err != nil {
			return err
		}
		if line, err := p.r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+") {
			return errors.Join(err, fmt.Errorf("appending message %d: got %q", n, line))
		}
		if _, err := io.WriteString(p.conn, msg+"\r\n"); err != nil {
			return err
		}
		if line, err := p.r.ReadString('\n'); err != nil || !strings.Contains(line, " OK ") {
			return errors.Join(err, fmt.Errorf("appending message %d: got %q", n, line))
		}
	}
	return nil
}

// changeSync changes messages and mailboxes, and returns how many messages there
// are at places where there was none before.
func changeSync(t *testing.T, s *server) (places int) {
	t.Helper()
	p := s.imap(t, "INBOX")
	p.ok(`UID STORE 1:100 +FLAGS (\Seen new-keyword)`)
	p.ok(`UID STORE 101:200 -FLAGS (\Seen \Answered work)`)
	p.ok(`UID STORE 201:250 FLAGS (\Flagged)`)
	p.ok(`UID STORE 300:349 +FLAGS (\Deleted)`)
	p.ok("UID EXPUNGE 300:349")
	p.ok("UID MOVE 400:439 Archive")
	p.ok(`UID COPY 500:509 "Lists/go"`)
	unselected := s.imap(t, "")
	if err := unselected.appendAll("INBOX", syncMessages, 25); err != nil {
		t.Fatal(err)
	}
	p.ok(`RENAME "To be renamed" "Renamed/below"`)
	p.ok(`DELETE "dots.in it"`)
	p.ok(`CREATE "Another"`)
	if err := unselected.appendAll("Another", syncMessages+25, 5); err != nil {
		t.Fatal(err)
	}
	// What was renamed is there anew: Dovecot tells mailboxes of a server that has no
	// ids for them apart by their names.
	return 40 + 10 + 25 + 100 + 5
}
