package smtp

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// all are all extensions.
var all = ParseOptions{Extensions: Extensions{RequireTLS: true, FutureRelease: true, DSN: true}}

func TestMailExtensions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, params string
		want         MailFrom
		code         int
	}{
		{"REQUIRETLS", "REQUIRETLS", MailFrom{RequireTLS: true}, 0},
		{"REQUIRETLS with a value", "REQUIRETLS=yes", MailFrom{}, 501},
		{"HOLDFOR", "HOLDFOR=3600", MailFrom{Hold: Hold{For: time.Hour}}, 0},
		{"HOLDFOR for one second", "HOLDFOR=1", MailFrom{Hold: Hold{For: time.Second}}, 0},
		{"HOLDFOR as long as may be", "HOLDFOR=5184000", MailFrom{Hold: Hold{For: HoldMax}}, 0},
		{"HOLDFOR longer than that", "HOLDFOR=5184001", MailFrom{}, 501},
		{"HOLDFOR without a value", "HOLDFOR", MailFrom{}, 501},
		{"HOLDFOR of nothing", "HOLDFOR=0", MailFrom{}, 501},
		{"HOLDFOR with a leading zero", "HOLDFOR=01", MailFrom{}, 501},
		{"HOLDFOR with a sign", "HOLDFOR=-1", MailFrom{}, 501},
		{"HOLDFOR with ten digits", "HOLDFOR=1000000000", MailFrom{}, 501},
		{"HOLDUNTIL", "HOLDUNTIL=2026-12-01T08:30:00Z", MailFrom{Hold: Hold{Until: time.Date(2026, 12, 1, 8, 30, 0, 0, time.UTC)}}, 0},
		{"HOLDUNTIL with parts of seconds", "HOLDUNTIL=2026-12-01t08:30:00.5z", MailFrom{Hold: Hold{Until: time.Date(2026, 12, 1, 8, 30, 0, 5e8, time.UTC)}}, 0},
		{"HOLDUNTIL with an offset of nothing", "HOLDUNTIL=2026-12-01T08:30:00+00:00", MailFrom{Hold: Hold{Until: time.Date(2026, 12, 1, 8, 30, 0, 0, time.UTC)}}, 0},
		{"HOLDUNTIL in another zone", "HOLDUNTIL=2026-12-01T08:30:00+01:00", MailFrom{}, 501},
		{"HOLDUNTIL that is no time", "HOLDUNTIL=tomorrow", MailFrom{}, 501},
		{"HOLDUNTIL in the year 1", "HOLDUNTIL=0001-01-01T00:00:00Z", MailFrom{}, 501},
		{"both", "HOLDFOR=1 HOLDUNTIL=2026-12-01T08:30:00Z", MailFrom{}, 501},
		{"both, the other way round", "HOLDUNTIL=2026-12-01T08:30:00Z HOLDFOR=1", MailFrom{}, 501},
		{"RET", "RET=full", MailFrom{DSN: MailDSN{Return: "FULL"}}, 0},
		{"RET of the header", "RET=HDRS", MailFrom{DSN: MailDSN{Return: "HDRS"}}, 0},
		{"RET of something else", "RET=BODY", MailFrom{}, 501},
		{"RET twice", "RET=FULL RET=FULL", MailFrom{}, 501},
		{"ENVID", "ENVID=QQ314159", MailFrom{DSN: MailDSN{EnvelopeID: "QQ314159"}}, 0},
		{"ENVID with encoded characters", "ENVID=a+20+2Bb+3D", MailFrom{DSN: MailDSN{EnvelopeID: "a +b="}}, 0},
		{"ENVID of the largest size", "ENVID=" + strings.Repeat("x", 100), MailFrom{DSN: MailDSN{EnvelopeID: strings.Repeat("x", 100)}}, 0},
		{"ENVID of one byte more", "ENVID=" + strings.Repeat("x", 101), MailFrom{}, 501},
		{"ENVID with a line end", "ENVID=a+0D+0A", MailFrom{}, 501},
		{"ENVID beyond ASCII", "ENVID=+C3+A9", MailFrom{}, 501},
		{"ENVID with bad xtext", "ENVID=a+2", MailFrom{}, 501},
		{"another extension", "BY=100;R", MailFrom{}, 555},
	} {
		tc.want.Size = -1
		if tc.code != 0 {
			tc.want = MailFrom{}
		}
		m, err := ParseMailFrom("FROM:<> "+tc.params, all)
		code := 0
		if e, ok := errors.AsType[*Error](err); ok {
			code = e.Code
		}
		if m != tc.want || code != tc.code {
			t.Errorf("%s: got %+v, %v", tc.name, m, err)
		}
		if _, err := ParseMailFrom("FROM:<> "+tc.params, ParseOptions{}); err == nil {
			t.Errorf("%s: accepted without the extension", tc.name)
		}
	}
}

func TestRcptExtensions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, params string
		want         RcptDSN
		code         int
	}{
		{"NOTIFY", "NOTIFY=never", RcptDSN{Notify: NotifyNever}, 0},
		{"NOTIFY of all", "NOTIFY=delay,Failure,SUCCESS", RcptDSN{Notify: "SUCCESS,FAILURE,DELAY"}, 0},
		{"NOTIFY of one", "NOTIFY=DELAY", RcptDSN{Notify: "DELAY"}, 0},
		{"NOTIFY never and sometimes", "NOTIFY=NEVER,DELAY", RcptDSN{}, 501},
		{"NOTIFY of one twice", "NOTIFY=DELAY,DELAY", RcptDSN{}, 501},
		{"NOTIFY with a comma at the end", "NOTIFY=DELAY,", RcptDSN{}, 501},
		{"NOTIFY without a value", "NOTIFY", RcptDSN{}, 501},
		{"NOTIFY of something else", "NOTIFY=READ", RcptDSN{}, 501},
		{"NOTIFY twice", "NOTIFY=DELAY NOTIFY=DELAY", RcptDSN{}, 501},
		{"ORCPT", "ORCPT=rfc822;Bob+2Bx@Example.ORG", RcptDSN{Original: "rfc822;Bob+x@Example.ORG"}, 0},
		{"ORCPT of another type", "ORCPT=x400;/C=no/S=+20", RcptDSN{}, 501}, // "=" is to be encoded.
		{"ORCPT with a space", "ORCPT=rfc822;a+20b", RcptDSN{Original: "rfc822;a b"}, 0},
		{"ORCPT in UTF-8", "ORCPT=utf-8;jürgen@bücher.example", RcptDSN{Original: "utf-8;jürgen@bücher.example"}, 0},
		{"ORCPT in UTF-8, as xtext", "ORCPT=utf-8;+C3+A9@x", RcptDSN{Original: "utf-8;é@x"}, 0},
		{"ORCPT beyond ASCII", "ORCPT=rfc822;jürgen@b", RcptDSN{}, 501},
		{"ORCPT in bad UTF-8", "ORCPT=utf-8;+C3@x", RcptDSN{}, 501},
		{"ORCPT with a control character of Unicode", "ORCPT=utf-8;+C2+85@x", RcptDSN{}, 501},
		{"ORCPT with a line end", "ORCPT=rfc822;a+0A", RcptDSN{}, 501},
		{"ORCPT without a type", "ORCPT=;a", RcptDSN{}, 501},
		{"ORCPT with a type that is none", "ORCPT=a@b;c", RcptDSN{}, 501},
		{"ORCPT without an address", "ORCPT=rfc822;", RcptDSN{}, 501},
		{"ORCPT of only an address", "ORCPT=a@b", RcptDSN{}, 501},
		{"ORCPT of the largest size", "ORCPT=rfc822;" + strings.Repeat("x", 493), RcptDSN{Original: "rfc822;" + strings.Repeat("x", 493)}, 0},
		{"ORCPT of one byte more", "ORCPT=rfc822;" + strings.Repeat("x", 494), RcptDSN{}, 501},
		{"both", "NOTIFY=NEVER ORCPT=rfc822;a@b", RcptDSN{NotifyNever, "rfc822;a@b"}, 0},
		{"another extension", "RRVS=x", RcptDSN{}, 555},
	} {
		r, err := ParseRcptTo("TO:<a@b.example> "+tc.params, all)
		code := 0
		if e, ok := errors.AsType[*Error](err); ok {
			code = e.Code
		}
		if r.DSN != tc.want || code != tc.code {
			t.Errorf("%s: got %+v, %v", tc.name, r, err)
		}
		if _, err := ParseRcptTo("TO:<a@b.example> "+tc.params, ParseOptions{}); err == nil {
			t.Errorf("%s: accepted without the extension", tc.name)
		}
	}
}

func TestNotify(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		notify                  Notify
		success, failure, delay bool
	}{
		{"", false, true, true},
		{NotifyNever, false, false, false},
		{"SUCCESS", true, false, false},
		{"FAILURE", false, true, false},
		{"SUCCESS,DELAY", true, false, true},
	} {
		if n := tc.notify; n.OnSuccess() != tc.success || n.OnFailure() != tc.failure || n.OnDelay() != tc.delay {
			t.Errorf("%q: got %t, %t, %t", n, n.OnSuccess(), n.OnFailure(), n.OnDelay())
		}
	}
}

// TestParams has what is passed on to the next server. Without UTF-8 it is ASCII.
func TestParams(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		mail MailDSN
		rcpt RcptDSN
		want string // Parameters of MAIL, "|", those of RCPT with UTF-8, "|", and without.
	}{
		{"nothing", MailDSN{}, RcptDSN{}, "||"},
		{"all", MailDSN{"HDRS", "a+b=c d"}, RcptDSN{NotifyNever, "rfc822;Bob+x@Example.ORG"},
			" RET=HDRS ENVID=a+2Bb+3Dc+20d| NOTIFY=NEVER ORCPT=rfc822;Bob+2Bx@Example.ORG| NOTIFY=NEVER ORCPT=rfc822;Bob+2Bx@Example.ORG"},
		{"another type", MailDSN{}, RcptDSN{Original: "x400;/C=no;/S= "}, "| ORCPT=x400;/C+3Dno;/S+3D+20| ORCPT=x400;/C+3Dno;/S+3D+20"},
		{"UTF-8", MailDSN{}, RcptDSN{Original: `UTF-8;é\x{E8}+ \@b`}, `| ORCPT=UTF-8;é\x{E8}\x{2B}\x{20}\x{5C}@b| ORCPT=UTF-8;\x{E9}\x{E8}\x{2B}\x{20}\x{5C}@b`},
		{"the largest that is passed on", MailDSN{}, RcptDSN{Original: "utf-8;" + strings.Repeat("é", 247)}, "| ORCPT=utf-8;" + strings.Repeat("é", 247) + "|"},
		{"what becomes too large", MailDSN{}, RcptDSN{Original: "rfc822;" + strings.Repeat("+", 165)}, "||"},
	} {
		if got := tc.mail.Params() + "|" + tc.rcpt.Params(true) + "|" + tc.rcpt.Params(false); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestHoldTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name string
		hold Hold
		want time.Duration // After now.
		code int
	}{
		{"for a time", Hold{For: time.Hour}, time.Hour, 0},
		{"until a time", Hold{Until: now.Add(time.Second)}, time.Second, 0},
		{"until the last moment", Hold{Until: now.Add(HoldMax)}, HoldMax, 0},
		{"a moment longer", Hold{Until: now.Add(HoldMax + 1)}, 0, 501},
		{"until now", Hold{Until: now}, 0, 554},
		{"until the past", Hold{Until: now.Add(-time.Hour)}, 0, 554},
	} {
		at, err := tc.hold.Time(now)
		code := 0
		if e, ok := errors.AsType[*Error](err); ok {
			code = e.Code
		}
		if code != tc.code || code == 0 && !at.Equal(now.Add(tc.want)) {
			t.Errorf("%s: got %v, %v", tc.name, at, err)
		}
	}
}

// FuzzExtensions checks that what is kept of parameters is bounded and can stand in
// a line of a notification, and that what is passed on is understood and says the
// same.
func FuzzExtensions(f *testing.F) {
	f.Add("REQUIRETLS HOLDFOR=10 RET=FULL ENVID=a+20b", "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b")
	f.Add("HOLDUNTIL=2026-12-01T08:30:00Z ENVID=+0A", "NOTIFY=NEVER ORCPT=utf-8;+C3+A9")
	f.Fuzz(func(t *testing.T, mail, rcpt string) {
		line := func(s string, max int) {
			if len(s) > max || !isText(s) {
				t.Fatalf("%q, %q: got %q", mail, rcpt, s)
			}
		}
		if m, err := ParseMailFrom("FROM:<> "+mail, all); err == nil {
			line(m.DSN.EnvelopeID, envelopeIDSizeMax)
			if again, err := ParseMailFrom("FROM:<>"+m.DSN.Params(), all); err != nil || again.DSN != m.DSN {
				t.Fatalf("%q: %q became %+v, %v", mail, m.DSN.Params(), again.DSN, err)
			}
			if m.Hold.For < 0 || m.Hold.For > HoldMax || m.Hold.For != 0 && !m.Hold.Until.IsZero() {
				t.Fatalf("%q: got %+v", mail, m.Hold)
			}
		}
		if r, err := ParseRcptTo("TO:<a@b.example> "+rcpt, all); err == nil {
			line(r.DSN.Original, originalSizeMax)
			if n, ok := ParseNotify(string(r.DSN.Notify)); r.DSN.Notify != "" && (!ok || n != r.DSN.Notify) {
				t.Fatalf("%q: got %q", rcpt, r.DSN.Notify)
			}
			for _, utf8 := range []bool{false, true} {
				params := r.DSN.Params(utf8)
				again, err := ParseRcptTo("TO:<a@b.example>"+params, all)
				if err != nil || again.DSN.Params(utf8) != params || again.DSN.Notify != r.DSN.Notify || !utf8 && !isASCII(params) {
					t.Fatalf("%q: %q became %+v, %v", rcpt, params, again.DSN, err)
				}
			}
		}
	})
}

func TestHoldString(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]Hold{
		"":                             {},
		"for;5184000":                  {For: HoldMax},
		"until;2026-12-01T08:30:00Z":   {Until: time.Date(2026, 12, 1, 8, 30, 0, 0, time.UTC)},
		"until;2026-12-01T08:30:00.5Z": {Until: time.Date(2026, 12, 1, 8, 30, 0, 5e8, time.UTC)},
	} {
		if got := h.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
