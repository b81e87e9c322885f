package screen

import (
	"testing"
	"time"

	"github.com/mjl-/mox/smtp"
)

func TestParseFailure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		localpart string
		want      Failure // Zero: none.
	}{
		{"temperror", Failure{StageData, 451, 0}},
		{"anything-temperror", Failure{StageData, 451, 0}},
		{"PermError", Failure{StageData, 550, 0}},
		{"timeout", Failure{StageData, 451, time.Hour}},
		{"x452", Failure{StageData, 452, 0}},
		{"599", Failure{StageData, 599, 0}},
		{"mailfrom550", Failure{StageMail, 550, 0}},
		{"mailfromtimeout", Failure{StageMail, 451, time.Hour}},
		{"rcptto-421", Failure{StageRcpt, 421, 0}},
		{"queuepermerror", Failure{StageQueue, 550, 0}},
		{"250", Failure{}},
		{"x1452", Failure{}},
		{"x45", Failure{}},
		{"600", Failure{}},
		{"", Failure{}},
		{"queue", Failure{}},
		{"temperror1", Failure{}},
		{"alice", Failure{}},
	} {
		if got, ok := ParseFailure(smtp.Localpart(tc.localpart)); got != tc.want || ok != (tc.want != Failure{}) {
			t.Errorf("%q: got %+v, %v, want %+v", tc.localpart, got, ok, tc.want)
		}
	}
}

// FuzzParseFailure checks that a failure has a stage, and a code that Decide
// refuses with.
func FuzzParseFailure(f *testing.F) {
	for _, s := range []string{"mailfromtemperror", "x452", "\u0130timeout", "queue599"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseFailure(smtp.Localpart(s))
		if !ok {
			if got != (Failure{}) {
				t.Fatalf("%q: got %+v for none", s, got)
			}
			return
		}
		v := Decide(Evidence{Recipient: Special, SpecialCode: got.Code})
		if got.Stage == StageNone || v.Action.Accepts() || v.Code != got.Code || v.Code < 400 || v.Code > 599 {
			t.Fatalf("%q: got %+v, decided as %+v", s, got, v)
		}
	})
}
