package live

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/mjl-/mox/config"
)

const static = `DataDir: ../data
LogLevel: info
Hostname: mail.example.org
Listeners:
	local:
		IPs:
			- 127.0.0.1
		TLS:
			KeyCerts:
				-
					CertFile: a.crt
					KeyFile: a.key
		IMAPS:
			Enabled: true
Postmaster:
	Account: a
	Mailbox: Inbox
`

const dynamic = `# A comment.
Domains:
	example.org: nil
Accounts:
	a:
		Domain: example.org
`

// write makes a configuration directory with both files.
func write(t *testing.T) (path string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "config")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "mox.conf")
	put(t, path, static)
	put(t, filepath.Join(dir, "domains.conf"), dynamic)
	return path
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) (*Config, string) {
	t.Helper()
	path := write(t)
	c, err := Open(path, Options{WithoutKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	c.settle = 0
	return c, path
}

// add returns a change that adds an account.
func add(name string) func(*config.Dynamic) error {
	return func(d *config.Dynamic) error {
		d.Accounts[name] = config.Account{Domain: "example.org"}
		return nil
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	if got, want := c.DataDir(), filepath.Join(filepath.Dir(filepath.Dir(path)), "data"); got != want {
		t.Errorf("got data directory %s, want %s", got, want)
	}
	if got, want := c.Dir(), filepath.Dir(path); got != want {
		t.Errorf("got directory %s, want %s", got, want)
	}
	_, err := Open(path, Options{})
	if p, ok := errors.AsType[config.Problems](err); !ok || len(p) != 1 || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "mox.conf:10: Listeners.local.TLS.KeyCerts[0]: reading certificate: ") {
		t.Errorf("with missing keys: got %v", err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(path), "domains.conf")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{WithoutKeys: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without domains.conf: got %v", err)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	before := c.Current()
	if err := c.Update(t.Context(), add("b")); err != nil {
		t.Fatal(err)
	}
	if got := before.Accounts(); !reflect.DeepEqual(got, []string{"a"}) {
		t.Errorf("earlier snapshot changed: got %v", got)
	}
	if got := c.Current().Accounts(); !reflect.DeepEqual(got, []string{"a", "b"}) {
		t.Errorf("got accounts %v, want a and b", got)
	}
	again, err := Open(path, Options{WithoutKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Current().Dynamic, c.Current().Dynamic) {
		t.Errorf("from disk: got %v, want %v", again.Current().Dynamic, c.Current().Dynamic)
	}
	kept := earlier(t, path)
	if len(kept) != 1 {
		t.Fatalf("got earlier versions %v, want one", kept)
	}
	if text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "domains.conf")); err != nil || string(text) != dynamic+"\tb:\n\t\tDomain: example.org\n" {
		t.Errorf("got %q, %v, want what was there and the new account", text, err)
	}
	if text, err := os.ReadFile(kept[0]); err != nil || string(text) != dynamic {
		t.Errorf("got earlier version %q, %v", text, err)
	}
}

func earlier(t *testing.T, path string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), earlierDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestUpdateFails shows that nothing changes when a change does not go through.
func TestUpdateFails(t *testing.T) {
	t.Parallel()
	errOwn := errors.New("own")
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name   string
		ctx    context.Context
		change func(*config.Dynamic) error
		want   error
	}{
		{"the function fails", t.Context(), func(d *config.Dynamic) error { delete(d.Accounts, "a"); return errOwn }, errOwn},
		{"the result has mistakes", t.Context(), func(d *config.Dynamic) error { delete(d.Accounts, "a"); return nil }, nil},
		{"a value cannot be written", t.Context(), func(d *config.Dynamic) error {
			d.Accounts["b"] = config.Account{Domain: "example.org", Description: "a\nb"}
			return nil
		}, nil},
		{"the caller has given up", done, add("b"), context.Canceled},
	} {
		c, path := open(t)
		before := c.Current()
		err := c.Update(test.ctx, test.change)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got error %v, want %v", test.name, err, test.want)
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "domains.conf"))
		if err != nil || string(text) != dynamic || c.Current() != before || len(earlier(t, path)) != 0 {
			t.Errorf("%s: something changed: %q, %v", test.name, text, err)
		}
	}
}

// TestEdited edits the file by hand between changes.
func TestEdited(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	file := filepath.Join(filepath.Dir(path), "domains.conf")
	put(t, file, dynamic+"\tedited:\n\t\tDomain: example.org\n")
	if err := c.Update(t.Context(), add("b")); err != nil {
		t.Fatal(err)
	}
	if got := c.Current().Accounts(); !reflect.DeepEqual(got, []string{"a", "b", "edited"}) {
		t.Errorf("got accounts %v", got)
	}
	put(t, file, "Accounts:\n\tX: nil\n")
	before := c.Current()
	if err := c.Reload(t.Context()); err == nil || c.Current() != before || !strings.Contains(err.Error(), "domains.conf:2: Accounts.X") {
		t.Errorf("file with mistakes: got %v, and current changed: %v", err, c.Current() != before)
	}
	if err := c.Update(t.Context(), add("c")); !errors.Is(err, ErrEdited) || c.Current() != before {
		t.Errorf("file with mistakes: got %v, want ErrEdited", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	if err := c.Update(t.Context(), add("c")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}

// TestConcurrentUpdates loses none, and keeps a bounded number of versions.
func TestConcurrentUpdates(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	const n = earlierMax + 5
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := c.Update(t.Context(), add("n"+string(rune('a'+i)))); err != nil {
				t.Error(err)
			}
			_ = c.Current().Accounts()
		})
	}
	wg.Wait()
	if got := len(c.Current().Accounts()); got != n+1 {
		t.Errorf("got %d accounts, want %d", got, n+1)
	}
	if got := len(earlier(t, path)); got != earlierMax {
		t.Errorf("got %d earlier versions, want %d", got, earlierMax)
	}
}
