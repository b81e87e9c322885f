package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mjl-/mox/admin"
)

const setAccountPasswordHelp = `Set the password of an account.

The password is a line on standard input. On a terminal it is asked for, twice,
and not shown. It needs 8 characters at least. From then on only the new one
works; connections that have logged in are ended.

	-json  print the result as JSON
`

// passwordLineMax bounds a line with a password, in bytes. The server has a lower
// limit, and says so.
const passwordLineMax = 4096

func runSetAccountPassword(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	asJSON := flags.Bool("json", false, "")
	if err := inv.parse(flags, 1); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	password, err := inv.readPassword(ctx)
	if err != nil {
		return err
	}
	req := admin.SetPasswordRequest{Account: inv.args[0], Password: password}
	res, err := ctlCallPlain[admin.SetPasswordResult](ctx, c, "setPassword", req)
	if err != nil {
		return err
	}
	return inv.print(*asJSON, res, func() { inv.printf("password of account %s set\n", res.Account) })
}

// readPassword reads a new password: a line, or on a terminal what was typed
// twice.
func (inv *invocation) readPassword(ctx context.Context) (string, error) {
	in := bufio.NewReaderSize(inv.stdin, passwordLineMax)
	f, ok := inv.stdin.(*os.File)
	if !ok || !isTerminal(f) {
		return passwordLine(in)
	}
	password, err := inv.askPassword(ctx, f, in, "new password: ")
	if err != nil {
		return "", err
	}
	again, err := inv.askPassword(ctx, f, in, "the same again: ")
	if err != nil {
		return "", err
	}
	if again != password {
		return "", errors.New("the passwords differ")
	}
	return password, nil
}

// askPassword asks on a terminal, which doesn't show what is typed, and returns
// early when ctx is done.
func (inv *invocation) askPassword(ctx context.Context, f *os.File, in *bufio.Reader, prompt string) (string, error) {
	restore, err := hideInput(f)
	if errors.Is(err, errors.ErrUnsupported) {
		inv.errorf("warning: the password will be visible")
		restore = func() error { return nil }
	} else if err != nil {
		return "", err
	}
	_, _ = fmt.Fprint(inv.stderr, prompt)
	type answer struct {
		line string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // After an interrupt it ends with the process: a read of a terminal can't be called off.
		line, err := passwordLine(in)
		answers <- answer{line, err}
	}()
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	_, _ = fmt.Fprintln(inv.stderr)
	return a.line, errors.Join(a.err, restore())
}

// passwordLine reads a line and returns it without its end.
func passwordLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", fmt.Errorf("a line of more than %d bytes is no password", passwordLineMax)
	case errors.Is(err, io.EOF) && len(line) > 0:
	case errors.Is(err, io.EOF):
		return "", errors.New("no password on standard input")
	case err != nil:
		return "", fmt.Errorf("reading password: %w", err)
	}
	line = bytes.TrimSuffix(line, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r"))), nil
}
