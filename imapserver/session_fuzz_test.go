package imapserver

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

// FuzzSession sends bytes to a session that is logged in and has a mailbox
// selected. Whatever they are, the session must end when its client is gone,
// without a panic, and what it says must be made of whole lines.
func FuzzSession(f *testing.F) {
	f.Add("a FETCH 1:* (FLAGS BODY[])\r\nb STORE 1 FLAGS (x)\r\nc SEARCH TEXT b\r\n")
	f.Add("a APPEND INBOX {3}\r\nabc\r\nb COPY * Archive\r\nc IDLE\r\nDONE\r\n")
	f.Add("a UID FETCH 1 (BINARY[1]<0.1> BODY[1.MIME])\r\nb LIST (SUBSCRIBED) \"\" {1+}\r\n*\r\n")
	f.Add("a ENABLE IMAP4rev2\r\nb SELECT Archive\r\nc CLOSE\r\nd UID SEARCH RETURN (SAVE ALL) $\r\n")
	f.Add("a ESEARCH IN (personal) RETURN (UPDATE COUNT) ALL\r\nb STORE 1 +FLAGS (\\Deleted)\r\nc EXPUNGE\r\nd CANCELUPDATE a\r\n")
	f.Add("a UID SORT RETURN (UPDATE (BODY[]) PARTIAL -1:-9 SAVE) (REVERSE DATE) UTF-8 ALL\r\nb APPEND INBOX {3+}\r\nabc\r\nc UID FETCH $ UID (PARTIAL 1:1)\r\n")
	f.Add("a SETMETADATA \"\" (/private/filters/values/a \"NOT FILTER a\")\r\nb SEARCH FILTER a\r\n")
	f.Add("a LOGOUT\r\n")
	f.Add("\x00{1000+}\r\n")
	f.Add("a UNAUTHENTICATE\r\nb LOGIN mox test1234\r\nc SELECT Archive\r\nd UNAUTHENTICATE\r\n")
	f.Add("a COMPRESS DEFLATE\r\n\x4a\x54\x08\xf5\x73\x0c\x0d\xf1\xf0\x0f\xf1\x74\x76\x0c\x71\xe5\xe5\x02\x00\x00\x00\xff\xffx")
	f.Add("a ENABLE UTF8=ACCEPT UIDONLY QRESYNC\r\nb APPEND INBOX UTF8 (~{3+}\r\nabc)\r\nc SEARCH CHARSET UTF-8 ALL\r\n")
	f.Add("UBSCRIbD) \"\"I{10}\r\n")
	e := newEnv(f, map[string]string{"inbox": "3"})
	e.start()
	f.Cleanup(e.stop)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToUpper(text), "CREATE") || strings.Contains(strings.ToUpper(text), "RENAME") {
			return // The account is shared, and would fill up.
		}
		nc := e.dialLogin()
		if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, answered := make(chan string), make(chan struct{})
		go func() {
			var all strings.Builder
			for r := bufio.NewReader(nc); ; {
				line, err := r.ReadString('\n')
				all.WriteString(line)
				if strings.HasPrefix(line, "s OK ") && strings.Count(all.String(), "\ns OK ") == 1 {
					close(answered)
				}
				if err != nil { // It ends with one, of the closed pipe.
					break
				}
			}
			got <- all.String()
		}()
		// The server may end the session before it has read all.
		_, _ = io.WriteString(nc, "s SELECT INBOX\r\n"+text+"\r\nx LOGOUT\r\n")
		select {
		case <-answered:
		case <-time.After(10 * time.Second):
			t.Fatalf("%q: no answer to SELECT", text)
		}
		done := time.AfterFunc(100*time.Millisecond, func() { _ = nc.Close() })
		all := <-got
		done.Stop()
		_ = nc.Close()
		if e.panics > 0 {
			t.Fatalf("panic after %q", text)
		}
		if !strings.HasPrefix(all, "* FLAGS (") {
			t.Fatalf("%q: got %q", text, all)
		}
	})
}
