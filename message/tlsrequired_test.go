package message

import (
	"strings"
	"testing"
)

func TestTLSNotRequired(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"TLS-Required: No\n":                    true,
		"tls-required: no\nTLS-Required: NO \n": true,
		"TLS-Required: No\nTLS-Required: Yes\n": false,
		"TLS-Required: \n":                      false,
		"From: a@b.example\n":                   false,
	} {
		if got := TLSNotRequired(NewHeader([]byte(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n"))); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
