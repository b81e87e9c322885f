package imap

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUTF7(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, encoded, decoded string
		ok                     bool
	}{
		{"ASCII", "Archive/2026", "Archive/2026", true},
		{"ampersand", "A&-B", "A&B", true},
		{"the RFC's example", "~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語", true},
		{"outside of the basic plane", "&2D3eAA-", "😀", true},
		{"an umlaut", "Entw&APw-rfe", "Entwürfe", true},
		{"an umlaut and an ampersand", "&APw-&-", "ü&", true},
		{"no shift back, the RFC's example", "&Jjo!", "", false},
		{"a superfluous shift, the RFC's example", "&U,BTFw-&ZeVnLIqe-", "", false},
		{"printable ASCII shifted", "&AEE-", "", false},
		{"half a surrogate pair", "&2D0-", "", false},
		{"pair backwards", "&3gDYPQ-", "", false},
		{"an odd number of bytes", "&AA-", "", false},
		{"bits left over", "&APx-", "", false},
		{"8 bit", "ü", "", false},
		{"a control character", "a\x01", "", false},
	} {
		got, ok := DecodeUTF7(tc.encoded)
		if ok != tc.ok || got != tc.decoded {
			t.Errorf("%s: decoded to %q, %v", tc.name, got, ok)
		}
		// MUST 9051 A.1 #1: what is printable US-ASCII is never in base64
		// MUST 9051 A.1 #2: names end in US-ASCII
		if tc.ok {
			if got := string(AppendUTF7(nil, tc.decoded)); got != tc.encoded {
				t.Errorf("%s: encoded to %q, want %q", tc.name, got, tc.encoded)
			}
		}
	}
}

func TestMailbox(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text     string
		utf8, pedantic bool
		want           string
		ok             bool
	}{
		{"modified UTF-7", "&APw-", false, false, "ü", true},
		{"the same with UTF-8 enabled", "&APw-", true, false, "&APw-", true},
		{"UTF-8 enabled", `"ü"`, true, true, "ü", true},
		{"UTF-8 not enabled", `"ü"`, false, false, "ü", true},
		{"UTF-8 not enabled, pedantic", `"ü"`, false, true, "", false},
		{"an ampersand alone", "R&D", false, false, "R&D", true},
		{"an ampersand alone, pedantic", "R&D", false, true, "", false},
		{"Latin-1", "\"\xfc\"", false, false, "", false},
		{"as long as allowed", strings.Repeat("x", mailboxNameMax), false, false, strings.Repeat("x", mailboxNameMax), true},
		{"too long", strings.Repeat("x", mailboxNameMax+1), false, false, "", false},
	} {
		d := NewDecoder(tc.text)
		d.UTF8, d.Pedantic = tc.utf8, tc.pedantic
		got := d.Mailbox()
		if err := d.End(); (err == nil) != tc.ok || got != tc.want {
			t.Errorf("%s: got %q, %v", tc.name, got, err)
		}
	}
	d := NewDecoder(`a%/* "%"`)
	if a, _, b := d.ListMailbox(), d.TakeSP(), d.ListMailbox(); a != "a%/*" || b != "%" || d.End() != nil {
		t.Errorf("got %q, %q, %v", a, b, d.Err())
	}
	for name, want := range map[string]string{
		"Inbox": "INBOX", "Inbox/a b": `"INBOX/a b"`, "Inboxes": "Inboxes", "ü": "&APw-", "NIL": `"NIL"`, "R&D": "R&-D",
	} {
		if got := string(AppendMailbox(nil, name, false)); got != want {
			t.Errorf("%q written as %q, want %q", name, got, want)
		}
	}
}

// FuzzUTF7 checks that each name has one encoding, and each encoding one name.
func FuzzUTF7(f *testing.F) {
	f.Add("~peter/mail/&U,BTFw-/&ZeVnLIqe-")
	f.Add("😀&")
	f.Add("&Jjo!")
	f.Fuzz(func(t *testing.T, s string) {
		if name, ok := DecodeUTF7(s); ok {
			if again := string(AppendUTF7(nil, name)); again != s {
				t.Fatalf("%q decodes to %q, which encodes to %q", s, name, again)
			}
		}
		if !utf8.ValidString(s) {
			return
		}
		if name, ok := DecodeUTF7(string(AppendUTF7(nil, s))); !ok || name != s {
			t.Fatalf("%q encodes to %q, which decodes to %q, %v", s, AppendUTF7(nil, s), name, ok)
		}
	})
}
