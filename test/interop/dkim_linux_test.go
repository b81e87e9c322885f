package interop

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/arc"
	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/resolver"
	"github.com/mjl-/mox/smtp"
)

// canons are all canonicalisations.
var canons = []dkim.Canonicalization{{}, {HeaderRelaxed: true}, {BodyRelaxed: true}, {HeaderRelaxed: true, BodyRelaxed: true}}

// signedMails are messages that a canonicalisation has something to do with.
var signedMails = map[string]string{
	"plain":   "From: Anna <anna@signed.test>\r\nTo: x@example.com\r\nSubject: hi\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\nHello.\r\n",
	"odd":     "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nFrom:\tAnna\r\n\t<anna@signed.test>  \r\nSUBJECT:   a  \t b\r\n\r\n" + oddBody,
	"blank":   "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nFrom: anna@signed.test\r\nSubject: \r\n\r\n\r\n\r\n \t \r\n\r\n",
	"no body": "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nFrom: anna@signed.test\r\nSubject: nothing\r\n\r\n",
	"utf8":    "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nFrom: Änna <anna@signed.test>\r\nSubject: grüße\r\nTo: =?utf-8?q?=C3=BC?= <x@example.com>\r\n\r\ngrüße\r\n",
}

// signers are keys in their files, in the forms of the others, and in DNS.
type signers struct {
	dir       string
	selectors map[string]dkim.Selector // By the kind of key, which is the name too.
	zone      string
	resolver  dns.Resolver
}

// TestDKIM has dkimpy and OpenDKIM verify what we sign, and verifies what they sign.
func TestDKIM(t *testing.T) { inNetwork(t, testDKIM) }

func testDKIM(t *testing.T, dir string) {
	s := newSigners(t, dir)
	startNSD(t, dir, s.zone)
	var err error
	if s.resolver, err = resolver.New(resolver.Options{CacheSize: -1}); err != nil {
		t.Fatal(err)
	}
	t.Run("ours", s.testOurs)
	t.Run("dkimpy", s.testDKIMPy)
	t.Run("opendkim", s.testOpenDKIM)
	t.Run("arc", s.testARC)
}

func newSigners(t *testing.T, dir string) *signers {
	t.Helper()
	s := &signers{dir: dir, selectors: map[string]dkim.Selector{}}
	rsaKey, err := dkim.GenerateRSA(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edKey, err := dkim.GenerateEd25519(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"rsa": rsaKey, "ed25519": edKey} {
		text, err := dkim.FormatKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if key, ok := key.(ed25519.PrivateKey); ok {
			text = []byte(base64.StdEncoding.EncodeToString(key.Seed())) // As dkimpy has it.
		}
		rec, err := dkim.NewRecord(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.key(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s.selectors[name] = dkim.Selector{Name: name, Key: key, Hash: "sha256", Expiration: time.Hour}
		s.zone += name + "._domainkey.signed TXT"
		for part := range slices.Chunk([]byte(rec.Text()), 200) {
			s.zone += fmt.Sprintf(" %q", part)
		}
		s.zone += "\n"
	}
	return s
}

// key returns the path of the file of a key.
func (s *signers) key(name string) string { return filepath.Join(s.dir, name+".key") }

// sign signs a message with the key of a kind.
func (s *signers) sign(t *testing.T, msg, kind string, canon dkim.Canonicalization) string {
	t.Helper()
	sel := s.selectors[kind]
	sel.Canon = canon
	header, err := dkim.Sign(strings.NewReader(msg), int64(len(msg)), dkim.SignOptions{
		Author:    smtp.Address{Localpart: "anna", Domain: dns.Domain{ASCII: "signed.test"}},
		Selectors: []dkim.Selector{sel}, Now: time.Now(), SMTPUTF8: strings.Contains(msg, "ü"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(header) + msg
}

// wantPass verifies a message of another signer, which must have one signature.
func (s *signers) wantPass(t *testing.T, name, msg string) {
	t.Helper()
	// The others need not know which fields we want to see signed.
	accept := func(*dkim.Signature) error { return nil }
	list, err := dkim.Verify(t.Context(), s.resolver, strings.NewReader(msg), int64(len(msg)), dkim.VerifyOptions{Now: time.Now(), Policy: accept})
	if err != nil || len(list) != 1 || list[0].Result != dkim.Pass {
		t.Errorf("%s: got %+v, %v of %q", name, list, err, short(msg))
	}
}

// each calls fn for all mails, kinds of keys and canonicalisations.
func (s *signers) each(fn func(name, msg, kind string, canon dkim.Canonicalization)) {
	for mail, msg := range signedMails {
		for kind := range s.selectors {
			for _, canon := range canons {
				fn(mail+", "+kind+", "+canon.String(), msg, kind, canon)
			}
		}
	}
}

// dkimpyTask is what dkim_peer.py is asked for.
type dkimpyTask struct {
	Op       string // "sign", "verify", "arcsign" or "arcverify".
	Message  []byte
	Key      []byte `json:",omitempty"`
	Selector string `json:",omitempty"`
	Domain   string `json:",omitempty"`

	HeaderCanon, BodyCanon, Algorithm string `json:",omitempty"`

	Server string `json:",omitempty"` // For arcsign: who writes the Authentication-Results.
}

// dkimpy has dkimpy do all tasks, in one process.
func dkimpy[T any](t *testing.T, tasks ...dkimpyTask) []T {
	t.Helper()
	input, err := json.Marshal(tasks)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// Debian's, which has its packages.
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-B", filepath.Join("testdata", "dkim_peer.py"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), new(strings.Builder)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dkimpy: %v\n%s", err, cmd.Stderr)
	}
	var results []T
	if err := json.Unmarshal(out, &results); err != nil || len(results) != len(tasks) {
		t.Fatalf("dkimpy: got %s, %v", out, err)
	}
	return results
}

// testOurs has the others verify.
func (s *signers) testOurs(t *testing.T) {
	var names []string
	var tasks []dkimpyTask
	s.each(func(name, msg, kind string, canon dkim.Canonicalization) {
		signed := s.sign(t, msg, kind, canon)
		names, tasks = append(names, name), append(tasks, dkimpyTask{Op: "verify", Message: []byte(signed)})
		if out, err := tryCommand(t, []byte(signed), sbin(t, "opendkim-testmsg")); err != nil || out != "" {
			t.Errorf("%s: opendkim-testmsg: %v, %q of %q", name, err, out, short(signed))
		}
	})
	for i, ok := range dkimpy[bool](t, tasks...) {
		if !ok {
			t.Errorf("%s: dkimpy does not verify %q", names[i], short(string(tasks[i].Message)))
		}
	}
	for kind := range s.selectors {
		changed := strings.Replace(s.sign(t, signedMails["plain"], kind, dkim.Canonicalization{}), "Hello", "Hullo", 1)
		if out, err := tryCommand(t, []byte(changed), tool(t, "dkimverify")); err == nil {
			t.Errorf("a changed message, %s: dkimverify: %q", kind, out)
		}
		if out, err := tryCommand(t, []byte(changed), sbin(t, "opendkim-testmsg")); err == nil && out == "" {
			t.Errorf("a changed message, %s: opendkim-testmsg: %q", kind, out)
		}
	}
}

// testDKIMPy verifies what dkimpy signs.
func (s *signers) testDKIMPy(t *testing.T) {
	canonNames := map[bool]string{false: "simple", true: "relaxed"}
	var names []string
	var tasks []dkimpyTask
	s.each(func(name, msg, kind string, canon dkim.Canonicalization) {
		names = append(names, name)
		tasks = append(tasks, dkimpyTask{
			Op: "sign", Message: []byte(msg), Key: s.readKey(t, kind), Selector: kind, Domain: "signed.test",
			HeaderCanon: canonNames[canon.HeaderRelaxed], BodyCanon: canonNames[canon.BodyRelaxed], Algorithm: kind + "-sha256",
		})
	})
	for i, header := range dkimpy[[]byte](t, tasks...) {
		s.wantPass(t, names[i], string(header)+string(tasks[i].Message))
	}
	signed := command(t, []byte(signedMails["plain"]), tool(t, "dkimsign"), "ed25519", "signed.test", s.key("ed25519"), "--signalg", "ed25519-sha256")
	s.wantPass(t, "dkimsign", mailLines(signed))
}

// readKey returns the text of a key as the others have it.
func (s *signers) readKey(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(s.key(name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// opendkimKey returns the path of the file of a key in the form of OpenDKIM, which
// takes what doesn't begin as PEM for something else.
func (s *signers) opendkimKey(t *testing.T, name string) string {
	t.Helper()
	text, err := dkim.FormatKey(s.selectors[name].Key)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("\n"))
	path := s.key("opendkim-" + name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testOpenDKIM verifies what OpenDKIM signs. It reads a message as its milter library
// gives it, in test mode.
func (s *signers) testOpenDKIM(t *testing.T) {
	path := filepath.Join(s.dir, "message")
	var doubtful []dkimpyTask
	s.each(func(name, msg, kind string, canon dkim.Canonicalization) {
		if name[:3] == "odd" && !canon.HeaderRelaxed {
			return // In its test mode it changes white space before values.
		}
		conf := fmt.Sprintf("Mode s\nDomain signed.test\nSelector %s\nKeyFile %s\nCanonicalization %s\nSignatureAlgorithm %s-sha256\nRequireSafeKeys false\nUserID root\n",
			kind, s.opendkimKey(t, kind), canon, kind)
		for name, text := range map[string]string{path: msg, path + ".conf": conf} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out := command(t, nil, sbin(t, "opendkim"), "-x", path+".conf", "-vv", "-t", path)
		_, value, _ := strings.Cut(out, "hname='DKIM-Signature' hvalue='")
		value, _, ok := strings.Cut(value, "'\n")
		if !ok {
			t.Errorf("%s: opendkim signs nothing: %s", name, out)
			return
		}
		signed := "DKIM-Signature: " + mailLines(value) + "\r\n" + msg
		if kind == "ed25519" && !canon.HeaderRelaxed {
			// It folds what it signs in another way than what it adds. Dkimpy agrees.
			doubtful = append(doubtful, dkimpyTask{Op: "verify", Message: []byte(signed)})
			return
		}
		s.wantPass(t, name, signed)
	})
	for i, ok := range dkimpy[bool](t, doubtful...) {
		list, err := dkim.Verify(t.Context(), s.resolver, bytes.NewReader(doubtful[i].Message), int64(len(doubtful[i].Message)), dkim.VerifyOptions{Now: time.Now()})
		if err != nil || (list[0].Result == dkim.Pass) != ok {
			t.Errorf("dkimpy says %t, we say %+v, %v of %q", ok, list, err, short(string(doubtful[i].Message)))
		}
	}
	// The other program of it signs with sha1 only.
	signed := mailLines(command(t, []byte(signedMails["plain"]), sbin(t, "opendkim-testmsg"), "-C", "-d", "signed.test", "-s", "rsa", "-k", s.opendkimKey(t, "rsa")))
	list, err := dkim.Verify(t.Context(), s.resolver, strings.NewReader(signed), int64(len(signed)), dkim.VerifyOptions{Now: time.Now()})
	if err != nil || len(list) != 1 || list[0].Result != dkim.Permerror || !errors.Is(list[0].Err, dkim.ErrAlgorithm) {
		t.Errorf("sha1: got %+v, %v", list, err)
	}
}

// testARC verifies chains that dkimpy has sealed.
func (s *signers) testARC(t *testing.T) {
	msg := "Authentication-Results: mx.signed.test; spf=pass smtp.mailfrom=signed.test\r\n" + signedMails["plain"]
	verify := func(msg string) arc.Evaluation {
		t.Helper()
		e, err := arc.Verify(t.Context(), s.resolver, strings.NewReader(msg), int64(len(msg)), arc.Options{Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for n := 1; n <= 3; n++ {
		task := dkimpyTask{Op: "arcsign", Message: []byte(msg), Key: s.readKey(t, "rsa"), Selector: "rsa", Domain: "signed.test", Server: "mx.signed.test"}
		msg = string(dkimpy[[]byte](t, task)[0]) + msg
		e := verify(msg)
		if e.Result != arc.Pass || len(e.Sets) != n || e.Sets[n-1].Domain.ASCII != "signed.test" || !strings.HasPrefix(e.Sets[n-1].Results, "mx.signed.test;") {
			t.Fatalf("%d sets: got %+v of %q", n, e, short(msg))
		}
		if got := dkimpy[string](t, dkimpyTask{Op: "arcverify", Message: []byte(msg)})[0]; got != "pass" {
			t.Errorf("%d sets: dkimpy says %q", n, got)
		}
		// The next one must find the chain in the results of its own checks, once.
		msg = strings.ReplaceAll(msg, "\r\nAuthentication-Results: mx.signed.test; arc=pass", "")
		_, msg, _ = strings.Cut("\r\n"+msg, "\r\n")
		msg = "Authentication-Results: mx.signed.test; arc=pass\r\n" + strings.TrimPrefix(msg, "Authentication-Results: mx.signed.test; arc=pass\r\n")
	}
	changed := strings.Replace(msg, "Hello", "Hullo", 1)
	if e := verify(changed); e.Result != arc.Fail {
		t.Errorf("a changed message: got %+v", e)
	}
}

// mailLines returns text with line ends of mail, whichever it had.
func mailLines(s string) string {
	return string(bytes.ReplaceAll(bytes.ReplaceAll([]byte(s), []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n")))
}
