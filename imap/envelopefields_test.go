package imap

import (
	"slices"
	"testing"

	"github.com/mjl-/mox/message"
)

// FuzzEnvelopeFields checks that what AppendEnvelope writes is read back field
// by field.
func FuzzEnvelopeFields(f *testing.F) {
	f.Add("subject", "Name \"x\" \\", "mailbox", "host", "<id@x>")
	f.Add("", "", "group", "", "")
	f.Add("ü {3}", "(", ")", "NIL", "")
	f.Fuzz(func(t *testing.T, subject, name, mailbox, host, id string) {
		a := message.Address{Name: name, Mailbox: mailbox, Host: host}
		e := &message.Envelope{Date: "d", Subject: subject, From: []message.Address{a, {Mailbox: "m", Host: "h"}}, Cc: []message.Address{a}, MessageID: id}
		env := AppendEnvelope(nil, e)
		// Characters that the grammar does not have are left out by AppendEnvelope.
		clean := func(s string) string {
			return string(slices.DeleteFunc([]byte(s), envLeftOut))
		}
		if s, ok := EnvelopeString(env, EnvelopeSubject); s != clean(subject) || ok != (subject != "") {
			t.Fatalf("%q: subject %q, %v", env, s, ok)
		}
		if s, _ := EnvelopeString(env, EnvelopeMessageID); s != clean(id) {
			t.Fatalf("%q: message-id %q", env, s)
		}
		from, cc := EnvelopeAddresses(env, EnvelopeFrom), EnvelopeAddresses(env, EnvelopeCc)
		if len(from) != 2 || len(cc) != 1 || from[0] != cc[0] || from[1] != (message.Address{Mailbox: "m", Host: "h"}) {
			t.Fatalf("%q: from %q, cc %q", env, from, cc)
		}
		if got := cc[0]; got.Name != clean(name) || got.Mailbox != clean(mailbox) || got.Host != clean(host) {
			t.Fatalf("%q: address %q", env, got)
		}
		if to := EnvelopeAddresses(env, EnvelopeTo); to != nil {
			t.Fatalf("%q: to %q", env, to)
		}
	})
}

// FuzzEnvelopeGarbage checks that bytes that are no envelope do no harm.
func FuzzEnvelopeGarbage(f *testing.F) {
	f.Add([]byte(`(NIL "a\" ((`))
	f.Add([]byte("({9}\r\nabc"))
	f.Add([]byte("((((((("))
	f.Fuzz(func(t *testing.T, env []byte) {
		for field := EnvelopeDate; field <= EnvelopeMessageID; field++ {
			if s, _ := EnvelopeString(env, field); len(s) > len(env) {
				t.Fatalf("%q: %q", env, s)
			}
			if list := EnvelopeAddresses(env, field); len(list) > len(env) {
				t.Fatalf("%q: %d addresses", env, len(list))
			}
		}
	})
}
