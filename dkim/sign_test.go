package dkim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/smtp"
)

// TestSignVerify verifies what is signed, with all keys and canonicalisations, and
// after the changes that these allow.
func TestSignVerify(t *testing.T) {
	t.Parallel()
	rsaKey, edKey := testRSA(t), testEd25519()
	r := &records{texts: map[string][]string{"rsa._domainkey.example.org.": {text(t, rsaKey)}, "ed._domainkey.example.org.": {text(t, edKey)}}}
	bodies := map[string]string{"empty": "", "text": "a  b \r\n\r\nc\t\r\n\r\n", "no end": "a", "blank": "\r\n\r\n", "dots": ".\r\n..\r\n"}
	for name, body := range bodies {
		for _, canon := range []Canonicalization{{}, {true, false}, {false, true}, {true, true}} {
			rsaSel := Selector{Name: "rsa", Key: rsaKey, Hash: "sha256", Canon: canon}
			edSel := Selector{Name: "ed", Key: edKey, Hash: "sha256", Canon: canon}
			head, _, _ := strings.Cut(mail, "Hi.")
			signed := sign(t, head+body, rsaSel, edSel)
			for i, e := range verify(t, r, signed, VerifyOptions{}) {
				if e.Result != Pass {
					t.Errorf("%s, %s, signature %d: got %+v", name, canon, i, e)
				}
			}
			changed := strings.Replace(signed, "\r\nSubject: hi\r\n", "\r\nSUBJECT:\thi \r\n", 1)
			for i, e := range verify(t, r, changed, VerifyOptions{}) {
				if (e.Result == Pass) != canon.HeaderRelaxed {
					t.Errorf("%s, %s, signature %d, other white space: got %+v", name, canon, i, e)
				}
			}
			if changed := strings.Replace(signed, "a  b ", "a b", 1); changed != signed {
				for i, e := range verify(t, r, changed, VerifyOptions{}) {
					if (e.Result == Pass) != canon.BodyRelaxed {
						t.Errorf("%s, %s, signature %d, other white space in body: got %+v", name, canon, i, e)
					}
				}
			}
		}
	}
}

// TestSignField checks the whole field.
func TestSignField(t *testing.T) {
	t.Parallel()
	sel := Selector{Name: "2026a", Key: testEd25519(), Hash: "sha256", Expiration: 72 * time.Hour, Canon: Canonicalization{HeaderRelaxed: true}}
	field, _, _ := strings.Cut(sign(t, mail, sel), "From: mjl")
	want := "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/simple; d=example.org;\r\n" +
		" s=2026a; i=mjl@example.org; t=1795262400; x=1795521600; h=From: From: To: To:\r\n" +
		" Cc: Bcc: Reply-To: References: In-Reply-To: Subject: Subject: Date: Date:\r\n" +
		" Message-Id: Content-Type; bh=UrA8rmgY3eNBotmDWtzAmHyn5RyZv8Gea45sNGsP0zw=; b=\r\n"
	if !strings.HasPrefix(field, want) || strings.Count(field, "\r\n") != 6 {
		t.Errorf("got %q", field)
	}
}

func TestSignRefusals(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := Selector{Name: "sel", Key: testEd25519(), Hash: "sha256"}
	for _, c := range []struct {
		name, msg string
		sel       Selector
		want      error
	}{
		{"no From", "To: x@example.com\r\n\r\n", good, ErrFrom},
		{"two From", "From: a@example.org\r\nFrom: b@example.org\r\n\r\n", good, ErrFrom},
		{"From not among the fields", mail, Selector{Name: "sel", Key: testEd25519(), Hash: "sha256", Headers: []string{"To"}}, ErrFrom},
		{"sha1 with Ed25519", mail, Selector{Name: "sel", Key: testEd25519(), Hash: "sha1"}, ErrAlgorithm},
		{"an unknown hash", mail, Selector{Name: "sel", Key: testRSA(t), Hash: "md5"}, ErrAlgorithm},
		{"a key of another kind", mail, Selector{Name: "sel", Key: ec, Hash: "sha256"}, ErrAlgorithm},
		{"too many fields", strings.Repeat("X:\r\n", fieldsMax) + mail, good, ErrHeader},
		{"too large a header", strings.Repeat("X:\r\n", headerSizeMax/4) + mail, good, ErrHeader},
	} {
		got, err := Sign(strings.NewReader(c.msg), int64(len(c.msg)), SignOptions{Author: author(), Selectors: []Selector{c.sel}, Now: now()})
		if !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: got %q, %v, want %v", c.name, got, err, c.want)
		}
	}
}

// TestSignSHA1 signs with what nobody should accept, and does not accept it.
func TestSignSHA1(t *testing.T) {
	t.Parallel()
	signed := sign(t, mail, Selector{Name: "sel", Key: testRSA(t), Hash: "sha1"})
	r := &records{texts: map[string][]string{keyName1: {text(t, testRSA(t))}}}
	if e := verify(t, r, signed, VerifyOptions{}); !strings.Contains(signed, "a=rsa-sha1;") || e[0].Result != Permerror || !errors.Is(e[0].Err, ErrAlgorithm) {
		t.Errorf("got %+v", e)
	}
}

// TestSignInternationalised has names that only mail with SMTPUTF8 can have in
// their readable form, RFC 8616, section 5.
func TestSignInternationalised(t *testing.T) {
	t.Parallel()
	d, err := dns.ParseDomain("bücher.example")
	if err != nil {
		t.Fatal(err)
	}
	key := testEd25519()
	name, err := ParseSelector("sömmer_")
	if err == nil {
		t.Errorf("selector with underscore and UTF-8: got %q", name)
	}
	if name, err = ParseSelector("Sömmer.2026"); err != nil {
		t.Fatal(err)
	}
	r := &records{texts: map[string][]string{name + "._domainkey.xn--bcher-kva.example.": {text(t, key)}}}
	for _, c := range []struct {
		name      string
		localpart smtp.Localpart
		utf8      bool
		want      string // In the field, folded.
	}{
		{"with SMTPUTF8", "jürgen", true, "d=bücher.example; s=sömmer.2026; i=jürgen@bücher.example;"},
		{"without", "jo", false, "d=xn--bcher-kva.example; s=xn--smmer-jua.2026; i=jo@xn--bcher-kva.example;"},
		{"without, though the address needs it", "jürgen", false, "d=xn--bcher-kva.example; s=xn--smmer-jua.2026; i=@xn--bcher-kva.example;"},
		{"an address with quotes", "a; b=c", false, `d=xn--bcher-kva.example; s=xn--smmer-jua.2026; i="a=3B=20b=3Dc"@xn--bcher-kva.example;`},
	} {
		opts := SignOptions{Author: smtp.Address{Localpart: c.localpart, Domain: d}, Now: now(), SMTPUTF8: c.utf8, Selectors: []Selector{{Name: name, Key: key, Hash: "sha256"}}}
		field, err := Sign(strings.NewReader(mail), int64(len(mail)), opts)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if unfolded := strings.ReplaceAll(string(field), "\r\n", ""); !strings.Contains(unfolded, c.want) {
			t.Errorf("%s: got %q", c.name, unfolded)
		}
		e := verify(t, r, string(field)+mail, VerifyOptions{})
		if len(e) != 1 || e[0].Result != Pass || e[0].Signature.Domain != d || !strings.HasSuffix(e[0].Signature.Identity, "example") {
			t.Errorf("%s: got %+v", c.name, e)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	ed, err := GenerateEd25519(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	formatted, err := FormatKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKey(formatted)
	if err != nil || !ed.Equal(again) || !strings.HasPrefix(string(formatted), "Private key for DKIM, Ed25519.") {
		t.Errorf("got %v, %v from %s", again, err, formatted)
	}
	if rec, err := ParseRecord(text(t, ed)); err != nil || rec.Bits() != 256 || rec.Text() != text(t, ed) {
		t.Errorf("got %+v, %v", rec, err)
	}
	for _, bad := range []string{"", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"} {
		if key, err := ParseKey([]byte(bad)); err == nil {
			t.Errorf("%q: got %v", bad, key)
		}
	}
	if _, err := NewRecord("key"); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("got error %v", err)
	}
}
