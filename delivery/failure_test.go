package delivery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/mjl-/mox/smtpclient"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	reply := func(command string, code int, enhanced string, lines ...string) error {
		return &smtpclient.Reply{Command: command, Code: code, Enhanced: enhanced, Lines: lines}
	}
	for _, test := range []struct {
		name      string
		err       error
		status    string
		permanent bool
		elsewhere bool
		reply     string
	}{
		{"recipient refused", reply("RCPT", 550, "5.1.1", "no such user"), "5.1.1", true, false, "550 5.1.1 no such user"},
		{"recipient refused for now", reply("RCPT", 450, "4.2.1", "later"), "4.2.1", false, true, "450 4.2.1 later"},
		{"no enhanced code", reply("DATA", 554, "", "no"), "5.0.0", true, false, "554 no"},
		{"no enhanced code and no text", reply("MAIL", 451, ""), "4.0.0", false, true, "451"},
		{"several lines", reply("DATA", 550, "5.7.1", "one", "two"), "5.7.1", true, false, "550 5.7.1 one\ntwo"},
		{"a greeting is about the host", reply("", 521, "5.3.2", "takes no mail"), "5.3.2", true, true, "521 5.3.2 takes no mail"},
		{"and so is EHLO", reply("EHLO", 554, "", "who are you"), "5.0.0", true, true, "554 who are you"},
		{"a busy greeting", reply("", 421, "", "busy"), "4.0.0", false, true, "421 busy"},
		{"no TLS now", fmt.Errorf("%w: %w", smtpclient.ErrTLS, reply("STARTTLS", 454, "4.7.0", "not now")), "4.7.0", false, true, "454 4.7.0 not now"},
		{"no TLS at all, which anyone on the way can say", fmt.Errorf("%w: %w", smtpclient.ErrTLS, reply("STARTTLS", 554, "5.7.3", "no")), "4.7.3", false, true, "554 5.7.3 no"},
		{"too many recipients", &smtpclient.Reply{Command: "RCPT", Code: 552, TooMany: true}, "4.0.0", false, true, "552"},
		{"too large", fmt.Errorf("%w: 2, it takes 1", smtpclient.ErrSize), "5.3.4", true, true, ""},
		{"internationalised", smtpclient.ErrNoSMTPUTF8, "5.6.7", true, true, ""},
		{"TLS failed", smtpclient.ErrTLS, "4.7.5", false, true, ""},
		{"no TLS", smtpclient.ErrNoTLS, "4.7.5", false, true, ""},
		{"no SMTP", smtpclient.ErrProtocol, "4.5.0", false, true, ""},
		{"connection lost", fmt.Errorf("%w: reset", smtpclient.ErrLost), "4.4.2", false, true, ""},
		{"time over", context.DeadlineExceeded, "4.4.2", false, true, ""},
		{"content with a bare CR", fmt.Errorf("%w: CR without LF", smtpclient.ErrContent), "5.6.0", true, false, ""},
		{"content that can't be read", fmt.Errorf("%w: opening: %w", smtpclient.ErrContent, &fs.PathError{Op: "open", Err: fs.ErrPermission}), "4.3.0", false, false, ""},
		{"we stop", fmt.Errorf("%w: %w", errInterrupted, smtpclient.ErrLost), "4.3.2", false, false, ""},
		{"something else", errors.New("else"), "4.3.0", false, false, ""},
	} {
		f := classify("mx.example.org", test.err)
		if f.enhanced != test.status || f.permanent != test.permanent || f.elsewhere != test.elsewhere || f.reply != test.reply || f.text == "" || f.err == nil {
			t.Errorf("%s: got %+v, want %+v", test.name, f, test)
		}
		if f.interrupted != errors.Is(test.err, errInterrupted) {
			t.Errorf("%s: interrupted %v", test.name, f.interrupted)
		}
	}
}

func TestCombine(t *testing.T) {
	t.Parallel()
	refused := &failure{text: "refused", permanent: true, reply: "550"}
	later := &failure{text: "later", elsewhere: true, reply: "450"}
	unreachable := &failure{text: "unreachable", elsewhere: true}
	tooLarge := &failure{text: "too large", permanent: true, elsewhere: true}
	interrupted := &failure{text: "interrupted", interrupted: true}
	for _, test := range []struct {
		name               string
		before, next, want *failure
	}{
		{"the first", nil, later, later},
		{"what is final counts", later, refused, refused},
		{"a reply is better than no connection", later, unreachable, later},
		{"also if it comes second", unreachable, later, later},
		{"of two replies the last", later, &failure{reply: "451", elsewhere: true}, nil},
		{"permanent at one host, another may come back", tooLarge, unreachable, unreachable},
		{"the same the other way round", unreachable, tooLarge, unreachable},
		{"permanent at all hosts", tooLarge, &failure{permanent: true, elsewhere: true}, nil},
		{"we stop", later, interrupted, interrupted},
	} {
		want := test.want
		if want == nil {
			want = test.next
		}
		if got := combine(test.before, test.next); got != want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, want)
		}
	}
}
