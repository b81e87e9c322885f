package smtpserver

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/dnstest"
	"github.com/mjl-/mox/internal/transcript"
	"github.com/mjl-/mox/smtp"
)

// TestTranscripts plays each testdata/*.txt against a server of its own, in a
// bubble where waiting takes no time. The setup line can have: pedantic,
// localserve, exempt, plain (no TLS), sizemax=bytes, quota=bytes, connections
// (one at a time), sleepersmax=n, extensions (all that are not announced yet),
// remote=address of the peer, dns (a zone is asked, see dnsZone), and alice=n, bob=n, mox=n for the messages each has at the end.
//
// For users there are: submission, implicit (TLS), plainlogin, crammd5, strict
// (limits on logins, from loopback too), free=bytes (on the disk of the queue), future=n for the recipients of a message of
// alice that waits for its release, and queued=n for what is in the queue at the end. Each account's password is "pässword", all that is random is 0, 1, 2, ….
func TestTranscripts(t *testing.T) {
	t.Parallel()
	for _, f := range transcript.Load(t, "testdata/*.txt") {
		t.Run(strings.TrimSuffix(filepath.Base(f.Name), ".txt"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, settingsOf(t, f.Setup))
				defer e.close()
				if n := f.Setup["future"]; n != "" {
					e.users.addFuture(n)
				}
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
		sizeMax: number("sizemax"), free: number("free"), quota: number("quota"), connectionsMax: number("connectionsmax"), sleepersMax: number("sleepersmax"),
		extensions: has("extensions"), remote: setup["remote"],
	}
	if has("dns") {
		set.resolver = newResolver(t)
	}
	if has("connections") {
		set.connections = &oneConnection{}
	}
	return set
}

// TestExtensionsQueued looks at what the queue has of a message whose sender asked
// for all that extensions offer.
func TestExtensionsQueued(t *testing.T) {
	t.Parallel()
	f := transcript.Load(t, "testdata/extensions.txt")[0]
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settingsOf(t, f.Setup))
		defer e.close()
		f.Play(t, e.dial)
		var got []string
		for _, m := range e.users.queued() {
			got = append(got, fmt.Sprintf("%s %s %q %q %s", m.Rcpt, m.Return, m.Notify, m.EnvelopeID, m.OriginalRcpt))
			if m.RequireTLS == nil || !*m.RequireTLS || m.FutureRelease != "until;2000-02-01T00:00:00Z" || !m.NextAttempt.Equal(time.Date(2000, 2, 1, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("%s: got %v, next attempt at %s", m.Rcpt, m.RequireTLS, m.NextAttempt)
			}
		}
		want := []string{`x@b.example HDRS "SUCCESS,FAILURE" "a b" rfc822;X+y@b.example`, `y@b.example HDRS "NEVER" "a b" rfc822;` + strings.Repeat("1234567890", 49) + "123", `z@b.example HDRS "" "a b" `}
		if !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}

// TestExtensionsByListener checks what a listener keeps back.
func TestExtensionsByListener(t *testing.T) {
	t.Parallel()
	all := smtp.Extensions{RequireTLS: true, FutureRelease: true, DSN: true}
	for _, tc := range []struct {
		name     string
		listener Listener
		want     smtp.Extensions
	}{
		{"for users", Listener{Submission: true}, all},
		{"for servers", Listener{}, smtp.Extensions{RequireTLS: true}},
		{"without REQUIRETLS", Listener{Submission: true, NoRequireTLS: true}, smtp.Extensions{FutureRelease: true, DSN: true}},
	} {
		s := session{server: &Server{opts: Options{Extensions: all}}, listener: tc.listener}
		if got := s.extensions(); got != tc.want {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
}

// dnsZone is what transcripts find in DNS.
const dnsZone = `
client.example.  A     192.0.2.25
b.example.       MX    10 client.example.
null.example.    MX    0 .
text.example.    TXT   "neither mail nor addresses"
`

func newResolver(t *testing.T) dns.Resolver {
	r, err := dnstest.New(dnsZone)
	if err != nil {
		t.Fatal(err)
	}
	r.Fail("", "broken.example", dnstest.Temporary)
	return r
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
