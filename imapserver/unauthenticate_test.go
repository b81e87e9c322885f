package imapserver

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/auth"
)

// keptFields are the fields of a session that are not of a login: of the connection,
// of its TLS, of the command that runs, and what counts mistakes.
const keptFields = "server listener log raw cancel conn in out ip cid tls secure layer" +
	" level commands tag badCount failures ended afterReply lost began unread progressed"

// TestForgetLogin checks that nothing of a login is left after UNAUTHENTICATE (RFC
// 8437, section 4.1), whatever is added to a session: a field that is new has to be
// named above, or to be reset in forgetLogin.
func TestForgetLogin(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"inbox": "1", "off": "IDLE"})
	defer e.stop()
	s, _ := quietSession(t, e)
	s.began = e.server.sessions.Now()
	if err := s.enter(t.Context(), auth.Login{Account: "mox"}, "test"); err != nil {
		t.Fatal(err)
	}
	if !s.disabled("IDLE") {
		t.Error("IDLE is not switched off")
	}
	run := func(text string) {
		t.Helper()
		if _, _, resp := s.execute(t.Context(), text); resp.Type != "OK" {
			t.Fatalf("%s: %v", text, resp)
		}
	}
	run("a ENABLE IMAP4rev2 UTF8=ACCEPT QRESYNC UIDONLY")
	run("b SELECT INBOX")
	run("c UID SEARCH RETURN (SAVE) ALL")
	s.expunged, s.byNumber = true, true
	run("d UNAUTHENTICATE")
	if s.out.UTF8 || s.out.Off != nil || s.state() != notAuthenticated {
		t.Errorf("encoder %v, state %d", s.out, s.state())
	}
	fields := reflect.ValueOf(s).Elem()
	for i := range fields.NumField() {
		if name := fields.Type().Field(i).Name; !slices.Contains(strings.Fields(keptFields), name) && !fields.Field(i).IsZero() {
			t.Errorf("field %s is left", name)
		}
	}
	if ended, _ := e.server.sessions.End("mox", 0); ended != 0 {
		t.Errorf("%d sessions are still those of the account", ended)
	}
}
