package dkim

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// TestRFC6376Example verifies the message of RFC 6376, appendix A.2, with the key of
// appendix C. What was signed had six spaces at the start of continuation lines, and
// one after the full stop, unlike what is printed: with simple canonicalisation
// that counts.
func TestRFC6376Example(t *testing.T) {
	t.Parallel()
	printed := readFile(t, "testdata/rfc6376/signed.eml")
	msg := toCRLF(strings.NewReplacer("\n     ", "\n      ", "game.  Are", "game. Are").Replace(printed))
	r := &records{texts: map[string][]string{"brisbane._domainkey.example.com.": {"v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ" +
		"KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt" +
		"IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v" +
		"/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi" +
		"tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"}}}
	e := verify(t, r, msg, VerifyOptions{})
	if len(e) != 1 || e[0].Result != Pass {
		t.Fatalf("got %+v", e)
	}
	s := e[0].Signature
	if s.Domain.ASCII != "example.com" || s.Selector != "brisbane" || s.Identity != "joe@football.example.com" || s.Canon.String() != "simple/simple" ||
		strings.Join(s.Headers, " ") != "Received From To Subject Date Message-ID" || e[0].Record.Bits() != 1024 {
		t.Errorf("got %+v", s)
	}

	const public = `-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkM
oGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/R
tdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToI
MmPSPDdQPNUYckcQ2QIDAQAB
-----END PUBLIC KEY-----`
	if key := parsePEM(t, public); !reflect.DeepEqual(key, e[0].Record.Public) {
		t.Errorf("got key %v, want %v", e[0].Record.Public, key)
	}
}

// TestRFC8463Example verifies the message of RFC 8463, appendix A, with both keys.
func TestRFC8463Example(t *testing.T) {
	t.Parallel()
	msg := toCRLF(readFile(t, "testdata/rfc8463/signed.eml"))
	r := &records{authentic: true, texts: map[string][]string{
		"brisbane._domainkey.football.example.com.": {"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="},
		"test._domainkey.football.example.com.": {"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWR" +
			"iGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC" +
			"DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3" +
			"Ip3G+2kryOTIKT+l/K4w3QIDAQAB"},
	}}
	e := verify(t, r, msg, VerifyOptions{})
	if len(e) != 2 || e[0].Result != Pass || e[1].Result != Pass {
		t.Fatalf("got %+v", e)
	}
	if e[0].Signature.Algorithm != "ed25519-sha256" || e[1].Signature.Algorithm != "rsa-sha256" || !e[0].Authentic ||
		e[0].Signature.Time.Unix() != 1528637909 || e[0].Record.Bits() != 256 {
		t.Errorf("got %+v, %+v", e[0].Signature, e[1].Signature)
	}
	if rec, _ := NewRecord(testRSA(t).Public()); !reflect.DeepEqual(rec.Public, e[1].Record.Public) {
		t.Error("keys differ")
	}
	for i, e := range verify(t, r, strings.Replace(msg, "hungry", "angry", 1), VerifyOptions{}) {
		if e.Result != Fail || !errors.Is(e.Err, ErrBody) {
			t.Errorf("signature %d of a changed body: got %+v", i, e)
		}
	}
}

// TestRFC6376Canonicalization is RFC 6376, section 3.4.5: its examples, in which
// <SP>, <HTAB> and <CRLF> stand for the characters.
func TestRFC6376Canonicalization(t *testing.T) {
	t.Parallel()
	message := "A: X\r\nB : Y\t\r\n\tZ  \r\n\r\n C \r\nD \t E\r\n\r\n\r\n"
	header, body, _ := strings.Cut(message, "\r\n\r\n")
	first, second, _ := strings.Cut(header+"\r\n", "\r\n")
	for _, c := range []struct {
		name         string
		relaxed      bool
		header, body string
	}{
		{"relaxed", true, "a:X\r\nb:Y Z\r\n", " C\r\nD E\r\n"},
		{"simple", false, "A: X\r\nB : Y\t\r\n\tZ  \r\n", " C \r\nD \t E\r\n"},
	} {
		h := appendField(appendField(nil, []byte(first+"\r\n"), c.relaxed), []byte(second), c.relaxed)
		if string(h) != c.header {
			t.Errorf("%s: got header %q, want %q", c.name, h, c.header)
		}
		if got := canonical(body, c.relaxed, len(body)); got != c.body {
			t.Errorf("%s: got body %q, want %q", c.name, got, c.body)
		}
	}
}
