package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/smtp"
)

// TestDialTCP connects to a real socket, from the address that was asked for.
func TestDialTCP(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer ln.Close()
	for _, local := range []netip.Addr{{}, netip.MustParseAddr("127.0.0.1")} {
		conn, err := dialTCP(t.Context(), "tcp", ln.Addr().String(), local)
		check(t, err)
		if got := netip.MustParseAddrPort(conn.LocalAddr().String()).Addr().String(); got != "127.0.0.1" {
			t.Errorf("got a connection from %s", got)
		}
		check(t, conn.Close())
	}
	// An address of documentation is not one of this host.
	if conn, err := dialTCP(t.Context(), "tcp", ln.Addr().String(), netip.MustParseAddr("192.0.2.1")); err == nil {
		conn.Close()
		t.Error("connected from an address that is not ours")
	}
}

func TestConnectResult(t *testing.T) {
	t.Parallel()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		want string
	}{
		{"connected", t.Context(), nil, "ok"},
		{"our time is over", t.Context(), fmt.Errorf("dial: %w", context.DeadlineExceeded), "timeout"},
		{"the system's time is over", t.Context(), &net.OpError{Op: "dial", Err: timeoutError{}}, "timeout"},
		{"we stop", done, context.Canceled, "canceled"},
		{"refused", t.Context(), errors.New("connection refused"), "error"},
	} {
		if got := connectResult(test.ctx, test.err); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

type timeoutError struct{}

func (timeoutError) Error() string { return "timed out" }
func (timeoutError) Timeout() bool { return true }

// TestTrace checks that what is said on the wire is logged, if that is asked for,
// without the message.
func TestTrace(t *testing.T) {
	run(t, func(e *env) {
		e.oneHost(&peer{})
		e.Sender.log = slog.New(slog.NewTextHandler(logWriter{e}, &slog.HandlerOptions{Level: logfmt.LevelTrace}))
		e.send(newMessage("one@other.example"))
		e.wait()
		e.wantLog("msg=smtp", "prefix=LC", `line="MAIL FROM:<alice@example.org>`)
		e.wantLog("msg=smtp", "prefix=RC", `line="354 go ahead"`)
	})
}

func TestHandoverFailure(t *testing.T) {
	t.Parallel()
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	for _, test := range []struct {
		name   string
		ctx    context.Context
		err    error
		status string
		stop   bool
	}{
		{"it has the message", t.Context(), nil, "", false},
		{"it has the message, though we stop", stopped, nil, "", false},
		{"refused", t.Context(), smtp.Errorf(smtp.CodeMailboxPermanent, smtp.DetailBadMailbox, "no such user"), "5.1.1", false},
		{"refused, though we stop", stopped, smtp.Errorf(smtp.CodeMailboxPermanent, smtp.DetailBadMailbox, "no such user"), "5.1.1", false},
		{"not now", t.Context(), smtp.Errorf(smtp.CodeNoRoom, smtp.DetailMailboxFull, "full"), "4.2.2", false},
		{"trouble", t.Context(), errors.New("disk"), "4.3.0", false},
		{"we stop", stopped, context.Canceled, "4.3.2", true},
	} {
		f := handoverFailure(test.ctx, test.err)
		checkFailure(t, test.name, f, test.status, test.status != "" && test.status[0] == '5')
		if f != nil && (f.interrupted != test.stop || f.ours != (test.status == "4.3.0")) {
			t.Errorf("%s: got %+v", test.name, f)
		}
	}
}
