package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/mjl-/mox/backup"
	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/database"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/internal/specimen"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/system"
)

var upgradeData = flag.Bool("upgradedata", false, "make testdata/upgrade of the current format")

const (
	upgradeDir = "testdata/upgrade"

	// notReleased ends the first line of the types of a format that can still change.
	notReleased = ", not released"

	// archiveMax bounds the archive of one format in bytes: they stay for ever.
	archiveMax = 500 << 10
)

// TestUpgrade serves the data of each format there was.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for format := 1; format <= newestFormat(t); format++ {
		t.Run(fmt.Sprintf("format %d", format), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			unpack(t, formatFile(format, "tar.gz"), dir)
			verifyUpgrade(t, dir)
			got := serveUpgrade(t, dir)
			want, err := os.ReadFile(formatFile(format, "mail"))
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("mail of format %d: got\n%s\nwant\n%s", format, got, want)
			}
			verifyUpgrade(t, dir)
		})
	}
}

// TestFormat fails if types of rows were changed and nothing else.
func TestFormat(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "specimen")
	inv := &invocation{stdout: t.Output(), stderr: t.Output()}
	if code := inv.main(t.Context(), []string{"gentestdata", dir}, func(string) string { return "" }); code != exitOK {
		t.Fatalf("gentestdata: exit code %d", code)
	}
	types, newest := describeTypes(t, dir), newestFormat(t)
	_, want := readTypes(t, newest)
	if changed := changedTypes(types, want); len(changed) > 0 {
		t.Errorf("row types of these databases are not those of format %d: %q: see %s/README.md", newest, changed, upgradeDir)
	}
	for format := 2; format <= newest; format++ {
		_, before := readTypes(t, format-1)
		_, after := readTypes(t, format)
		for _, kind := range changedTypes(before, after) {
			first, _, _ := strings.Cut(before[kind], "\n")
			second, _, _ := strings.Cut(after[kind], "\n")
			if before[kind] != "" && first == second {
				t.Errorf("format %d: row types of database %q changed, its schema number did not", format, kind)
			}
		}
	}
}

// TestChangedTypes shows what TestFormat compares.
func TestChangedTypes(t *testing.T) {
	t.Parallel()
	a := map[string]string{"one": "schema 1\nA", "two": "schema 1\nB"}
	b := map[string]string{"one": "schema 1\nA", "two": "schema 1\nC", "three": "schema 1\nD"}
	if got := changedTypes(a, a); len(got) != 0 {
		t.Errorf("same: got %q", got)
	}
	if got := changedTypes(a, b); !slices.Equal(got, []string{"three", "two"}) {
		t.Errorf("changed: got %q", got)
	}
}

// TestUpgradeData looks at the size that the data of the current format has, and
// keeps it if it is told to.
func TestUpgradeData(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "specimen")
	if err := specimen.Make(t.Context(), dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	archive := pack(t, dir)
	if len(archive) > archiveMax {
		t.Errorf("archive has %d bytes, more than %d", len(archive), archiveMax)
	}
	if !*upgradeData {
		return
	}
	types, mail := describeTypes(t, dir), serveUpgrade(t, dir)
	format := newestFormat(t)
	if format == 0 {
		format = 1
	} else if released, _ := readTypes(t, format); released {
		format++
	}
	text := fmt.Sprintf("format %d%s\n", format, notReleased)
	for _, kind := range slices.Sorted(maps.Keys(types)) {
		text += fmt.Sprintf("\ndatabase %s\n%s", kind, types[kind])
	}
	for suffix, data := range map[string]string{"tar.gz": string(archive), "types": text, "mail": mail} {
		if err := os.WriteFile(formatFile(format, suffix), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func formatFile(format int, suffix string) string {
	return filepath.Join(upgradeDir, strconv.Itoa(format)+"."+suffix)
}

// newestFormat returns the number of the newest format. All below it are there.
func newestFormat(t *testing.T) int {
	t.Helper()
	for format := 1; ; format++ {
		if _, err := os.Stat(formatFile(format, "tar.gz")); errors.Is(err, fs.ErrNotExist) {
			return format - 1
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// readTypes reads the row types of a format by kind of database.
func readTypes(t *testing.T, format int) (released bool, types map[string]string) {
	t.Helper()
	data, err := os.ReadFile(formatFile(format, "types"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(data), "\ndatabase ")
	types = map[string]string{}
	for _, part := range parts[1:] {
		kind, text, _ := strings.Cut(part, "\n")
		types[kind] = text
	}
	return !strings.HasSuffix(strings.TrimSpace(parts[0]), notReleased), types
}

// changedTypes returns the kinds of databases whose types are not the same, sorted.
func changedTypes(a, b map[string]string) (kinds []string) {
	for kind := range a {
		if a[kind] != b[kind] {
			kinds = append(kinds, kind)
		}
	}
	for kind := range b {
		if _, ok := a[kind]; !ok {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

// describeTypes returns the row types in a specimen by kind of database.
func describeTypes(t *testing.T, dir string) map[string]string {
	t.Helper()
	types := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".db" {
			return err
		}
		d, err := database.Describe(path)
		text := fmt.Sprintf("schema %d\n", d.Schema)
		for _, typ := range d.Types {
			text += typ.Name + "\n" + typ.Definition
		}
		if before, ok := types[d.Kind]; ok && before != text {
			t.Errorf("databases of kind %q differ", d.Kind)
		}
		types[d.Kind] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return types
}

// pack returns a compressed archive of a directory.
func pack(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	err = errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), z.Close())
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unpack makes the files of an archive. Blocks of zeros become holes.
func unpack(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, 0o750)
		} else {
			err = unpackFile(to, r, h.Size)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// unpackFile writes one file.
func unpackFile(path string, r io.Reader, size int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	var block, zeros [64 << 10]byte
	for at := int64(0); at < size; {
		n, rerr := io.ReadFull(r, block[:min(size-at, int64(len(block)))])
		if rerr == nil && !bytes.Equal(block[:n], zeros[:n]) {
			_, rerr = f.WriteAt(block[:n], at)
		}
		if rerr != nil {
			return errors.Join(rerr, f.Close())
		}
		at += int64(n)
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// verifyUpgrade checks everything without changing it. One record is there that
// could not be applied; a start sees to what a kill left.
func verifyUpgrade(t *testing.T, dir string) {
	t.Helper()
	sum, err := backup.Verify(t.Context(), backup.VerifyOptions{
		Dir: filepath.Join(dir, "data"), Version: "test", Temp: t.TempDir(),
		Lock: func(dir string) (func() error, error) {
			l, err := system.LockDataDir(dir)
			if err != nil {
				return nil, err
			}
			return l.Unlock, nil
		},
	}, func(p backup.Problem) {
		if p.Severity == backup.Error && !strings.HasSuffix(p.Text, "could not be applied") {
			t.Errorf("verifying: %s", p)
		}
	})
	if err != nil || sum.Errors != 1 || sum.Accounts != 4 {
		t.Errorf("verifying: %+v, %v", sum, err)
	}
}

// serveUpgrade serves a directory and returns what IMAP shows of it.
func serveUpgrade(t *testing.T, dir string) (mail string) {
	t.Helper()
	c, err := live.Open(filepath.Join(dir, "config", config.StaticName), live.Options{})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := dnstest.New(". SOA ns.test. root.test. 1 1 1 1 1\n")
	if err != nil {
		t.Fatal(err)
	}
	var address net.Addr
	s, err := system.New(t.Context(), system.Options{
		Config: c, Log: t.Output(), Version: "test", Resolver: resolver,
		Listen: func(ctx context.Context, network, _ string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range s.Bound() {
		if b.Service == config.ServiceIMAP {
			address = b.Address()
		}
	}
	checkQueued(t, s.Queue())
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	names := slices.Sorted(maps.Keys(c.Current().Dynamic.Accounts))
	for _, name := range names {
		text, err := listMail(address.String(), name)
		if err != nil {
			t.Errorf("reading mail of %s: %v", name, err)
		}
		mail += text
	}
	cancel()
	if err := errors.Join(<-served, s.Close()); err != nil {
		t.Fatal(err)
	}
	return mail
}

// checkQueued looks at the queue, and drops what would go out, so that nothing
// comes back while mail is read.
func checkQueued(t *testing.T, q *queue.DB) {
	t.Helper()
	list, err := q.List(t.Context(), queue.Filter{}, queue.Sort{By: "queued"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range list {
		got = append(got, m.Subject)
		r, err := q.OpenContent(t.Context(), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil || !strings.Contains(string(data), "\r\nSubject: "+m.Subject+"\r\n") {
			t.Errorf("content of %q: %v, got %q", m.Subject, err, data)
		}
	}
	want := []string{
		"waiting after an attempt", "waiting for its time", "waiting for its time", "held", "held", "notification", "notification",
		"held by a rule", "waiting in the log", "was being delivered",
	}
	if !slices.Equal(got, want) {
		t.Errorf("queue: got %q, want %q", got, want)
	}
	if _, err := q.Drop(t.Context(), queue.Filter{}); err != nil {
		t.Fatal(err)
	}
}

// listMail returns what an account has: a line for each mailbox and each message.
func listMail(address, account string) (string, error) {
	c, err := imapclient.DialInsecure(address, &imapclient.Options{Dialer: &net.Dialer{Timeout: time.Minute}})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.Login(account+"@"+specimen.Domain, specimen.Password).Wait(); err != nil {
		return "", err
	}
	boxes, err := c.List("", "*", &goimap.ListOptions{ReturnSubscribed: true, ReturnSpecialUse: true}).Collect()
	if err != nil {
		return "", err
	}
	text := "account " + account + "\n"
	for _, box := range boxes {
		selected, err := c.Select(box.Mailbox, &goimap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			return "", fmt.Errorf("selecting %q: %w", box.Mailbox, err)
		}
		slices.Sort(box.Attrs)
		text += fmt.Sprintf("%q %v uidvalidity %d uidnext %d\n", box.Mailbox, box.Attrs, selected.UIDValidity, selected.UIDNext)
		messages, err := listMessages(c, selected.NumMessages)
		if err != nil {
			return "", fmt.Errorf("reading %q: %w", box.Mailbox, err)
		}
		text += messages
	}
	return text, c.Logout().Wait()
}

// listMessages returns a line for each message of the selected mailbox.
func listMessages(c *imapclient.Client, n uint32) (text string, err error) {
	if n == 0 {
		return "", nil
	}
	body := &goimap.FetchItemBodySection{Peek: true}
	all := goimap.SeqSet{}
	all.AddRange(1, n)
	messages, err := c.Fetch(all, &goimap.FetchOptions{
		UID: true, Flags: true, InternalDate: true, RFC822Size: true, Envelope: true, BodySection: []*goimap.FetchItemBodySection{body},
	}).Collect()
	for _, m := range messages {
		data := m.FindBodySection(body)
		if int64(len(data)) != m.RFC822Size {
			return "", fmt.Errorf("message %d: %d bytes of %d", m.UID, len(data), m.RFC822Size)
		}
		sum := sha256.Sum256(data)
		slices.Sort(m.Flags)
		text += fmt.Sprintf("\t%d %v %s %d %x %q\n",
			m.UID, m.Flags, m.InternalDate.UTC().Format(time.RFC3339), m.RFC822Size, sum[:8], m.Envelope.Subject)
	}
	return text, err
}
