package smtpserver

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mjl-/mox/internal/transcript"
)

// TestTranscripts plays each testdata/*.txt against a server of its own, in a
// bubble where waiting takes no time. The setup line can have: pedantic,
// localserve, exempt, plain (no TLS), sizemax=bytes, quota=bytes, connections
// (one at a time), and alice=n, bob=n, mox=n for the messages each has at the end.
//
// For users there are: submission, implicit (TLS), plainlogin, crammd5, strict
// (limits on logins, from loopback too), and queued=n for what is in the queue
// at the end. Each account's password is "pässword", all that is random is 0, 1, 2, ….
func TestTranscripts(t *testing.T) {
	t.Parallel()
	for _, f := range transcript.Load(t, "testdata/*.txt") {
		t.Run(strings.TrimSuffix(filepath.Base(f.Name), ".txt"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, settingsOf(t, f.Setup))
				defer e.close()
				f.Play(t, e.dial)
				for _, account := range []string{"alice", "bob", "mox"} {
					if want, ok := f.Setup[account]; ok && strconv.Itoa(len(e.messages(account))) != want {
						t.Errorf("%s has %d messages, want %s", account, len(e.messages(account)), want)
					}
				}
				if e.users != nil {
					if want, got := f.Setup["queued"], strconv.Itoa(len(e.users.queued())); got != want {
						t.Errorf("%s messages are in the queue, want %q", got, want)
					}
				}
			})
		})
	}
}

func settingsOf(t *testing.T, setup map[string]string) settings {
	has := func(name string) bool { _, ok := setup[name]; return ok }
	number := func(name string) int64 {
		if !has(name) {
			return 0
		}
		n, err := strconv.ParseInt(setup[name], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	set := settings{
		pedantic: has("pedantic"), localserve: has("localserve"), exempt: has("exempt"), plain: has("plain"),
		submission: has("submission"), implicit: has("implicit"), plainLogin: has("plainlogin"), cramMD5: has("crammd5"), requireTLS: has("requiretls"), strict: has("strict"),
		sizeMax: number("sizemax"), quota: number("quota"), connectionsMax: number("connectionsmax"),
	}
	if has("connections") {
		set.connections = &oneConnection{}
	}
	return set
}

// TestCommandsHaveTranscripts joins the table of commands with the transcripts.
func TestCommandsHaveTranscripts(t *testing.T) {
	t.Parallel()
	for name := range commands {
		files := transcript.Load(t, "testdata/"+strings.ToLower(name)+".txt")
		if !slices.Contains(files[0].Commands(), name) {
			t.Errorf("the transcript of %s does not use it", name)
		}
	}
}
