package main

import (
	"bufio"
	"strings"
	"testing"
)

func TestPasswordLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, want, err string }{
		{"a line", "correct horse\n", "correct horse", ""},
		{"a line of Windows", "correct horse\r\n", "correct horse", ""},
		{"without an end", "correct horse", "correct horse", ""},
		{"spaces stay", "  correct horse \t\n", "  correct horse \t", ""},
		{"only the first", "correct horse\nbattery staple\n", "correct horse", ""},
		{"an empty line is for the server to refuse", "\n", "", ""},
		{"nothing", "", "", "no password on standard input"},
		{"the longest", strings.Repeat("x", passwordLineMax-1) + "\n", strings.Repeat("x", passwordLineMax-1), ""},
		{"a longer one", strings.Repeat("x", passwordLineMax) + "\n", "", "is no password"},
	} {
		got, err := passwordLine(bufio.NewReaderSize(strings.NewReader(test.text), passwordLineMax))
		if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got %q, %v, want %q, %q", test.name, got, err, test.want, test.err)
		}
	}
}
