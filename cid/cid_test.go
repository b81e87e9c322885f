package cid

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func testKey(t *testing.T, b byte) Key {
	k, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{b}, 24)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealOpen(t *testing.T) {
	t.Parallel()
	k := testKey(t, 7)
	seen := map[string]bool{}
	for _, cid := range []int64{0, 1, -1, 1 << 62, 1700000000000000} {
		s := k.Seal(cid)
		if !regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`).MatchString(s) || seen[s] {
			t.Errorf("%d sealed as %q", cid, s)
		}
		seen[s] = true
		if got, err := k.Open(s); err != nil || got != cid {
			t.Errorf("%d opened as %d, %v", cid, got, err)
		}
		if _, err := testKey(t, 8).Open(s); !errors.Is(err, ErrOpaque) {
			t.Errorf("%d opened with another key: %v", cid, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	k := testKey(t, 7)
	s := k.Seal(1)
	for _, tc := range []struct{ name, in string }{
		{"nothing", ""},
		{"too short", s[1:]},
		{"too long", s + s},
		{"padded", s + "=="},
		{"not base64", strings.Repeat("!", 22)},
		{"another first character", string(s[0]^1) + s[1:]},
		{"unused bits set", s[:21] + string(rune(s[21]+1))},
	} {
		if cid, err := k.Open(tc.in); !errors.Is(err, ErrOpaque) {
			t.Errorf("%s: got %d, %v", tc.name, cid, err)
		}
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	k := testKey(t, 9)
	if again, err := ParseKey(k[:]); err != nil || again != k {
		t.Errorf("got %v, %v", again, err)
	}
	if _, err := ParseKey(k[:23]); err == nil {
		t.Error("short key accepted")
	}
	if _, err := NewKey(strings.NewReader("short")); err == nil {
		t.Error("made a key of 5 bytes")
	}
}

func TestCounter(t *testing.T) {
	t.Parallel()
	c := NewCounter(time.UnixMicro(1000))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				c.Next()
			}
		})
	}
	wg.Wait()
	if got := c.Next(); got != 1401 {
		t.Errorf("got %d", got)
	}
	if got := Format(255); got != "ff" {
		t.Errorf("got %q", got)
	}
}

// FuzzOpen checks that only what Seal returns is opened.
func FuzzOpen(f *testing.F) {
	var k Key
	f.Add(k.Seal(1))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if cid, err := k.Open(s); err == nil && k.Seal(cid) != s {
			t.Fatalf("%q opened as %d, sealed %q", s, cid, k.Seal(cid))
		}
	})
}
