package queue

import "testing"

// TestBlame says whom replies are about. The spec of codes is in
// docs/decisions/0028.
func TestBlame(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		r    refusal
		want blame
	}{
		{"no such mailbox", refusal{550, "5.1.1", "RCPT"}, blameRecipient},
		{"no such mailbox, said after the message", refusal{550, "5.1.1", "DATA"}, blameRecipient},
		{"no such mailbox, in a notification", refusal{0, "5.1.1", ""}, blameRecipient},
		{"no such domain", refusal{550, "5.1.2", "RCPT"}, blameRecipient},
		{"malformed address", refusal{553, "5.1.3", "RCPT"}, blameRecipient},
		{"mailbox has moved", refusal{551, "5.1.6", "RCPT"}, blameRecipient},
		{"domain takes no mail", refusal{556, "5.1.10", "RCPT"}, blameRecipient},
		{"mailbox is disabled", refusal{550, "5.2.1", "RCPT"}, blameRecipient},
		{"old reply to RCPT", refusal{550, "5.0.0", "RCPT"}, blameRecipient},
		{"old reply to RCPT, without any code but its own", refusal{553, "", "RCPT"}, blameRecipient},
		{"what Exchange says of addresses it does not know", refusal{550, "5.4.1", "RCPT"}, blameRecipient},
		{"host takes no mail, said for a recipient", refusal{521, "5.0.0", "RCPT"}, blameRecipient},

		{"old reply to the message", refusal{550, "5.0.0", "DATA"}, blameUnclear},
		{"old reply to MAIL", refusal{550, "5.0.0", "MAIL"}, blameUnclear},
		{"greeting that sends us away", refusal{521, "5.0.0", "connect"}, blameUnclear},
		{"taken for spam", refusal{550, "5.7.1", "DATA"}, blameUnclear},
		{"refused by policy at RCPT", refusal{550, "5.7.1", "RCPT"}, blameUnclear},
		{"on a list", refusal{554, "5.7.1", "MAIL"}, blameUnclear},
		{"other failure", refusal{554, "5.0.0", "DATA"}, blameUnclear},
		{"mailbox is full for good", refusal{552, "5.2.2", "RCPT"}, blameUnclear},
		{"old code in a notification", refusal{550, "5.0.0", ""}, blameUnclear},
		{"routing loop", refusal{554, "5.4.6", "DATA"}, blameUnclear},

		{"a relay that knows there is no mailbox", refusal{550, "5.1.1", RepliedRelay}, blameRecipient},
		{"a relay that does not relay", refusal{550, "5.7.1", RepliedRelay}, blameNobody},
		{"a relay that does not relay, old reply", refusal{550, "5.0.0", RepliedRelay}, blameNobody},
		{"temporary", refusal{450, "4.1.1", "RCPT"}, blameNobody},
		{"given up by another server after days", refusal{0, "4.4.1", ""}, blameNobody},
		{"given up by another server, with a code for good", refusal{0, "5.4.7", ""}, blameNobody},
		{"message is too large", refusal{552, "5.3.4", "MAIL"}, blameNobody},
		{"message is too large, old reply", refusal{552, "5.0.0", "DATA"}, blameNobody},
		{"message is too large for the mailbox", refusal{552, "5.2.3", "DATA"}, blameNobody},
		{"message needs a conversion", refusal{550, "5.6.7", "DATA"}, blameNobody},
		{"sender's address is refused", refusal{550, "5.1.8", "RCPT"}, blameNobody},
		{"wants a login", refusal{530, "5.7.0", "MAIL"}, blameNobody},
		{"did not understand", refusal{501, "5.5.4", "RCPT"}, blameNobody},
	} {
		if got := tc.r.blame(); got != tc.want {
			t.Errorf("%s: got %d, want %d", tc.name, got, tc.want)
		}
	}
}

// FuzzBlame checks that no code is taken for certain without being permanent.
func FuzzBlame(f *testing.F) {
	f.Add(int64(550), "5.1.1", "RCPT")
	f.Add(int64(0), "", "")
	f.Fuzz(func(t *testing.T, code int64, enhanced, command string) {
		r := refusal{code, enhanced, command}
		if r.blame() != blameNobody && code != 0 && (code < 500 || code > 599) {
			t.Errorf("%+v is held against somebody", r)
		}
	})
}
