package dnssec

import (
	"strings"
	"testing"
)

// TestSigned holds our resolver against unbound, which asks the servers of zones that
// were signed by the tools of others. Ours asks an unbound, or a named, that does
// not validate.
func TestSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := unbound{anchors: w.anchors, stubs: w.servers, question: "example."}.start(t)
	iterator := unbound{stubs: w.servers, question: "example."}.start(t)
	t.Run("by way of unbound", func(t *testing.T) {
		t.Parallel()
		counts := compare(t, newResolver(t, iterator, w.anchors), other, w.questions)
		t.Log(len(w.questions), counts)
	})
	t.Run("by way of named", func(t *testing.T) {
		t.Parallel()
		counts := compare(t, newResolver(t, namedForwarder(t, iterator), w.anchors), other, w.questions, namedException)
		t.Log(len(w.questions), counts)
	})
	t.Run("with replies that are forged", func(t *testing.T) {
		t.Parallel()
		testForged(t, w, iterator, other)
	})
}

// namedException is about answers that lack something.
var namedException = exception{
	"named leaves out the NSEC3 records of a zone with more iterations than it takes (RFC 9276, section 3.2), so that nothing tells us of them",
	func(q question, ours, theirs outcome) bool {
		return strings.HasSuffix(q.name, ".wild.fartoomany.example.") && ours.result == "bogus" && theirs.result == "insecure records"
	},
}
