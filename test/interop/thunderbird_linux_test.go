package interop

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
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
)

var (
	withThunderbird = flag.Bool("thunderbird", false, "test with Thunderbird")
	screenshots     = flag.String("screenshots", "", "directory for pictures of Thunderbird's window")
)

// thunderbirdPrefs keeps it from the network, but for loopback, and from greeting.
const thunderbirdPrefs = `user_pref("marionette.port", 0);
user_pref("network.proxy.type", 1);
user_pref("network.proxy.http", "127.0.0.1");
user_pref("network.proxy.http_port", 9);
user_pref("network.proxy.ssl", "127.0.0.1");
user_pref("network.proxy.ssl_port", 9);
user_pref("network.proxy.socks", "127.0.0.1");
user_pref("network.proxy.socks_port", 9);
user_pref("network.proxy.no_proxies_on", "127.0.0.0/8");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("app.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("toolkit.telemetry.enabled", false);
user_pref("mail.provider.suppress_dialog_on_startup", true);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mailnews.start_page.enabled", false);
`

// thunderbird is a Thunderbird with a profile and a screen of its own. It is driven
// through Marionette, the protocol of Firefox for that.
type thunderbird struct {
	t      *testing.T
	conn   net.Conn
	r      *bufio.Reader
	number int
	script string // What all its scripts begin with.
}

// newThunderbird starts it. It is stopped when the test ends.
func newThunderbird(t *testing.T) *thunderbird {
	t.Helper()
	script, err := os.ReadFile("testdata/thunderbird.js")
	if err != nil {
		t.Fatal(err)
	}
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(thunderbirdPrefs), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, tool(t, "thunderbird"), "--no-remote", "--profile", profile, "--marionette", "--remote-allow-system-access")
	cmd.Env = append(os.Environ(), "DISPLAY="+newDisplay(t), "HOME="+t.TempDir())
	runUntilEnd(t, cmd, cancel)

	var port []byte
	begun := func() bool {
		port, err = os.ReadFile(filepath.Join(profile, "MarionetteActivePort"))
		return err == nil && len(port) > 0
	}
	if !eventually(begun) {
		t.Fatalf("Thunderbird does not listen: %v", err)
	}
	b := &thunderbird{t: t, script: string(script)}
	if b.conn, err = net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(string(port))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.conn.Close() })
	b.r = bufio.NewReader(b.conn)
	b.read()
	b.command("WebDriver:NewSession", map[string]any{})
	b.command("Marionette:SetContext", map[string]any{"value": "chrome"})
	b.command("WebDriver:SetTimeouts", map[string]any{"script": patience.Milliseconds()})
	return b
}

// newDisplay starts an X server and returns the name of its display.
func newDisplay(t *testing.T) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, tool(t, "Xvfb"), "-displayfd", "3", "-screen", "0", "1280x1000x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	runUntilEnd(t, cmd, cancel)
	_ = w.Close()
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("X server: %v", err)
	}
	return ":" + strings.TrimSpace(number)
}

// runUntilEnd starts a program that is told to stop when the test ends.
func runUntilEnd(t *testing.T, cmd *exec.Cmd, cancel func()) {
	t.Helper()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // It was told to stop.
	})
}

// read reads a message: its length, a colon, and JSON.
func (b *thunderbird) read() json.RawMessage {
	b.t.Helper()
	if err := b.conn.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		b.t.Fatal(err)
	}
	length, err := b.r.ReadString(':')
	if err != nil {
		b.t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		b.t.Fatal(err)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(b.r, data); err != nil {
		b.t.Fatal(err)
	}
	return data
}

// command sends a command and returns what it results in.
func (b *thunderbird) command(name string, params any) json.RawMessage {
	b.t.Helper()
	b.number++
	data, err := json.Marshal([]any{0, b.number, name, params})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(b.conn, "%d:%s", len(data), data); err != nil {
		b.t.Fatal(err)
	}
	var reply []json.RawMessage
	if err := json.Unmarshal(b.read(), &reply); err != nil || len(reply) != 4 {
		b.t.Fatalf("%s: reply %s: %v", name, reply, err)
	}
	if string(reply[2]) != "null" {
		b.t.Fatalf("%s: %s", name, reply[2])
	}
	return reply[3]
}

// run runs a function of the script, and returns its result as JSON.
func (b *thunderbird) run(function string, args ...any) string {
	b.t.Helper()
	const call = `
const args = [...arguments], done = args.pop(), name = args.shift()
const all = { setUp, open, mailboxes, select, move, remove, flag, search, send }
Promise.resolve().then(() => all[name](...args)).then(v => done({ value: v ?? null }), err => done({ error: String(err) }))
`
	var result struct {
		Value struct {
			Value json.RawMessage
			Error string
		}
	}
	reply := b.command("WebDriver:ExecuteAsyncScript", map[string]any{
		"script": b.script + call, "args": append([]any{function}, args...), "sandbox": "system", "newSandbox": true,
	})
	if err := json.Unmarshal(reply, &result); err != nil {
		b.t.Fatal(err)
	}
	b.picture(fmt.Sprintf("%02d-%s", b.number, function))
	if result.Value.Error != "" {
		b.t.Fatalf("%s %v: %s", function, args, result.Value.Error)
	}
	return string(result.Value.Value)
}

// picture keeps a picture of the main window, if it is asked for.
func (b *thunderbird) picture(name string) {
	b.t.Helper()
	if *screenshots == "" {
		return
	}
	var picture struct{ Value []byte }
	if err := json.Unmarshal(b.command("WebDriver:TakeScreenshot", map[string]any{"full": false}), &picture); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), picture.Value, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// TestThunderbird sets up an account in Thunderbird, reads, flags, moves, deletes,
// searches and sends.
func TestThunderbird(t *testing.T) {
	if !*withThunderbird {
		t.Skip("takes long to install: only in make soak")
	}
	t.Parallel()
	s := start(t)
	for _, name := range []string{"one", "two", "three"} {
		s.smtp(t).deliver("From: Ann <ann@remote.example>\r\nSubject: subject " + name + "\r\n\r\nText of " + name + ".\r\n")
	}
	s.smtp(t).deliver("From: Ann <ann@remote.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/html; charset=utf-8\r\n\r\n<p>Hello, <b>w\u00f6rld</b>.</p>\r\n")
	p := s.imap(t, "Inbox")
	if !eventually(func() bool { p.ok("NOOP"); return len(p.search("ALL")) == 4 }) {
		t.Fatal("not all messages have come")
	}
	p.ok("CREATE Lists/go")
	pemCert, err := os.ReadFile(s.cert())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pemCert)

	b := newThunderbird(t)
	b.run("setUp", s.ip, 1993, 1465, login, password, base64.StdEncoding.EncodeToString(block.Bytes))
	b.run("open", "INBOX", 4)
	b.run("mailboxes", []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "Lists", "Lists/go"})
	b.run("select", "Grüße", "Hello, wörld.")
	b.run("flag")
	b.run("select", "subject one", "Text of one.")
	// It shows what it does before it has done it, and mixes up what comes meanwhile.
	done := func(mailbox string) {
		t.Helper()
		p.ok("SELECT %s", mailbox)
		if !eventually(func() bool { p.ok("NOOP"); return len(p.search("ALL")) == 1 }) {
			t.Fatalf("nothing has come into %s", mailbox)
		}
	}
	b.run("move", "go")
	done("Lists/go")
	b.run("select", "subject two", "Text of two.")
	b.run("remove")
	done("Trash")
	if got := b.run("search", "INBOX", "Text of"); got != `["subject three"]` {
		t.Errorf("search: got %s", got)
	}
	b.run("send", login, "from Thunderbird", "Written in Thunderbird.\n")
	b.run("open", "INBOX", 3)
	b.run("select", "from Thunderbird", "Written in Thunderbird.")
	b.run("open", "go", 1)
	b.run("select", "subject one", "Text of one.")

	for _, want := range []struct{ mailbox, search string }{
		{"INBOX", `FLAGGED SEEN KEYWORD $label1 SUBJECT Gr`},
		{"INBOX", `SUBJECT "subject three"`},
		{"INBOX", `SEEN SUBJECT "from Thunderbird"`},
		{"Lists/go", `SEEN SUBJECT "subject one"`},
		{"Trash", `SUBJECT "subject two"`},
		{"Sent", `SUBJECT "from Thunderbird"`},
	} {
		p.ok("SELECT %s", want.mailbox)
		found := func() bool { p.ok("NOOP"); return len(p.search("%s", want.search)) == 1 }
		if !eventually(found) {
			t.Errorf("%s: %s finds %v", want.mailbox, want.search, p.search("%s", want.search))
		}
	}
	p.ok("SELECT INBOX")
	if got := p.search("UNDELETED"); len(got) != 3 || slices.Contains(got, 1) {
		t.Errorf("Inbox: got messages %v", got)
	}
}
