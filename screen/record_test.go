package screen

import (
	"reflect"
	"strings"
	"testing"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	v := decideMessage(newMessage(dmarcFails, sealed("f.example"), history(DKIMDomain, true, "f.example", "nnn", 0), plain))
	r, err := ParseRecord(v.Record())
	want := Record{"accept", NoBadSignals, "nothing speaks against it", MethodNone, OverrideLocal, v.Steps}
	if err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestRecordBounds(t *testing.T) {
	t.Parallel()
	v := Verdict{Action: Accept, Reason: NoBadSignals, Explanation: strings.Repeat("é", 10000)}
	for range 1000 {
		v.Steps = append(v.Steps, Step{"name", strings.Repeat("é<", 1000), "effect"})
	}
	b := v.Record()
	r, err := ParseRecord(b)
	if len(b) > recordMax || err != nil || len(r.Steps) == 0 || r.Explanation != strings.Repeat("é", findingMax/2)+"…" {
		t.Errorf("%d bytes, %d steps, %v", len(b), len(r.Steps), err)
	}
}
