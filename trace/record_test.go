package trace

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/screen"
)

// encode returns the records of an event.
func encode(t testing.TB, e Event) []byte {
	t.Helper()
	var w encoder
	if err := w.add(&e); err != nil {
		t.Fatal(err)
	}
	return w.buf.Bytes()
}

// fill sets all fields of v to something that is not their zero value: texts to text,
// lists to n elements.
func fill(v reflect.Value, text string, n int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text, n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), text, n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), text, n)
		}
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(12345)
	default:
		panic("no value for " + v.Type().String())
	}
}

// TestRecord shows that a record has all of an event.
func TestRecord(t *testing.T) {
	t.Parallel()
	var full Event
	fill(reflect.ValueOf(&full).Elem(), "a <text> with \"all\" | of \u009b\x1b€😀 it\n", 2)
	for _, e := range []Event{{Kind: Gap, Missing: &Missing{Restart: true}}, attempted(1), received(1), full} {
		line := encode(t, e)
		if bytes.Count(line, []byte("\n")) != 1 || bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("more than a line: %q", line)
		}
		got, ok := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
		if !ok || !reflect.DeepEqual(got, e) {
			t.Errorf("%v: got %+v, want %+v", ok, got, e)
		}
		text, _ := checkRecord(bytes.TrimSuffix(line, []byte("\n")))
		if keys := recordKeys(text, nil); !slices.Equal(keys, e.appendKeys(nil)) {
			t.Errorf("keys: got %x, want %x", keys, e.appendKeys(nil))
		}
	}
}

// TestLargeEvents shows that records keep to their bound, and what stays of events that
// are larger.
func TestLargeEvents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		text string
		n    int
	}{{"long texts", strings.Repeat("x", 100<<10), 1}, {"long lists", "text", 1000}, {"both", strings.Repeat("\x01é", 1000), 100}} {
		var e Event
		fill(reflect.ValueOf(&e).Elem(), test.text, test.n)
		e.Kind = Attempted
		before, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		records := 0
		for line := range bytes.Lines(encode(t, e)) {
			records++
			got, ok := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
			if !ok || len(line) > recordMax+checkSize+10 || got.Kind != Attempted || got.Attempt == nil || got.Attempt.Number != 12345 || len(got.Rcpts) == 0 {
				t.Fatalf("%s: record of %d bytes, %v: %+v", test.name, len(line), ok, got)
			}
		}
		if want := (test.n + rcptsMax - 1) / rcptsMax; records != want {
			t.Errorf("%s: %d records, want %d", test.name, records, want)
		}
		if after, err := json.Marshal(e); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the event itself was changed", test.name)
		}
	}
}

// TestManyRecipients shows that each of many recipients is found.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), 8<<20)
	e := Event{Kind: Submitted, MessageID: "1", Submission: &Submission{}}
	for i := range int64(2500) {
		e.Rcpts = append(e.Rcpts, Rcpt{QueueID: i + 1})
	}
	l.Append(e)
	for _, id := range []int64{1, 100, 101, 2500} {
		f := checkFound(t, l, Query{ID: id}, "submitted")
		if len(f.Events) == 1 && len(f.Events[0].Rcpts) != rcptsMax {
			t.Errorf("%d recipients in a step", len(f.Events[0].Rcpts))
		}
	}
	if f, err := l.Lookup(t.Context(), Query{MessageID: "1"}); err != nil || len(f.Events) != 25 || len(Group(f.Events)) != 1 {
		t.Errorf("got %d events, %v", len(f.Events), err)
	}
}

// TestDamagedRecords shows that a line with any byte changed is none.
func TestDamagedRecords(t *testing.T) {
	t.Parallel()
	line := bytes.TrimSuffix(encode(t, attempted(1)), []byte("\n"))
	for i := range line {
		changed := slices.Clone(line)
		changed[i] ^= 1
		if _, ok := parseRecord(changed); ok {
			t.Errorf("byte %d may be anything", i)
		}
		if _, ok := parseRecord(line[:i]); ok {
			t.Errorf("cut at %d: still a record", i)
		}
	}
}

func TestClip(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 1000)
	if got := Clip(long); got != strings.Repeat("é", textMax/2)+"…" {
		t.Errorf("got %d bytes", len(got))
	}
	if got := Clip("short"); got != "short" {
		t.Errorf("got %q", got)
	}
}

func TestCID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]CID{"5f3a": 0x5f3a, "660D075107F1E": 0x660d075107f1e, "": 0, "0": 0, "-1": 0, "xyz": 0, "ffffffffffffffff": 0} {
		got, err := ParseCID(s)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %v, %v", s, got, err)
		}
	}
	if got := CID(0x5f3a).String(); got != "5f3a" {
		t.Errorf("got %q", got)
	}
}

// FuzzRecord checks that whatever is read as an event is the same when it is written
// and read again, and is found by its keys.
func FuzzRecord(f *testing.F) {
	var full Event
	fill(reflect.ValueOf(&full).Elem(), "text", 1)
	for _, e := range []Event{attempted(1), received(1), full, {}, {Kind: Judged, Verdict: &Verdict{Steps: []screen.Step{{Name: "x"}}}}} {
		text, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"time":"2026-11-21T12:00:00+01:00","cid":"-1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseRecord(b) // As a line it is damaged.
		scan(b)
		var e Event
		if json.Unmarshal(b, &e) != nil || e.Time.Year() < 1700 || e.Time.Year() > 2200 {
			return
		}
		var w encoder
		if err := w.add(&e); err != nil {
			return // As a time with an offset that RFC 3339 can't have.
		}
		s := scan(w.buf.Bytes())
		if s.damaged > 0 || s.size != int64(w.buf.Len()) || !slices.Equal(s.keys, w.keys) {
			t.Fatalf("got %+v of %q", s, w.buf.Bytes())
		}
		index := formatIndex(&s.segment, slices.Clone(s.keys))
		seg, keys, err := parseIndex(index)
		if err != nil || seg.size != s.size || !seg.first.Equal(s.first) || !seg.last.Equal(s.last) {
			t.Fatalf("index: %+v, %v, of %+v", seg, err, s.segment)
		}
		for _, k := range s.keys {
			if !keys.has(k) {
				t.Fatalf("index has no key %x", k)
			}
		}
		for line := range bytes.Lines(w.buf.Bytes()) {
			got, ok := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
			if !ok {
				t.Fatalf("no record: %q", line)
			}
			again := encode(t, got)
			if len(e.Rcpts) <= rcptsMax && !bytes.Equal(again, line) {
				t.Fatalf("written again it is another:\n%q\n%q", line, again)
			}
		}
	})
}

// FuzzIndex checks that what is read as an index is in order.
func FuzzIndex(f *testing.F) {
	s := segment{size: 100, first: time.Unix(1, 2), last: time.Unix(3, 4)}
	f.Add(formatIndex(&s, []key{5, 1, 5, 1 << 31}))
	f.Add(formatIndex(&segment{}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		seg, keys, err := parseIndex(b)
		if err != nil {
			return
		}
		keys.has(7)
		if seg.size < 0 || len(keys)%4 != 0 {
			t.Errorf("got %+v, %d bytes of keys", seg, len(keys))
		}
	})
}
