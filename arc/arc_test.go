package arc

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mjl-/mox/dkim"
	"github.com/mjl-/mox/dns"
)

const mail = "From: mjl <mjl@example.org>\r\nTo: x@example.com\r\nSubject: hi\r\n\r\nHi.\r\n"

// sealer makes sets for tests, with relaxed canonicalisation.
type sealer struct {
	t   testing.TB
	key ed25519.PrivateKey
}

func newSealer(t testing.TB) *sealer {
	return &sealer{t, ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", ed25519.SeedSize)))}
}

func (s *sealer) resolver() resolver {
	rec, err := dkim.NewRecord(s.key.Public())
	if err != nil {
		s.t.Fatal(err)
	}
	return resolver{records: records{"sel._domainkey.list.example": rec.Text()}}
}

// relaxed returns the canonical form of a field of one line.
func relaxed(field string) string {
	name, value, _ := strings.Cut(strings.TrimSuffix(field, "\r\n"), ":")
	return strings.ToLower(name) + ":" + strings.TrimSpace(value) + "\r\n"
}

func (s *sealer) sign(text string) string {
	sum := sha256.Sum256([]byte(text))
	b, err := s.key.Sign(nil, sum[:], crypto.Hash(0))
	if err != nil {
		s.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// seal adds a set to a message whose fields above From are all of sets made here.
// Extra comes at the end of the tags of the message signature.
func (s *sealer) seal(msg string, instance int, status, extra string) string {
	header, body, _ := strings.Cut(msg, "\r\n\r\n")
	sum := sha256.Sum256([]byte(body))
	var sealed, signed string
	for line := range strings.SplitSeq(header, "\r\n") {
		switch {
		case strings.HasPrefix(line, "ARC-"):
			// Sets are in front of each other, and sealed in order.
		case strings.HasPrefix(line, "From:"), strings.HasPrefix(line, "Subject:"):
			signed += relaxed(line)
		}
	}
	lines := strings.Split(header, "\r\n")
	for i := 3 * (instance - 1); i > 0; i -= 3 {
		sealed += relaxed(lines[i-1]) + relaxed(lines[i-2]) + relaxed(lines[i-3])
	}
	aar := fmt.Sprintf("ARC-Authentication-Results: i=%d; list.example; spf=pass smtp.mailfrom=example.org", instance)
	ams := fmt.Sprintf("ARC-Message-Signature: i=%d; a=ed25519-sha256; c=relaxed/relaxed; d=list.example; s=sel; h=from:subject; bh=%s; t=1%s; b=",
		instance, base64.StdEncoding.EncodeToString(sum[:]), extra)
	ams += s.sign(signed + strings.TrimSuffix(relaxed(ams), "\r\n"))
	as := fmt.Sprintf("ARC-Seal: i=%d; a=ed25519-sha256; cv=%s; d=list.example; s=sel; t=1; b=", instance, status)
	as += s.sign(sealed + relaxed(aar) + relaxed(ams) + strings.TrimSuffix(relaxed(as), "\r\n"))
	return as + "\r\n" + ams + "\r\n" + aar + "\r\n" + msg
}

// chain returns the message with sets, the first with status none.
func (s *sealer) chain(sets int) string {
	msg := mail
	for i := 1; i <= sets; i++ {
		msg = s.seal(msg, i, map[bool]string{true: "none", false: "pass"}[i == 1], "")
	}
	return msg
}

func TestVerify(t *testing.T) {
	t.Parallel()
	s := newSealer(t)
	two := s.chain(2)
	subject := func(msg, to string) string { return strings.Replace(msg, "Subject: hi", "Subject: "+to, 1) }
	listed := s.seal(subject(s.chain(2), "[list] hi"), 3, "pass", "")
	for _, c := range []struct {
		name, msg string
		want      Result
		err       error
		sets      int
		oldest    int
	}{
		{"no chain", mail, None, nil, 0, 0},
		{"one set", s.chain(1), Pass, nil, 1, 0},
		{"two sets", two, Pass, nil, 2, 0},
		{"as many sets as there may be", s.chain(50), Pass, nil, 50, 0},
		{"a set more than there may be", s.chain(51), Fail, ErrTooMany, 0, 0},
		{"a message that a list has changed", listed, Pass, nil, 3, 3},
		{"a message that was changed after the last seal", subject(two, "ho"), Fail, ErrMessage, 2, 0},
		{"a body that was changed after the last seal", strings.Replace(two, "Hi.", "Ho.", 1), Fail, ErrMessage, 2, 0},
		{"results that were changed", strings.Replace(two, "spf=pass", "spf=fail", 1), Fail, ErrSeal, 2, 0},
		{"older results that were changed", strings.Replace(two, "ARC-Authentication-Results: i=1; list.example; spf=pass", "ARC-Authentication-Results: i=1; list.example; spf=fail", 1), Fail, ErrSeal, 2, 0},
		{"a chain that its last sealer found broken", s.seal(s.chain(1), 2, "fail", ""), Fail, ErrStatus, 2, 0},
		{"a second sealer that found nothing", s.seal(s.chain(1), 2, "none", ""), Fail, ErrStatus, 2, 0},
		{"a first sealer that found a chain", s.seal(mail, 1, "pass", ""), Fail, ErrStatus, 1, 0},
		{"a status that there isn't", s.seal(mail, 1, "maybe", ""), Fail, ErrField, 1, 0},
		{"a set that is missing", s.seal(s.chain(1), 3, "pass", ""), Fail, ErrIncomplete, 2, 0},
		{"a seal that is missing", two[strings.Index(two, "\r\n")+2:], Fail, ErrIncomplete, 2, 0},
		{"a set twice", s.seal(s.chain(1), 1, "none", ""), Fail, ErrField, 2, 0},
		{"an instance of 0", strings.ReplaceAll(s.chain(1), "i=1", "i=0"), Fail, ErrField, 1, 0},
		{"an instance that is no number", strings.ReplaceAll(s.chain(1), "i=1", "i=x"), Fail, ErrField, 1, 0},
		{"a message signature that has expired", s.seal(mail, 1, "none", "; x=2"), Fail, dkim.ErrExpired, 1, 0},
		{"a message signature of a part of the body", s.seal(mail, 1, "none", "; l=5"), Fail, dkim.ErrPolicy, 1, 0},
		{"a seal that says what it signs", strings.Replace(two, "cv=pass;", "cv=pass; h=from;", 1), Fail, ErrField, 2, 0},
		{"an algorithm that isn't accepted", strings.ReplaceAll(two, "ed25519-sha256", "rsa-sha1"), Fail, dkim.ErrAlgorithm, 2, 0},
	} {
		e := verify(t, s.resolver(), c.msg)
		if e.Result != c.want || !errors.Is(e.Err, c.err) || len(e.Sets) != c.sets || e.OldestPass != c.oldest {
			t.Errorf("%s: got %s, %v, %d sets, oldest %d", c.name, e.Result, e.Err, len(e.Sets), e.OldestPass)
		}
		for i, set := range e.Sets {
			if e.Result == Pass && (set.Instance != i+1 || set.Domain.ASCII != "list.example" || set.Results != "list.example; spf=pass smtp.mailfrom=example.org" || !set.Authentic) {
				t.Errorf("%s: got set %+v", c.name, set)
			}
		}
	}
}

// down is a dns.Resolver that gets no answers.
type down struct{ dns.Resolver }

func (down) LookupTXT(_ context.Context, name string) ([]string, dns.Result, error) {
	return nil, dns.Result{}, &dns.Error{Op: "TXT", Name: name, Err: dns.ErrTemporary}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	s := newSealer(t)
	if e := verify(t, down{}, s.chain(1)); e.Result != Fail || !errors.Is(e.Err, dns.ErrTemporary) {
		t.Errorf("without answers: got %+v", e)
	}
	if e := verify(t, resolver{}, s.chain(1)); e.Result != Fail || !errors.Is(e.Err, dkim.ErrNoRecord) {
		t.Errorf("without key: got %+v", e)
	}
	msg := strings.Repeat("X:\r\n", 1_000_000)
	if _, err := Verify(t.Context(), down{}, strings.NewReader(msg), int64(len(msg)), Options{}); !errors.Is(err, dkim.ErrHeader) {
		t.Errorf("a million header lines: got error %v", err)
	}
}

// FuzzVerify checks that a chain only passes if it is complete.
func FuzzVerify(f *testing.F) {
	s := newSealer(f)
	f.Add(s.chain(2))
	f.Add("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.example; s=y; b=AAAA\r\nARC-Authentication-Results:i=1;\r\n\r\n")
	r := s.resolver()
	f.Fuzz(func(t *testing.T, msg string) {
		e, err := Verify(context.Background(), r, strings.NewReader(msg), int64(len(msg)), Options{Now: now()})
		if err != nil {
			return
		}
		if (e.Result == Fail) != (e.Err != nil) || (e.Result == None) != (len(e.Sets) == 0 && e.Err == nil) || len(e.Sets) > setsMax {
			t.Fatalf("%q: got %+v", msg, e)
		}
		for _, set := range e.Sets {
			if e.Result == Pass && (set.seal == nil || set.message == nil || set.SealErr != nil) {
				t.Fatalf("%q: got %+v", msg, e)
			}
		}
	})
}
