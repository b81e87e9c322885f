package imapserver

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/auth"
)

const endedBye = "* BYE this session was ended by the administrator"

// TestEndAccount ends the sessions of an account, whatever they are at, and none
// of another account.
func TestEndAccount(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		send string   // After login.
		want []string // Lines of the server after it, when the sessions are ended.
		took time.Duration
	}{
		{"between commands", "", []string{endedBye}, 0},
		{"with a mailbox selected", "a SELECT Inbox\r\n", []string{"a OK [READ-WRITE] selected", endedBye}, 0},
		{"in IDLE", "a IDLE\r\n", []string{"+ idling", endedBye}, 0},
		{"within a line", "a NOO", []string{endedBye}, 0},
		{"within a literal", "a APPEND Inbox {100}\r\nSubject", []string{"+ go ahead", endedBye}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t, nil)
				defer e.stop()
				e.start()
				c, other := newClient(t, e.dialLogin()), newClient(t, e.dial())
				other.line()
				other.ok("LOGIN other %s", password)
				if _, err := io.WriteString(c.nc, test.send); err != nil {
					t.Fatal(err)
				}
				var lines []string
				read := make(chan struct{})
				go func() {
					defer close(read)
					for {
						line, err := c.br.ReadString('\n')
						if err != nil {
							return
						}
						lines = append(lines, strings.TrimSuffix(line, "\r\n"))
					}
				}()
				synctest.Wait()
				start := time.Now()
				e.server.EndAccount("mox")
				<-read
				if !endsAs(lines, test.want) {
					t.Errorf("got %q, want at the end %q", lines, test.want)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				other.ok("NOOP")
				again := newClient(t, e.dialLogin())
				again.ok("NOOP")
				again.nc.Close()
				other.nc.Close()
			})
		})
	}
}

// endsAs tells whether lines have all of want in their order, and end with its
// last one.
func endsAs(lines, want []string) bool {
	for i, line := range lines {
		if len(want) > 0 && line == want[0] {
			want = want[1:]
		}
		if len(want) == 0 {
			return i == len(lines)-1
		}
	}
	return false
}

// TestEndAccountAborts ends a session whose client takes nothing of an answer:
// after the grace time its connection is closed.
func TestEndAccountAborts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		defer e.stop()
		e.start()
		nc := e.dialLogin()
		if _, err := io.WriteString(nc, "a NOOP\r\n"); err != nil { // Its answer is not read.
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		e.server.EndAccount("mox")
		if took := time.Since(start); took != e.server.opts.Grace {
			t.Errorf("took %v, want %v", took, e.server.opts.Grace)
		}
		if rest, err := io.ReadAll(nc); err != nil || len(rest) > 0 {
			t.Errorf("got %q, %v, want the connection closed", rest, err)
		}
	})
}

// during is an Authenticator that does something after it has looked at a
// password.
type during struct {
	Authenticator
	do func()
}

func (d during) Password(ctx context.Context, a auth.Attempt, user, pw string) (auth.Login, error) {
	login, err := d.Authenticator.Password(ctx, a, user, pw)
	d.do()
	return login, err
}

// TestEndAccountDuringLogin ends the sessions of an account while somebody logs in
// with what has just ceased to be the password.
func TestEndAccountDuringLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil)
		defer e.stop()
		accounts := []string{"mox", "other"}
		e.server.opts.Auth = during{e.auth, func() {
			e.server.EndAccount(accounts[0])
			accounts = accounts[1:]
		}}
		e.start()
		c := newClient(t, e.dial())
		defer func(nc net.Conn) { nc.Close() }(c.nc)
		c.line()
		if _, reply := c.command("LOGIN mox %s", password); reply != "NO [UNAVAILABLE] logins have changed, try again" {
			t.Errorf("got %s", reply)
		}
		c.ok("LOGIN mox %s", password) // Only others were ended.
	})
}
