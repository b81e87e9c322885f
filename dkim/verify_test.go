package dkim

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/dns"
)

const mail = "From: mjl <mjl@example.org>\r\nTo: x@example.com\r\nSubject: hi\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\r\nHi.\r\n\r\n"

const keyName1 = "sel._domainkey.example.org."

func TestVerify(t *testing.T) {
	t.Parallel()
	rsaKey, edKey := testRSA(t), testEd25519()
	rsaText, edText := text(t, rsaKey), text(t, edKey)
	signedRSA := sign(t, mail, Selector{Name: "sel", Key: rsaKey, Hash: "sha256"})
	signed := sign(t, mail, Selector{Name: "sel", Key: edKey, Hash: "sha256"})
	expiring := sign(t, mail, Selector{Name: "sel", Key: edKey, Hash: "sha256", Expiration: time.Hour})
	noSubject := sign(t, mail, Selector{Name: "sel", Key: edKey, Hash: "sha256", Headers: []string{"From"}})
	unsealed := sign(t, mail, Selector{Name: "sel", Key: edKey, Hash: "sha256", DontSeal: true})
	// change returns a message of which a part is replaced.
	change := func(msg, old, to string) string {
		if !strings.Contains(msg, old) {
			t.Fatalf("no %q in %q", old, msg)
		}
		return strings.Replace(msg, old, to, 1)
	}
	for _, c := range []struct {
		name, msg, record string
		want              Result
		err               error
	}{
		{"an Ed25519 signature", signed, edText, Pass, nil},
		{"an RSA signature", signedRSA, rsaText, Pass, nil},
		{"a signature at its last moment", expiring, edText, Pass, nil},
		{"fields added above that are not signed", "X-Seen: yes\r\n" + signed, edText, Pass, nil},
		{"unknown tags in signature and key", change(signed, "v=1;", "v=1; zz=1;"), edText + "; zz=1", Fail, ErrSignature},
		{"unknown tags in the key", signed, edText + "; zz=1", Pass, nil},
		{"a key that allows the hash", signed, "v=DKIM1; h=sha256; " + edText[8:], Pass, nil},
		{"a key for all services", signed, "v=DKIM1; s=*; " + edText[8:], Pass, nil},
		{"a key without version", signed, edText[8:], Pass, nil},

		{"a changed body", change(signed, "Hi.", "Ho."), edText, Fail, ErrBody},
		{"a changed subject", change(signed, "hi\r\n", "ho\r\n"), edText, Fail, ErrSignature},
		{"a changed signature", change(signed, "t=", "t=1"), edText, Fail, ErrSignature},
		{"a Cc added to a sealed header", change(signed, "\r\nTo: x@", "\r\nCc: y@example.com\r\nTo: x@"), edText, Fail, ErrSignature},
		{"a Cc added without seal", change(unsealed, "\r\nTo: x@", "\r\nCc: y@example.com\r\nTo: x@"), edText, Pass, nil},
		{"a second Subject without seal", change(unsealed, "\r\nTo: x@", "\r\nSubject: x\r\nTo: x@"), edText, Policy, ErrPolicy},
		{"a second From without seal", change(unsealed, "\r\nTo: x@", "\r\nFrom: x@example.com\r\nTo: x@"), edText, Policy, ErrPolicy},
		{"another key", signed, text(t, rsaKey), Permerror, ErrKeyUse},
		{"a key of the same type", signed, text(t, edKey)[:20] + "AAAA" + text(t, edKey)[24:], Fail, ErrSignature},

		{"an expired signature", change(expiring, "x=", "x=1"), edText, Fail, ErrSignature},
		{"a signature that is not of version 1", change(signed, "v=1", "v=2"), edText, Permerror, ErrVersion},
		{"a signature without version", change(signed, "v=1;", ""), edText, Permerror, ErrSyntax},
		{"a tag twice", change(signed, "v=1;", "v=1; v=1;"), edText, Permerror, ErrSyntax},
		{"no signature", change(signed, " b=", " c2="), edText, Permerror, ErrSyntax},
		{"rsa-sha1", change(signedRSA, "rsa-sha256", "rsa-sha1"), rsaText, Permerror, ErrAlgorithm},
		{"an unknown algorithm", change(signed, "ed25519-sha256", "ed25519-sha512"), edText, Permerror, ErrAlgorithm},
		{"an unknown canonicalisation", change(signed, "simple/simple", "nowsp"), edText, Permerror, ErrCanon},
		{"From not signed", strings.ReplaceAll(signed, "From:", "Form:"), edText, Permerror, ErrFrom},
		{"no From", change(signed, "\r\nFrom: mjl <mjl@example.org>", ""), edText, Permerror, ErrFrom},
		{"an identity elsewhere", change(signed, "i=mjl@example.org", "i=mjl@example.com"), edText, Permerror, ErrIdentity},
		{"an identity in a domain with the same end", change(signed, "i=mjl@example.org", "i=mjl@badexample.org"), edText, Permerror, ErrIdentity},
		{"no identity", change(signed, "i=mjl@example.org", "i=mjl"), edText, Permerror, ErrSyntax},
		{"an identity of another domain below, with t=s", change(signed, "i=mjl@example.org", "i=mjl@a.example.org"), "v=DKIM1; t=s; " + edText[8:], Permerror, ErrKeyUse},
		{"an identity of another domain below", change(signed, "i=mjl@example.org", "i=mjl@a.example.org"), edText, Fail, ErrSignature},
		{"t=s with the same domain", signed, "v=DKIM1; t=s; " + edText[8:], Pass, nil},
		{"only other queries", change(signed, "v=1;", "v=1; q=dns/x509;"), edText, Permerror, ErrQuery},
		{"other queries too", change(signed, "v=1;", "v=1; q=dns/x509 : dns/txt;"), edText, Fail, ErrSignature},
		{"a body of which a part is signed", change(signed, "v=1;", "v=1; l=3;"), edText, Policy, ErrPolicy},
		{"Subject not signed", noSubject, edText, Policy, ErrPolicy},
		{"a public suffix", strings.NewReplacer("d=example.org", "d=co.uk", "i=mjl@example.org", "i=mjl@x.co.uk").Replace(signed), edText, Permerror, ErrSuffix},
		{"a top-level domain", strings.NewReplacer("d=example.org", "d=org").Replace(signed), edText, Permerror, ErrSuffix},
		{"a suffix of a company", strings.NewReplacer("d=example.org", "d=github.io", "i=mjl@example.org", "i=mjl@github.io").Replace(signed), edText, Permerror, ErrNoRecord},

		{"a revoked key", signed, "v=DKIM1; k=ed25519; p=", Permerror, ErrRevoked},
		{"a revoked key in test mode", signed, "v=DKIM1; k=ed25519; t=y; p=", None, ErrRevoked},
		{"a changed body in test mode", change(signed, "Hi.", "Ho."), "v=DKIM1; t=y:s; " + edText[8:], None, ErrBody},
		{"test mode", signed, "v=DKIM1; t=y; " + edText[8:], Pass, nil},
		{"a key for another service", signed, "v=DKIM1; s=tlsrpt; " + edText[8:], Permerror, ErrKeyUse},
		{"a key for another hash", signedRSA, "v=DKIM1; h=sha1; " + strings.Replace(rsaText, "v=DKIM1;h=sha256;", "", 1), Permerror, ErrKeyUse},
		{"a key of an unknown type", signed, "v=DKIM1; k=new; p=AAAA", Permerror, ErrKeyUse},
		{"a key of an unknown version", signed, "v=DKIM2; " + edText[8:], Permerror, ErrNoRecord},
		{"a key that is none", signed, "v=DKIM1; k=rsa; p=AAAA", Permerror, ErrRecord},
		{"a key without p", signed, "v=DKIM1; k=rsa", Permerror, ErrRecord},
		{"an RSA key of 512 bits", signedRSA, "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOZY6b3x3PvLQ6/vyi2VuSvD0xNjmJVNBsAkFcSZrT3C5OqqBDuPnZCvxnQ0m9F3xVp4pOQ1w9LwPF5TxNZ8YQkCAwEAAQ==", Permerror, ErrKeySize},
		{"no record", signed, "", Permerror, ErrNoRecord},
	} {
		r := &records{authentic: true, texts: map[string][]string{}}
		if c.record != "" {
			r.texts[keyName1] = []string{c.record}
		}
		at := now()
		if c.name == "a signature at its last moment" {
			at = at.Add(time.Hour)
		}
		e := verify(t, r, c.msg, VerifyOptions{Now: at})
		if len(e) != 1 || e[0].Result != c.want || !errors.Is(e[0].Err, c.err) {
			t.Errorf("%s: got %+v, want %s, %v", c.name, e, c.want, c.err)
		}
		if (c.want == Pass) && !e[0].Authentic {
			t.Errorf("%s: not authentic", c.name)
		}
	}
}

func TestVerifyOptions(t *testing.T) {
	t.Parallel()
	key := testEd25519()
	signed := sign(t, mail, Selector{Name: "sel", Key: key, Hash: "sha256", Expiration: time.Hour})
	r := &records{texts: map[string][]string{keyName1: {"v=DKIM1; t=y; " + text(t, key)[8:]}}}

	if e := verify(t, r, signed, VerifyOptions{Now: now().Add(time.Hour + time.Second)}); e[0].Result != Permerror || !errors.Is(e[0].Err, ErrExpired) {
		t.Errorf("expired: got %+v", e)
	}
	changed := strings.Replace(signed, "Hi.", "Ho.", 1)
	if e := verify(t, r, changed, VerifyOptions{IgnoreTestMode: true}); e[0].Result != Fail {
		t.Errorf("without test mode: got %+v", e)
	}
	refusal := func(*Signature) error { return ErrPolicy }
	if e := verify(t, r, signed, VerifyOptions{Policy: refusal}); e[0].Result != Policy || r.asks[keyName1] != 1 {
		t.Errorf("with a policy: got %+v after %v", e, r.asks)
	}
	reports := &records{texts: map[string][]string{keyName1: {"v=DKIM1; s=tlsrpt; " + text(t, key)[8:]}}}
	if e := verify(t, reports, signed, VerifyOptions{Service: "tlsrpt"}); e[0].Result != Pass {
		t.Errorf("for a service: got %+v", e)
	}
	letters := &records{texts: map[string][]string{keyName1: {"v=DKIM1; s=email; " + text(t, key)[8:]}}}
	if e := verify(t, letters, signed, VerifyOptions{Service: "tlsrpt"}); e[0].Result != Permerror || !errors.Is(e[0].Err, ErrKeyUse) {
		t.Errorf("for another service: got %+v", e)
	}
	if e := verify(t, r, mail, VerifyOptions{}); len(e) != 0 {
		t.Errorf("without signature: got %+v", e)
	}
	if _, err := Verify(t.Context(), r, strings.NewReader(mail), int64(len(mail))+1, VerifyOptions{}); err == nil {
		t.Error("message shorter than told: no error")
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	good := text(t, testEd25519())
	for _, c := range []struct {
		name  string
		texts []string
		fail  error
		want  error // Nil: found.
	}{
		{"one record", []string{good}, nil, nil},
		{"one record beside another standard's", []string{"v=spf1 -all", good}, nil, nil},
		{"two records", []string{good, good}, nil, ErrRecords},
		{"one that is broken beside a good one", []string{"v=DKIM1; p=!", good}, nil, ErrRecords},
		{"an empty text", []string{""}, nil, ErrRecord},
		{"only another standard's", []string{"v=spf1 -all"}, nil, ErrNoRecord},
		{"no name", nil, dns.ErrNotFound, ErrNoRecord},
		{"no data", nil, dns.ErrNoData, ErrNoRecord},
		{"no answer", nil, dns.ErrTemporary, dns.ErrTemporary},
		{"a bogus answer", nil, dns.ErrBogus, dns.ErrTemporary},
		{"a name that can't be asked for", nil, dns.ErrName, dns.ErrName},
	} {
		r := &records{texts: map[string][]string{keyName1: c.texts}, fails: map[string]error{keyName1: c.fail}}
		key := Lookup(t.Context(), r, "sel", dns.Domain{ASCII: "example.org"})
		if !errors.Is(key.Err, c.want) || (key.Record != nil) != (c.want == nil) {
			t.Errorf("%s: got %+v", c.name, key)
		}
	}
	r := &records{fails: map[string]error{keyName1: dns.ErrTemporary}}
	signed := sign(t, mail, Selector{Name: "sel", Key: testEd25519(), Hash: "sha256"})
	if e := verify(t, r, signed, VerifyOptions{}); e[0].Result != Temperror {
		t.Errorf("no answer: got %+v", e)
	}
}

// TestLength verifies signatures of a part of a body, for a caller that wants it.
func TestLength(t *testing.T) {
	t.Parallel()
	key := testEd25519()
	r := &records{texts: map[string][]string{keyName1: {text(t, key)}}}
	accept := func(*Signature) error { return nil }
	// A signature of an empty body with l=0 is good for any body.
	empty := strings.Replace(mail, "Hi.\r\n\r\n", "", 1)
	s := NewSigner(SignOptions{Author: author(), Now: now(), Selectors: []Selector{{Name: "sel", Key: key, Hash: "sha256", Canon: Canonicalization{true, true}}}})
	header, err := s.Sign([]byte(empty))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, tag string
		want      Result
		err       error
	}{
		{"nothing of the body", "l=0; ", Fail, ErrSignature}, // The tag itself is not what was signed.
		{"some of the body", "l=1; ", Fail, ErrBody},
		{"more than the body", "l=1000; ", Permerror, ErrBodyLength},
		{"a number beyond all", "l=99999999999999999999; ", Permerror, ErrSyntax},
		{"no number", "l=-1; ", Permerror, ErrSyntax},
	} {
		field := strings.Replace(string(header), "t=", c.tag+"t=", 1)
		e := verify(t, r, field+mail, VerifyOptions{Policy: accept})
		if e[0].Result != c.want || !errors.Is(e[0].Err, c.err) {
			t.Errorf("%s: got %+v", c.name, e[0])
		}
	}
}

// TestLimits verifies messages that are made to cost much.
func TestLimits(t *testing.T) {
	t.Parallel()
	key := testEd25519()
	r := &records{texts: map[string][]string{keyName1: {text(t, key)}}}

	signed := sign(t, mail, Selector{Name: "sel", Key: key, Hash: "sha256"})
	field, _, _ := strings.Cut(signed, "From: mjl")
	copies := (headerSizeMax - len(mail)) / len(field)
	e := verify(t, r, strings.Repeat(field, copies)+mail, VerifyOptions{})
	last := e[len(e)-1]
	if len(e) != signaturesMax+1 || e[0].Result != Pass || last.Result != Policy || last.Skipped != copies-signaturesMax || !errors.Is(last.Err, ErrTooMany) {
		t.Errorf("%d signatures: got %d evaluations, last %+v", copies, len(e), last)
	}
	if n := r.asks[keyName1]; n != 1 {
		t.Errorf("key was looked up %d times", n)
	}
	for _, c := range []struct{ name, msg string }{
		{"a million header lines", strings.Repeat("X:\r\n", 1_000_000) + mail},
		{"one field too many", strings.Repeat("X:\r\n", fieldsMax) + mail},
		{"a header without end", strings.Repeat("a", headerSizeMax+1)},
	} {
		if _, err := Verify(t.Context(), r, strings.NewReader(c.msg), int64(len(c.msg)), VerifyOptions{Now: now()}); !errors.Is(err, ErrHeader) {
			t.Errorf("%s: got error %v", c.name, err)
		}
	}
	long := strings.Repeat("X:\r\n", fieldsMax-10) + signed + strings.Repeat("\r\n", 1<<20)
	if e := verify(t, r, long, VerifyOptions{}); len(e) != 1 || e[0].Result != Pass {
		t.Errorf("many fields and blank lines: got %+v", e)
	}
}

// TestBlankLines writes 64 MiB of blank lines, which are counted and not kept.
func TestBlankLines(t *testing.T) {
	t.Parallel()
	piece := []byte(strings.Repeat("\r\n", 1<<15))
	var out collector
	simple, relaxed := &simpleBody{held{out: &out}}, &relaxedBody{held: held{out: &out}}
	for range 1 << 10 {
		_, _ = simple.Write(piece)
		_, _ = relaxed.Write(piece)
	}
	if out.Len() != 0 || simple.lines != 1<<25 || relaxed.lines != 1<<25 {
		t.Errorf("got %d bytes after %d and %d lines", out.Len(), simple.lines, relaxed.lines)
	}
	simple.Close()
	relaxed.Close()
	if out.String() != "\r\n" {
		t.Errorf("got %q at the end", out.String())
	}
}
