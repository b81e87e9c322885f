package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/queue"
)

// TestSuppressCommands lets a message fail, and does with its recipient what there is
// to do.
func TestSuppressCommands(t *testing.T) {
	t.Parallel()
	e := newCtlEnv(t, realSocket(t), ctlCalls)
	defer e.close()
	e.add(1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := e.queue.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = e.queue.Finish(ctx, w, []queue.Report{{ID: 1, Replied: "RCPT", Result: queue.Result{Code: 550, Enhanced: "5.1.1", Permanent: true, Error: "refused: 550 5.1.1 no \x1b[2J such user"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ command, want string }{
		{"queue suppress list", `Account  Address           Since                 Until                 Message  Reason
mox      1@remote.example  2000-01-01T00:00:00Z  2000-01-01T00:00:00Z  1        the address takes no mail: refused: 550 5.1.1 no  [2J such user
`},
		{"queue suppress add mox x@remote.example", "account mox sends no mail to x@remote.example any more\n"},
		{"queue suppress add -reason asked mox x@remote.example", "mox: the address is on the list already\nexit 1\n"},
		{"queue suppress lookup X+y@remote.example", `Account  Address           Since                 Until  Message  Reason
mox      x@remote.example  2000-01-01T00:00:00Z  -      manual   -
`},
		{"queue suppress lookup -account mox z@remote.example", "mox: account mox does not have z@remote.example on its list\nexit 1\n"},
		{"queue suppress lookup z@remote.example", "mox: no account has z@remote.example on its list\nexit 1\n"},
		{"queue suppress remove mox 1@remote.example", "account mox sends mail to 1@remote.example again\nit was on the list because: the address takes no mail: refused: 550 5.1.1 no  [2J such user\n"},
		{"queue suppress remove mox 1@remote.example", "mox: the address is not on the list\nexit 1\n"},
		{"queue suppress list -account mox -json", `[{"account":"mox","address":"x@remote.example","for":"x@remote.example","created":"2000-01-01T00:00:00Z","manual":true}]
`},
	} {
		if got := e.output(t, step.command); got != step.want {
			t.Errorf("%s: got\n%s\nwant\n%s", step.command, got, step.want)
		}
	}
	if code, _, stderr := e.run(t, "", "queue", "suppress", "add", "mox"); code != exitUsage || !strings.Contains(stderr, "usage") {
		t.Errorf("without address: exit %d, %s", code, stderr)
	}
}
