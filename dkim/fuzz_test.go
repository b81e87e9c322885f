package dkim

import (
	"context"
	"reflect"
	"strings"
	"testing"
)

// FuzzParseSignature checks that what parses is within bounds, and parses the same
// when it is folded.
func FuzzParseSignature(f *testing.F) {
	f.Add(" v=1; a=rsa-sha256; s=brisbane; d=example.com; c=simple/simple; q=dns/txt; i=joe@football.example.com; h=Received : From; bh=AAAA; b=AAAA;")
	f.Add("v=1;a=ed25519-sha256;d=b\u00fccher.example;s=s;i=j=C3=BC=20r@x.b\u00fccher.example;t=1;x=2;l=3;h=from;bh=AA==;b=AA==")
	f.Add("i=1; a=rsa-sha256; cv=none; d=example.org; s=x; b=AAAA")
	f.Fuzz(func(t *testing.T, value string) {
		for _, kind := range []Kind{DKIMSignature, ARCMessageSignature, ARCSeal} {
			s, err := ParseSignature([]byte("X:"+value+"\r\n"), kind)
			if err != nil {
				if s != nil {
					t.Fatalf("%q: %+v with error", value, s)
				}
				continue
			}
			if s.Domain.IsZero() || s.Selector == "" || len(s.Signature) == 0 || len(s.Headers) > listMax || s.Length < -1 {
				t.Fatalf("%q: got %+v", value, s)
			}
			if kind != ARCSeal && (len(s.Headers) == 0 || len(s.BodyHash) == 0) {
				t.Fatalf("%q: got %+v", value, s)
			}
			folded, err := ParseSignature([]byte("X: "+strings.ReplaceAll(value, ";", "\r\n ;\r\n\t")+"\r\n"), kind)
			if err != nil {
				t.Fatalf("%q folded: %v", value, err)
			}
			s.raw, folded.raw = nil, nil
			if !reflect.DeepEqual(s, folded) && !strings.Contains(value, "\r\n") {
				t.Fatalf("%q: got %+v, folded %+v", value, s, folded)
			}
			if got := withoutSignature([]byte("X:" + value)); len(got) > len(value)+len("X:") {
				t.Fatalf("%q without signature: %q", value, got)
			}
		}
	})
}

// FuzzParseRecord checks that the text of a parsed record is that record.
func FuzzParseRecord(f *testing.F) {
	f.Add("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
	f.Add("v=DKIM1; h=sha1:sha256; s=email:*; t=y:s; n=some=20notes; p=")
	f.Add("p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAOZY6b3x3PvLQ6/vyi2VuSvD0xNjmJVNBsAkFcSZrT3C5OqqBDuPnZCvxnQ0m9F3xVp4pOQ1w9LwPF5TxNZ8YQkCAwEAAQ==")
	f.Fuzz(func(t *testing.T, text string) {
		rec, err := ParseRecord(text)
		if err != nil {
			if rec != nil {
				t.Fatalf("%q: %+v with error", text, rec)
			}
			return
		}
		if bits := rec.Bits(); bits > KeyBitsMax || (rec.Public == nil) != (bits == 0) {
			t.Fatalf("%q: key of %d bits", text, bits)
		}
		if again, err := ParseRecord(rec.Text()); err != nil || !reflect.DeepEqual(again, rec) {
			t.Fatalf("%q: got %+v, its text %q gives %+v, %v", text, rec, rec.Text(), again, err)
		}
	})
}

// FuzzVerify checks that no message passes for a key that has signed nothing, and
// that the evaluations are complete.
func FuzzVerify(f *testing.F) {
	key := testEd25519()
	f.Add(sign(f, mail, Selector{Name: "sel", Key: key, Hash: "sha256"}))
	f.Add("DKIM-Signature: v=1; a=rsa-sha256; d=x; s=y; h=from; bh=; b=\r\nFrom: x\r\n\r\n")
	r := &records{texts: map[string][]string{keyName1: {"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}}}
	f.Fuzz(func(t *testing.T, msg string) {
		evaluations, err := Verify(context.Background(), r, strings.NewReader(msg), int64(len(msg)), VerifyOptions{Now: now()})
		if err != nil {
			return
		}
		for _, e := range evaluations {
			if e.Result == Pass || e.Err == nil || e.Result == "" {
				t.Fatalf("%q: got %+v", msg, e)
			}
		}
	})
}
