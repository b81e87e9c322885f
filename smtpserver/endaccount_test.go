package smtpserver

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/auth"
)

// TestEndAccount ends the sessions of an account, whatever they are at, and none
// of another account.
func TestEndAccount(t *testing.T) {
	t.Parallel()
	const bye = "421 4.7.0 this session was ended by the administrator (id)"
	for _, test := range []struct {
		name    string
		send    string // After login.
		replies []string
		took    time.Duration
	}{
		{"between commands", "", nil, 0},
		{"within a line", "NOO", nil, 0},
		{"within a transaction", "MAIL FROM:<alice@example.org>\r\n", []string{"250 "}, 0},
		{"within a message, that may still come to its end", "MAIL FROM:<alice@example.org>\r\nRCPT TO:<x@b.example>\r\nDATA\r\n", []string{"250 ", "250 ", "354 "}, graceDefault},
		{"asked again for credentials", "AUTH LOGIN\r\n", []string{"503 "}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEnv(t, settings{submission: true, plainLogin: true})
			defer e.close()
			c, other := newClient(t, e.dial("")), newClient(t, e.dial(""))
			for account, c := range map[string]*client{"alice": c, "bob": other} {
				c.want("220 ")
				c.login(account)
			}
			c.send(test.send)
			for _, want := range test.replies {
				c.want(want)
			}
			synctest.Wait()
			start := time.Now()
			ended := make(chan struct{})
			go func() {
				e.server.EndAccount("alice")
				close(ended)
			}()
			c.want(bye)
			c.wantEOF()
			<-ended
			if took := time.Since(start); took != test.took {
				t.Errorf("%s: took %v, want %v", test.name, took, test.took)
			}
			other.send("NOOP\r\n")
			other.want("250 ")
			again := newClient(t, e.dial(""))
			again.want("220 ")
			again.login("alice")
			again.conn.Close()
			other.conn.Close()
		})
	}
}

// TestEndAccountDuringLogin ends the sessions of an account while somebody logs in
// with what has just ceased to be the password.
func TestEndAccountDuringLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{submission: true, plainLogin: true})
		defer e.close()
		c := newClient(t, e.dial(""))
		c.want("220 ")
		c.send("EHLO client.example\r\n")
		c.want("250 ")
		c.send("AUTH LOGIN\r\n")
		c.want("334 ")
		e.server.EndAccount("bob") // Another is no matter.
		c.send("YWxpY2VAZXhhbXBsZS5vcmc=\r\n")
		c.want("334 ")
		e.server.EndAccount("alice")
		c.send("cMOkc3N3b3Jk\r\n")
		c.want("421 4.7.0 logins have changed, please try again (id)")
		c.wantEOF()
	})
}

// TestEndAccountByCertificate ends a session that has logged in by a client
// certificate and then once more with another address.
func TestEndAccountByCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, settings{submission: true, plainLogin: true})
		defer e.close()
		pipe, other := net.Pipe()
		defer pipe.Close()
		defer other.Close()
		s := &session{server: e.server, wire: newWire(pipe), log: e.server.log, cancel: func() {}}
		for _, byKey := range []bool{true, false} {
			s.byKey, s.authBegan = byKey, e.server.logins.Now()
			if err := s.loggedIn(t.Context(), auth.Login{Account: "alice"}, "test"); err != nil {
				t.Fatal(err)
			}
		}
		s.leave()
		if ended, left := e.server.logins.End("alice", time.Second); ended != 0 || left != 0 {
			t.Errorf("after it has left: ended %d sessions, %d left", ended, left)
		}
	})
}
