package smtp

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendReply(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		code     int
		enhanced string
		text     string
		want     string
	}{
		{"one line", 250, "2.0.0", "ok", "250 2.0.0 ok\r\n"},
		{"no enhanced code", 220, "", "mx ESMTP", "220 mx ESMTP\r\n"},
		{"several lines", 550, "5.1.1", "one\ntwo\nthree", "550-5.1.1 one\r\n550-5.1.1 two\r\n550 5.1.1 three\r\n"},
		{"no text", 250, "", "", "250 \r\n"},
		{"control characters", 500, "5.5.2", "a\rb\x00c\x7f\u0085\u2028d\xff", "500 5.5.2 a?b?c???" + "???d?\r\n"},
		{"UTF-8", 550, "", "é", "550 é\r\n"},
		{"a line of 510", 250, "", strings.Repeat("a", 506), "250 " + strings.Repeat("a", 506) + "\r\n"},
		{"a line of 511", 250, "", strings.Repeat("a", 507), "250-" + strings.Repeat("a", 506) + "\r\n250 a\r\n"},
		{"wrapped at a space", 250, "", strings.Repeat("a", 500) + " bbbbbbbbbb", "250-" + strings.Repeat("a", 500) + "\r\n250 bbbbbbbbbb\r\n"},
		{"wrapped before a line end", 250, "", strings.Repeat("a", 507) + "\nb", "250-" + strings.Repeat("a", 506) + "\r\n250-a\r\n250 b\r\n"},
		{"not within a character", 250, "", strings.Repeat("a", 505) + "éb", "250-" + strings.Repeat("a", 505) + "\r\n250 éb\r\n"},
	} {
		if got := string(AppendReply(nil, tc.code, tc.enhanced, tc.text)); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	e := Errorf(CodeLocalError, DetailSystem, "not now, %+q", "é")
	if e.Enhanced != "4.3.0" || e.Text != `not now, "\u00e9"` || !e.Temporary() || e.Error() != `451 4.3.0 not now, "\u00e9"` {
		t.Errorf("got %+v", e)
	}
	because := e.Because(cause).Closing()
	if !errors.Is(because, cause) || e.Err != nil || e.Close || !because.Close || !strings.HasSuffix(because.Error(), ": disk on fire") {
		t.Errorf("got %v, then %v", e, because)
	}
	if Errorf(CodeTooLarge, DetailMessageTooBig, "x").Temporary() {
		t.Error("552 is not temporary")
	}
}

// FuzzAppendReply checks that every line has the code and its limit, and that
// nothing in a text can look like another reply.
func FuzzAppendReply(f *testing.F) {
	f.Add("one\ntwo "+strings.Repeat("word ", 200), true)
	f.Add(strings.Repeat("é", 600)+"\r\n\r", false)
	f.Fuzz(func(t *testing.T, text string, withEnhanced bool) {
		prefix, enhanced := "550", ""
		if withEnhanced {
			enhanced = "5.7.1"
		}
		reply := string(AppendReply(nil, 550, enhanced, text))
		if !utf8.ValidString(reply) {
			t.Fatalf("not UTF-8: %q", reply)
		}
		lines := strings.Split(reply, "\r\n")
		if lines[len(lines)-1] != "" {
			t.Fatalf("no end: %q", reply)
		}
		lines = lines[:len(lines)-1]
		for i, line := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			want := prefix + sep
			if enhanced != "" {
				want += enhanced + " "
			}
			if !strings.HasPrefix(line, want) || len(line) > replyLineMax || strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("line %d: %q", i, line)
			}
		}
	})
}
