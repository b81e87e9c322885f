package smtpserver

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
)

// TestGoSMTP has another implementation's client send mail to us.
func TestGoSMTP(t *testing.T) {
	t.Parallel()
	e := newEnv(t, settings{exempt: true})
	dial, stop := listen(t, e)
	plain := gosmtp.NewClient(dial())
	secure, err := gosmtp.NewClientStartTLS(dial(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*gosmtp.Client{plain, secure} {
		if err := c.Hello("client.example"); err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8", "SIZE", "LIMITS"} {
			if ok, _ := c.Extension(ext); !ok {
				t.Errorf("no %s", ext)
			}
		}
		if err := c.SendMail("a@b.example", []string{"alice@example.org", "bob@example.org"}, strings.NewReader("Subject: x\r\n\r\n.\r\n..\r\n")); err != nil {
			t.Fatal(err)
		}
		if err := c.Mail("ä@b.example", &gosmtp.MailOptions{UTF8: true, Body: gosmtp.Body8BitMIME, Size: 100}); err != nil {
			t.Fatal(err)
		}
		err := c.Rcpt("nobody@example.org", nil)
		if se, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || se.Code != 550 || se.EnhancedCode != (gosmtp.EnhancedCode{5, 1, 1}) {
			t.Errorf("got %v", err)
		}
		if err := c.Reset(); err != nil {
			t.Fatal(err)
		}
		if err := c.Quit(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
	for _, account := range []string{"alice", "bob"} {
		if got := e.messages(account); len(got) != 2 || got[0] != "Subject: x\r\n\r\n.\r\n..\r\n" {
			t.Errorf("%s has %q", account, got)
		}
	}
	stop()
	e.close()
}
