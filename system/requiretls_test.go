package system

import (
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"testing"
)

// TestRequireTLS shows where REQUIRETLS is offered: over TLS, unless the listener has it
// turned off.
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	path := writeConfig(t)
	for _, test := range []struct {
		name, text string
		want       bool
	}{
		{"as it is usual", static, true},
		{"turned off", strings.Replace(static, "\t\tSMTP:\n", "\t\tSMTP:\n\t\t\tNoRequireTLS: true\n", 1), false},
	} {
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := start(t, options(t, path))
		conn := r.startTLS(t, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
		if _, err := conn.Write([]byte("EHLO [127.0.0.1]\r\n")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096) // It comes in one piece.
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(buf[:n]), "-REQUIRETLS\r\n"); got != test.want {
			t.Errorf("%s: got %s", test.name, buf[:n])
		}
		if err := errors.Join(conn.Close(), r.stop()); err != nil {
			t.Error(err)
		}
	}
}
