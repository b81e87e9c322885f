package config

import "testing"

// TestJunkFlags reads what marks mail from a configuration.
func TestJunkFlags(t *testing.T) {
	t.Parallel()
	c, problems := check(Static{}, Dynamic{Accounts: map[string]Account{
		"ann": {AutomaticJunkFlags: AutomaticJunkFlags{Enabled: true, JunkMailboxRegexp: "^(junk|spam)", NeutralMailboxRegexp: "^("}},
		"bob": {},
	}}, nil, StaticName)
	if len(problems) == 0 {
		t.Error("an expression that is none is no problem")
	}
	if f := c.JunkFlags("ann"); !f.Enabled || f.Junk == nil || !f.Junk.MatchString("spam/old") || f.Junk.MatchString("no spam") || f.Neutral != nil || f.NotJunk != nil {
		t.Errorf("got %+v", f)
	}
	for _, account := range []string{"bob", "nobody"} {
		if f := c.JunkFlags(account); f != (JunkFlags{}) {
			t.Errorf("%s: got %+v", account, f)
		}
	}
}
