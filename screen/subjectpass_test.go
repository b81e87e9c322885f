package screen

import (
	"strings"
	"testing"
	"time"
)

func TestPass(t *testing.T) {
	t.Parallel()
	key, other := []byte("0123456789abcdef"), []byte("fedcba9876543210")
	made := time.Unix(1_800_000_000, 0)
	token := FormatPass(key, "ann@example.org", made)
	second := FormatPass(key, "bob@example.org", made)
	if len(token) != len("(pass:)")+22 {
		t.Fatalf("token is %q", token)
	}
	for _, tc := range []struct {
		name    string
		key     []byte
		from    string
		subject string
		now     time.Time
		want    bool
	}{
		{"at once", key, "ann@example.org", "hello " + token, made, true},
		{"at the end of the period", key, "ann@example.org", token, made.Add(time.Hour - 256*time.Second), true},
		{"too late", key, "ann@example.org", token, made.Add(time.Hour + time.Second), false},
		{"before it was made", key, "ann@example.org", token, made.Add(-time.Hour), false},
		{"in the middle, in a reply", key, "ann@example.org", "Re: hello " + token + " again", made, true},
		{"behind another", key, "ann@example.org", second + token, made, true},
		{"behind ten others", key, "ann@example.org", strings.Repeat(second, 10) + token, made, false},
		{"of another address", key, "ann@example.org", second, made, false},
		{"with another key", other, "ann@example.org", token, made, false},
		{"cut", key, "ann@example.org", strings.TrimSuffix(token, ")"), made, false},
		{"with a byte less", key, "ann@example.org", token[:len(token)-3] + ")", made, false},
		{"another version", key, "ann@example.org", "(pass:E" + token[len("(pass:A"):], made, false},
		{"none", key, "ann@example.org", "hello", made, false},
		{"not base64", key, "ann@example.org", "(pass:????)", made, false},
	} {
		if got := CheckPass(tc.key, tc.from, tc.subject, tc.now, time.Hour); got != tc.want {
			t.Errorf("%s: got %t", tc.name, got)
		}
	}
}

// FuzzCheckPass checks that no other text passes for a token.
func FuzzCheckPass(f *testing.F) {
	key, now := []byte("0123456789abcdef"), time.Unix(1_800_000_000, 0)
	token := FormatPass(key, "ann@example.org", now)
	for _, s := range []string{token, "x" + token, "(pass:)", "(pass:AAAA)", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := CheckPass(key, "ann@example.org", s, now, time.Hour); got && !strings.Contains(s, token) {
			t.Fatalf("%q passes", s)
		}
	})
}
