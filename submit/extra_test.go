package submit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/queue"
)

// TestExtra takes what webhooks are told out of headers.
func TestExtra(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, header, want, problem string }{
		{"none", "Subject: x\r\n", "map[]", ""},
		{"some", "x-mox-extra-order-id: 17\r\nX-Mox-Extra-Customer: =?utf-8?q?M=C3=B6we?=\r\n", "map[Customer:Möwe Order-Id:17]", ""},
		{"on two lines", "X-Mox-Extra-A: one\r\n two\r\n", "map[A:one two]", ""},
		{"no name", "X-Mox-Extra-: x\r\nX-Mox-Extra: x\r\n", "map[]", ""},
		{"empty", "X-Mox-Extra-A:\r\n", "map[A:]", ""},
		{"bytes", "X-Mox-Extra-A: \xff\r\n", "map[A:ÿ]", ""},
		{"twice", "X-Mox-Extra-A: x\r\nx-mox-extra-a: y\r\n", "", "more than one header field X-Mox-Extra-A"},
		{"as much as there can be", "X-Mox-Extra-A: " + strings.Repeat("x", queue.ExtraMax-1) + "\r\n", "map[A:" + strings.Repeat("x", queue.ExtraMax-1) + "]", ""},
		{"more", "X-Mox-Extra-A: " + strings.Repeat("x", queue.ExtraMax) + "\r\n", "", "more than 16384 bytes"},
	} {
		got, err := extraOf(message.NewHeader([]byte(test.header + "\r\n")))
		switch {
		case test.problem == "" && (err != nil || fmt.Sprint(got) != test.want):
			t.Errorf("%s: got %v, %v", test.name, got, err)
		case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem) || !strings.Contains(err.Error(), "554")):
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
