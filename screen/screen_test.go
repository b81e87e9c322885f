package screen

import (
	"fmt"
	"slices"
	"testing"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	full := &Refusal{550, "5.1.1", "moved away"}
	later := &Refusal{451, "4.3.0", "on holiday"}
	for _, tc := range []struct {
		name   string
		e      Evidence
		want   string // Code and enhanced code, or "ok".
		action Action
		reason Reason
	}{
		{"nothing is known", Evidence{}, "550 5.1.1", Refuse, UnknownUser},
		{"an address of an account", Evidence{Recipient: Known}, "ok", Accept, NoBadSignals},
		{"an alias", Evidence{Recipient: Alias}, "ok", Accept, ListMember},
		{"a catch-all", Evidence{Recipient: CatchAll}, "ok", Accept, TakenByCatchAll},
		{"a domain elsewhere", Evidence{Recipient: Foreign}, "550 5.1.1", Refuse, UnknownDomain},
		{"a disabled domain", Evidence{DomainDisabled: true}, "450 4.2.1", Defer, DisabledDomain},
		{"a test recipient for now", Evidence{Recipient: Special, SpecialCode: 451}, "451 4.0.0", Defer, TestRecipient},
		{"a test recipient for good", Evidence{Recipient: Special, SpecialCode: 550}, "550 5.0.0", Refuse, TestRecipient},
		{"a test recipient that fails later", Evidence{Recipient: Special}, "ok", Accept, NoBadSignals},
		{"an address that is refused for good", Evidence{Recipient: Known, Refusal: full}, "550 5.1.1", Refuse, Configured},
		{"an address that is refused for now", Evidence{Recipient: Known, Refusal: later}, "451 4.3.0", Defer, Configured},
		{"a notification for one", Evidence{Recipient: Known, NullSender: true}, "ok", Accept, NoBadSignals},
		{"a notification for two", Evidence{Recipient: Known, NullSender: true, OtherRcpts: 1}, "452 4.5.3", Defer, Backscatter},
		{"another recipient", Evidence{Recipient: Known, OtherRcpts: 1}, "ok", Accept, NoBadSignals},
		{"100 hops", Evidence{Recipient: Known, Received: 100}, "ok", Accept, NoBadSignals},
		{"101 hops", Evidence{Recipient: Known, Received: 101}, "550 5.4.6", Refuse, MailLoop},
		{"not a member", Evidence{Recipient: Alias, NotMember: true}, "550 5.7.2", Refuse, MembersOnly},
		{"a full account", Evidence{Recipient: Known, OverQuota: true}, "452 4.2.2", Defer, NoRoom},
		{"a busy network", Evidence{Recipient: Known, RateOver: true}, "452 4.2.2", Defer, HighRate},
		{"a loop to a full account is refused for good", Evidence{Recipient: Known, Received: 101, OverQuota: true}, "550 5.4.6", Refuse, MailLoop},
		{"an unknown address in a disabled domain is not told apart", Evidence{Recipient: Unknown, DomainDisabled: true}, "450 4.2.1", Defer, DisabledDomain},
	} {
		v := Decide(tc.e)
		got := "ok"
		if !v.Action.Accepts() {
			got = fmt.Sprintf("%d %s", v.Code, v.Enhanced)
		}
		if got != tc.want || v.Action != tc.action || v.Reason != tc.reason || v.Explanation == "" || (v.Text == "") != v.Action.Accepts() {
			t.Errorf("%s: got %+v", tc.name, v)
		}
		if !slices.Contains(Reasons(), v.Reason) {
			t.Errorf("%s: reason %s is not in the set", tc.name, v.Reason)
		}
	}
}

func TestUnknownWait(t *testing.T) {
	t.Parallel()
	if v := Decide(Evidence{}); v.Wait != 0 {
		t.Errorf("first unknown recipient waits %v", v.Wait)
	}
	if v := Decide(Evidence{UnknownsNow: 1}); v.Wait != UnknownWait {
		t.Errorf("second unknown recipient waits %v", v.Wait)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for a, want := range map[Action]string{Refuse: "refuse", Defer: "defer", Slow: "slow", Mailbox: "mailbox", Accept: "accept"} {
		if a.String() != want || a.Accepts() != (want == "slow" || want == "mailbox" || want == "accept") {
			t.Errorf("%d is %s", a, a)
		}
	}
	reasons := Reasons()
	slices.Sort(reasons)
	if len(slices.Compact(reasons)) != len(Reasons()) {
		t.Error("a reason is listed twice")
	}
}
