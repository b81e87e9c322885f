package config

import "regexp"

// JunkFlags is AutomaticJunkFlags of an account, ready to match. Names of mailboxes
// are matched in lower case.
type JunkFlags struct {
	Enabled                bool
	Junk, Neutral, NotJunk *regexp.Regexp // Nil if absent.
}

// JunkFlags returns how mail of an account is marked by its mailbox.
func (c *Config) JunkFlags(account string) JunkFlags { return c.junkFlags[account] }

// compileJunkFlags takes what was checked. Expressions that aren't any are absent,
// and problems of their own.
func compileJunkFlags(a AutomaticJunkFlags) JunkFlags {
	compile := func(text string) *regexp.Regexp {
		if text == "" {
			return nil
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil
		}
		return re
	}
	return JunkFlags{a.Enabled, compile(a.JunkMailboxRegexp), compile(a.NeutralMailboxRegexp), compile(a.NotJunkMailboxRegexp)}
}
