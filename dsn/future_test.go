package dsn

import (
	"strings"
	"testing"

	"github.com/mjl-/mox/message"
)

// TestFutureRelease has the request for a time of release in a notification, and
// reads it there.
func TestFutureRelease(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"", "for;3600", "until;2026-12-01T08:30:00Z"} {
		m := failed(t)
		m.FutureRelease = want
		text, err := m.Compose(false)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), "\r\nFuture-Release-Request: "+want+"\r\n"); got != (want != "") {
			t.Errorf("%q: got\n%s", want, text)
		}
		p, err := message.Parse(strings.NewReader(string(text)), int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := Parse(strings.NewReader(string(text)), &p)
		if err != nil || r.FutureRelease != want || r.Arrival.IsZero() {
			t.Errorf("%q: read as %+v, %v", want, r, err)
		}
	}
}
