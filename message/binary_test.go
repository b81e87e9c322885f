package message

import (
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// fullPart has each field set.
func fullPart() Part {
	return Part{
		BodyOffset: 10, EndOffset: 1000, Lines: 3, Type: "MULTIPART", Subtype: "MIXED", NUL: true,
		Params: []Param{{"A", "b"}, {"", ""}}, ID: "id", Description: "d", Encoding: "8BIT", MD5: "m",
		Disposition: "INLINE", DispositionParams: []Param{{"C", "d"}}, Language: []string{"en", ""}, Location: "l",
		Envelope: &Envelope{Date: "d", Subject: "s", InReplyTo: "i", MessageID: "m",
			From: []Address{{"n", "a", "m", "h"}}, Sender: []Address{{}}, ReplyTo: []Address{{Mailbox: "g"}}, To: []Address{{}, {}}, Cc: []Address{{}}, Bcc: []Address{{}}},
		Parts: []Part{
			{HeaderOffset: 20, BodyOffset: 30, EndOffset: 40, Type: "TEXT", Subtype: "PLAIN"},
			{HeaderOffset: 40, BodyOffset: 50, EndOffset: 60, Type: "MESSAGE", Subtype: "RFC822",
				Message: &Part{HeaderOffset: 50, BodyOffset: 55, EndOffset: 60, Type: "TEXT", Subtype: "X", Envelope: &Envelope{}}},
		},
	}
}

func TestBinary(t *testing.T) {
	t.Parallel()
	for _, want := range []Part{{}, fullPart()} {
		b := want.AppendBinary([]byte("x"))[1:]
		if got := HasNUL(b); got != want.NUL {
			t.Errorf("HasNUL is %v", got)
		}
		got, err := ParsePart(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		for i := range b {
			if _, err := ParsePart(b[:i]); !errors.Is(err, ErrStructure) {
				t.Errorf("cut at %d: got error %v", i, err)
			}
		}
		if _, err := ParsePart(append(b, 0)); !errors.Is(err, ErrStructure) {
			t.Errorf("with a byte more: got error %v", err)
		}
		b[0]++
		if _, err := ParsePart(b); !errors.Is(err, ErrStructure) {
			t.Errorf("newer version: got error %v", err)
		}
	}
}

// TestBinaryHostile checks structures that Parse does not make.
func TestBinaryHostile(t *testing.T) {
	t.Parallel()
	overlap := fullPart()
	overlap.Parts[1].HeaderOffset = 39
	outside := fullPart()
	outside.EndOffset = 59
	before := fullPart()
	before.Parts[1].Message.HeaderOffset = 45
	backward := Part{HeaderOffset: 10, BodyOffset: 5, EndOffset: 20}
	var deep *Part
	for range depthMax + 2 {
		deep = &Part{Type: "MESSAGE", Subtype: "RFC822", Message: deep}
	}
	many := Part{Parts: make([]Part, partsMax)}
	for name, p := range map[string]Part{
		"overlapping parts": overlap, "a part outside of its parent": outside, "a message outside of the body": before,
		"a body before its header": backward, "nested too deep": *deep, "too many parts": many,
	} {
		if _, err := ParsePart(p.AppendBinary(nil)); !errors.Is(err, ErrStructure) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

// TestBinaryMemory checks that counts in a small structure don't make a large one.
func TestBinaryMemory(t *testing.T) {
	// Not parallel: it measures allocation.
	var nested []byte
	nested = append(nested, binaryVersion)
	for range depthMax {
		// Flags hasParts; offsets; no type; as many parts as there is room for.
		nested = append(nested, hasParts&0x7f|0x80, hasParts>>7, 0, 0, 0, 0, 0, 0x80|9000&0x7f, 9000>>7)
	}
	nested = append(nested, strings.Repeat("\x00", 6*partsMax)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := ParsePart(nested); err == nil {
		t.Error("got no error")
	}
	runtime.ReadMemStats(&after)
	if alloc := after.TotalAlloc - before.TotalAlloc; alloc > 2*partCost*partsMax {
		t.Errorf("allocated %d bytes", alloc)
	}
}

// checkOffsets checks that parts are within their parents.
func checkOffsets(t *testing.T, p *Part, start, end int64) {
	t.Helper()
	if p.HeaderOffset < start || p.BodyOffset < p.HeaderOffset || p.EndOffset < p.BodyOffset || p.EndOffset > end {
		t.Fatalf("part [%d,%d,%d) is not within [%d,%d)", p.HeaderOffset, p.BodyOffset, p.EndOffset, start, end)
	}
	start = p.BodyOffset
	for i := range p.Parts {
		checkOffsets(t, &p.Parts[i], start, p.EndOffset)
		start = p.Parts[i].EndOffset
	}
	if p.Message != nil {
		checkOffsets(t, p.Message, p.BodyOffset, p.EndOffset)
	}
}

// FuzzParsePart checks that any Part has offsets in order, and round trips.
func FuzzParsePart(f *testing.F) {
	full := fullPart()
	f.Add(full.AppendBinary(nil))
	f.Add((&Part{}).AppendBinary(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePart(b)
		if err != nil {
			return
		}
		checkOffsets(t, &p, 0, 1<<62)
		again, err := ParsePart(p.AppendBinary(nil))
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("got %+v, %v, want %+v", again, err, p)
		}
	})
}

func BenchmarkParsePart(b *testing.B) {
	p, _ := parseString(string(benchmarkMessage()))
	data := p.AppendBinary(nil)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePart(data); err != nil {
			b.Fatal(err)
		}
	}
}
