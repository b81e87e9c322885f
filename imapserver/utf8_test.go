package imapserver

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestHeaderWatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{"ASCII", "Subject: x\r\n\r\nbody\r\n", false},
		{"beyond ASCII in the body", "Subject: x\r\n\r\nb\xc3\xbc\r\n", false},
		{"in the header", "Subject: \xc3\xbc\r\n\r\nbody\r\n", true},
		{"in its last line, which has no body", "A: b\r\nSubject: x\xfc", true},
		{"alone in a line", "A: b\r\n\xfc\r\n\r\n", true},
		{"in a body after lines without CR", "A: b\n\n\xfc", false},
		{"in a body without a header", "\r\n\xfc", false},
	} {
		for _, r := range []io.Reader{strings.NewReader(tc.text), iotest.OneByteReader(strings.NewReader(tc.text))} {
			h := &headerWatch{r: r}
			got, err := io.ReadAll(h)
			if err != nil || string(got) != tc.text || h.high != tc.want {
				t.Errorf("%s: got %q, %v, %v", tc.name, got, h.high, err)
			}
		}
	}
}
