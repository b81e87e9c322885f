//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mjl-/mox/config/live"
)

// fixUser is who files are given to in tests. Nobody needs to have that number.
var fixUser = serveUserID{54321, 54322}

// fixTree makes files and directories for a test, with permissions, and returns
// their directory.
func fixTree(t *testing.T, list []treeFile) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: needs root, to give files to another user")
	}
	dir := t.TempDir()
	for _, f := range list {
		path := filepath.Join(dir, f.name)
		var err error
		switch {
		case f.link != "":
			err = os.Symlink(f.link, path)
		case f.same != "":
			err = os.Link(filepath.Join(dir, f.same), path)
		case f.mode.IsDir():
			err = os.Mkdir(path, 0o700)
		default:
			err = os.WriteFile(path, []byte(f.text), 0o600)
		}
		if err == nil && f.link == "" && f.same == "" {
			err = os.Chown(path, f.uid, 0)
			if err == nil {
				err = os.Chmod(path, f.mode)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

type treeFile struct {
	name string
	mode fs.FileMode
	uid  int
	text string
	link string // Where a symbolic link leads.
	same string // What it is another name of.
}

const (
	treeDir   = fs.ModeDir | 0o755
	fixedDir  = fs.ModeDir | fs.ModeSetgid | 0o750
	fixedUser = 54321
)

// checkTree compares owners and permissions.
func checkTree(t *testing.T, test, dir string, want map[string]treeFile) {
	t.Helper()
	for name, w := range want {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		uid := int(info.Sys().(*syscall.Stat_t).Uid)
		if uid != w.uid || w.mode != 0 && info.Mode() != w.mode {
			t.Errorf("%s: %s has %v of user %d, want %v, %d", test, name, info.Mode(), uid, w.mode, w.uid)
		}
	}
}

func newFixer() (*fixer, *bytes.Buffer) {
	var log bytes.Buffer
	return &fixer{user: fixUser, log: slog.New(slog.NewTextHandler(&log, nil))}, &log
}

func TestFixData(t *testing.T) {
	t.Parallel()
	data := []treeFile{
		{name: "d", mode: treeDir},
		{name: "d/lock", mode: 0o644},
		{name: "d/receivedid.key", mode: 0o600},
		{name: "d/open", mode: 0o777},
		{name: "d/accounts", mode: treeDir},
		{name: "d/accounts/a", mode: 0o400},
		{name: "d/accounts/setuid", mode: fs.ModeSetuid | 0o755},
		{name: "d/both", mode: 0o644},
		{name: "d/accounts/both", same: "d/both"},
		{name: "d/lost+found", mode: fs.ModeDir | 0o700},
		{name: "d/lost+found/x", mode: 0o600},
		{name: "outside", mode: 0o644},
		{name: "d/elsewhere", same: "outside"},
		{name: "d/link", link: "../outside"},
		{name: "o", mode: treeDir},
		{name: "o/x", mode: 0o644},
		{name: "d/linkdir", link: "../o"},
	}
	fixed := map[string]treeFile{
		"d": {mode: fixedDir, uid: fixedUser}, "d/lock": {mode: 0o640, uid: fixedUser}, "d/receivedid.key": {mode: 0o600, uid: fixedUser},
		"d/open": {mode: 0o640, uid: fixedUser}, "d/accounts": {mode: fixedDir, uid: fixedUser}, "d/accounts/a": {mode: 0o600, uid: fixedUser},
		"d/accounts/setuid": {mode: 0o640, uid: fixedUser}, "d/both": {mode: 0o640, uid: fixedUser},
		"d/lost+found": {mode: fs.ModeDir | 0o700}, "d/lost+found/x": {mode: 0o600},
		"outside": {mode: 0o644}, "o": {mode: treeDir}, "o/x": {mode: 0o644}, "d/link": {},
	}
	right := []treeFile{{name: "d", mode: fs.ModeDir | 0o700, uid: fixedUser}, {name: "d/accounts", mode: treeDir, uid: fixedUser}, {name: "d/accounts/x", mode: 0o644}}
	stray := append(right[:2:2], treeFile{name: "d/lock", mode: 0o600}, treeFile{name: "d/accounts/x", mode: 0o644})
	for _, test := range []struct {
		name  string
		files []treeFile
		want  map[string]treeFile
		log   string // Part of it; empty if nothing is said.
	}{
		{"restored by root", data, fixed, `level=INFO msg="owners and permissions corrected" dir=`},
		{"of that too, another name elsewhere", data, nil, "the file has 2 names, and only 1 of them here"},
		{"right, also if stricter", right, map[string]treeFile{"d": {mode: fs.ModeDir | 0o700, uid: fixedUser}, "d/accounts/x": {mode: 0o644}}, ""},
		{"right, but something in it", stray, map[string]treeFile{"d": {mode: fixedDir, uid: fixedUser}, "d/lock": {mode: 0o600, uid: fixedUser}, "d/accounts/x": {mode: 0o640, uid: fixedUser}}, "changed=4"},
		{"empty", []treeFile{{name: "d", mode: treeDir}}, map[string]treeFile{"d": {mode: fixedDir, uid: fixedUser}}, "changed=1"},
		{"an empty file system", []treeFile{{name: "d", mode: treeDir}, {name: "d/lost+found", mode: treeDir}},
			map[string]treeFile{"d": {mode: fixedDir, uid: fixedUser}, "d/lost+found": {mode: treeDir}}, "changed=1"},
		{"of something else", []treeFile{{name: "d", mode: treeDir}, {name: "d/passwd", mode: 0o644}},
			map[string]treeFile{"d": {mode: treeDir}, "d/passwd": {mode: 0o644}}, "has no data of mox: choose another DataDir, or run chown -R 54321:54322 "},
		{"of something else, with a directory of a name of ours", []treeFile{{name: "d", mode: treeDir}, {name: "d/lock", mode: treeDir}},
			map[string]treeFile{"d": {mode: treeDir}, "d/lock": {mode: treeDir}}, "has no data of mox"},
		{"not there", nil, nil, "level=ERROR"},
	} {
		dir := fixTree(t, test.files)
		f, log := newFixer()
		f.fixData(t.Context(), filepath.Join(dir, "d"))
		checkTree(t, test.name, dir, test.want)
		if got := log.String(); !strings.Contains(got, test.log) || (got == "") != (test.log == "") {
			t.Errorf("%s: got log %q, want %q", test.name, got, test.log)
		}
	}
}

const fixStatic = `DataDir: %s
LogLevel: info
Hostname: localhost
Listeners:
	l:
		IPs:
			- 127.0.0.1
		TLS:
			KeyCerts:
				-
					CertFile: tls/a.crt
					KeyFile: tls/a.key
				-
					CertFile: ../outside.crt
					KeyFile: ../outside.key
		IMAPS:
			Enabled: true
Postmaster:
	Account: a
	Mailbox: Inbox
`

func TestFixConfig(t *testing.T) {
	t.Parallel()
	const dynamic = "Domains:\n\tlocalhost:\n\t\tDKIM:\n\t\t\tSelectors:\n\t\t\t\tx:\n\t\t\t\t\tPrivateKeyFile: x.pem\n\t\t\t\ty:\n\t\t\t\t\tPrivateKeyFile: ../outside.key\nAccounts:\n\ta:\n\t\tDomain: localhost\n"
	files := func(dataDir string, more ...treeFile) []treeFile {
		return append([]treeFile{
			{name: "c", mode: treeDir},
			{name: "c/mox.conf", mode: 0o644, text: fmt.Sprintf(fixStatic, dataDir)},
			{name: "c/domains.conf", mode: 0o600, text: dynamic},
			{name: "c/tls", mode: treeDir},
			{name: "c/tls/a.key", mode: 0o400},
			{name: "c/tls/a.crt", mode: 0o600},
			{name: "c/tls/other", mode: 0o644},
			{name: "c/README", mode: 0o644},
			{name: "c/earlier", mode: treeDir},
			{name: "c/earlier/x", mode: 0o644},
			{name: "c/dkim", mode: treeDir},
			{name: "c/dkim/key.pem", mode: 0o600},
			{name: "c/x.pem", mode: 0o600},
			{name: "outside.key", mode: 0o600},
		}, more...)
	}
	fixed := map[string]treeFile{
		"c": {mode: fixedDir, uid: fixedUser}, "c/mox.conf": {mode: 0o640, uid: fixedUser}, "c/domains.conf": {mode: 0o600, uid: fixedUser},
		"c/tls": {mode: treeDir}, "c/tls/a.key": {mode: 0o600, uid: fixedUser}, "c/tls/a.crt": {mode: 0o600, uid: fixedUser}, "c/tls/other": {mode: 0o644}, "c/README": {mode: 0o644},
		"c/earlier": {mode: fixedDir, uid: fixedUser}, "c/earlier/x": {mode: 0o640, uid: fixedUser},
		"c/dkim": {mode: fixedDir, uid: fixedUser}, "c/dkim/key.pem": {mode: 0o600, uid: fixedUser}, "c/x.pem": {mode: 0o600, uid: fixedUser}, "outside.key": {mode: 0o600},
	}
	for _, test := range []struct {
		name  string
		files []treeFile
		want  map[string]treeFile
		log   string
	}{
		{"made by root", files("../data"), fixed, "changed=10"},
		{"with the data in it", files("data", treeFile{name: "c/data", mode: treeDir}, treeFile{name: "c/data/x", mode: 0o644}),
			map[string]treeFile{"c": {mode: fixedDir, uid: fixedUser}, "c/data": {mode: treeDir}, "c/data/x": {mode: 0o644}}, "changed=10"},
		{"a directory of others", files("../data", treeFile{name: "c/.ssh", mode: treeDir}),
			map[string]treeFile{"c": {mode: treeDir}, "c/mox.conf": {mode: 0o644}, "c/.ssh": {mode: treeDir}}, "has things that are not of mox, as .ssh: give the configuration a directory of its own"},
	} {
		dir := fixTree(t, test.files)
		c, err := live.Open(filepath.Join(dir, "c", "mox.conf"), live.Options{WithoutKeys: true})
		if err != nil {
			t.Fatal(err)
		}
		f, log := newFixer()
		f.fixConfig(t.Context(), c)
		checkTree(t, test.name, dir, test.want)
		if got := log.String(); !strings.Contains(got, test.log) {
			t.Errorf("%s: got log %q, want %q", test.name, got, test.log)
		}
		n := log.Len()
		if f.fixConfig(t.Context(), c); strings.Contains(test.log, "changed") && log.Len() != n {
			t.Errorf("%s: again: got %s", test.name, log.String()[n:])
		}
	}
}
