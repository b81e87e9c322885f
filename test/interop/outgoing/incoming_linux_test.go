package outgoing

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mjl-/mox/test/interop/netns"
)

// testPostfixSends has Postfix send to a server of ours by DANE: it must verify us by
// records that are ours, and must not be content with those of others.
func (w *world) testPostfixSends(t *testing.T, s *server) {
	const from = "cron@postfix.test"
	for _, test := range []struct{ name, domain, established, status string }{
		{"records about our key", "verified", "Verified TLS connection established to mx.verified.test[", "sent (250 2.0.0 "},
		{"records about another key", "wrong", "", "deferred (Server certificate not "},
		{"records that can't be used", "unusable", "Untrusted TLS connection established to mx.unusable.test[", "sent (250 2.0.0 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			to := "alice@" + test.domain + ".test"
			msg := strings.ReplaceAll(s.newMail("from-postfix-"+test.domain, "X-Way: in\r\n"), s.address(), from)
			args := []string{"-C", filepath.Join(w.postfix, "etc"), "-i", "-f", from, to}
			netns.Command(t, []byte(strings.ReplaceAll(msg, "\r\n", "\n")), netns.Program(t, "sendmail"), args...)
			end := regexp.MustCompile(` to=<` + regexp.QuoteMeta(to) + `>, .*status=(.*)`)
			var m []string
			if !eventually(func() bool { m = end.FindStringSubmatch(w.postfixLog(t)); return m != nil }) {
				t.Fatal("Postfix does not say what became of it")
			}
			if !strings.HasPrefix(m[1], test.status) {
				t.Errorf("got status %s, want %s", m[1], test.status)
			}
			if !strings.Contains(w.postfixLog(t), test.established) {
				t.Errorf("the log of Postfix has no %q", test.established)
			}
			has := s.messages(t, "Message-ID: <from-postfix-"+test.domain+"@")
			if want := strings.HasPrefix(test.status, "sent"); len(has) > 1 || len(has) == 1 != want || want && !strings.Contains(has[0], " with ESMTPS ") {
				t.Errorf("alice has %q", has)
			}
		})
	}
}
