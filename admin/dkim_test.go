package admin

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
)

// files returns the names of files below a directory of the configuration.
func (w *world) files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(w.configFile(dir), func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(w.configFile("."), path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestDKIMKeys adds a domain and removes it, and looks at its keys.
func TestDKIMKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	res, err := w.DomainAdd(t.Context(), DomainAddRequest{Domain: "bücher.example", Account: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	year := time.Now().Format("2006")
	domain := w.live.Current().Dynamic.Domains["bücher.example"]
	if len(domain.DKIM.Selectors) != 2 || !slices.Equal(domain.DKIM.Sign, []string{year + "a"}) || len(res.DNSRecords) != 2 {
		t.Fatalf("got %+v, result %+v", domain.DKIM, res)
	}
	for i, name := range []string{year + "a", year + "b"} {
		sel := domain.DKIM.Selectors[name]
		label := name + "._domainkey.xn--bcher-kva.example."
		if sel.Expiration != 72*time.Hour || !strings.HasPrefix(sel.PrivateKeyFile, "dkim/"+label) || !strings.HasSuffix(sel.PrivateKeyFile, ".ed25519.privatekey.pkcs8.pem") {
			t.Errorf("got selector %+v", sel)
		}
		path := w.configFile(sel.PrivateKeyFile)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
			t.Errorf("%s: got %v, %v", path, info, err)
		}
		key, err := dkim.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if rec, err := dkim.NewRecord(key.Public()); err != nil || res.DNSRecords[i] != (DNSRecord{label, "TXT", rec.Text()}) {
			t.Errorf("got record %+v, want %+v, %v", res.DNSRecords[i], rec, err)
		}
	}
	before := w.files(t, DKIMDir)

	// What names a file elsewhere keeps it where it is.
	w.use(t, strings.Replace(w.text(t), "Domains:\n", "Domains:\n\tx.example:\n\t\tDKIM:\n\t\t\tSelectors:\n\t\t\t\tx:\n\t\t\t\t\tPrivateKeyFile: "+before[1]+"\n", 1))
	removed, err := w.DomainRemove(t.Context(), DomainRequest{"bücher.example"})
	if err != nil {
		t.Fatal(err)
	}
	old := "dkim/old/" + strings.TrimPrefix(before[0], "dkim/")
	if after := w.files(t, DKIMDir); !slices.Equal(after, []string{before[1], old}) || !slices.Equal(removed.OldDKIMKeys, []string{old}) {
		t.Errorf("got files %v, before %v, result %+v", after, before, removed)
	}
}

// TestDKIMKeysOfFailure adds domains that can't be added: no key is left.
func TestDKIMKeysOfFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, req := range []DomainAddRequest{
		{Domain: "new.example", Account: "carl", Localpart: "a b"},
		{Domain: "new.example", Account: "Carl", Localpart: "carl"},
		{Domain: "example.org", Account: "anna"},
	} {
		if _, err := w.DomainAdd(t.Context(), req); err == nil {
			t.Errorf("%+v: no error", req)
		}
	}
	if names := w.files(t, DKIMDir); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
	if err := os.Chmod(w.configFile("domains.conf"), 0o640); err != nil {
		t.Fatal(err)
	}
	put := w.text(t) + "\tbroken"
	if err := os.WriteFile(w.configFile("domains.conf"), []byte(put), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.DomainAdd(t.Context(), DomainAddRequest{Domain: "new.example", Account: "anna"}); err == nil {
		t.Error("with a broken file: no error")
	}
	if names := w.files(t, DKIMDir); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// TestDKIMKeysElsewhere removes a domain whose keys are not all where they are made.
func TestDKIMKeysElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	outside := filepath.Join(t.TempDir(), "outside.pem")
	for _, name := range []string{outside, w.configFile("beside.pem")} {
		if err := os.WriteFile(name, []byte("key"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.use(t, strings.Replace(w.text(t), "Domains:\n", "Domains:\n\tx.example:\n\t\tDKIM:\n\t\t\tSelectors:\n\t\t\t\ta:\n\t\t\t\t\tPrivateKeyFile: "+
		outside+"\n\t\t\t\tb:\n\t\t\t\t\tPrivateKeyFile: beside.pem\n\t\t\t\tc:\n\t\t\t\t\tPrivateKeyFile: gone.pem\n", 1))
	res, err := w.DomainRemove(t.Context(), DomainRequest{"x.example"})
	if err != nil || !slices.Equal(res.OldDKIMKeys, []string{"old/beside.pem"}) {
		t.Errorf("got %+v, %v", res, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	if !strings.Contains(w.log.String(), "moving dkim key") {
		t.Errorf("log: %s", w.log)
	}
}

// TestRSAKeys makes a key as servers do.
func TestRSAKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.opts.FastDKIMKeys = false
	keys := &dkimKeys{}
	key, kind, err := w.newDKIMKey()
	if err != nil || kind != "rsa2048" {
		t.Fatalf("got %s, %v, %v", kind, err, keys)
	}
	rec, err := dkim.NewRecord(key.Public())
	if err != nil || rec.Bits() != 2048 {
		t.Errorf("got %+v, %v", rec, err)
	}
	w.opts.ConfigDir = ""
	none, err := w.makeDKIMKeys(dns.Domain{ASCII: "example.org"}, time.Now())
	if err != nil || len(none.records) > 0 {
		t.Errorf("without directory: got %+v, %v", none, err)
	}
}
