package imapserver

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// baseCommands are those of RFC 3501, which no capability stands for.
const baseCommands = "CAPABILITY NOOP LOGOUT STARTTLS LOGIN AUTHENTICATE SELECT EXAMINE CREATE DELETE RENAME SUBSCRIBE UNSUBSCRIBE " +
	"LIST LSUB STATUS APPEND CHECK CLOSE EXPUNGE SEARCH FETCH STORE COPY UID-SEARCH UID-FETCH UID-STORE UID-COPY"

// TestCommandsHaveCapabilities checks that each command that an extension brought is
// switched off with it.
func TestCommandsHaveCapabilities(t *testing.T) {
	t.Parallel()
	base := strings.Fields(baseCommands)
	for _, name := range slices.Sorted(maps.Keys(commands())) {
		is := slices.Contains(base, strings.ReplaceAll(name, " ", "-"))
		// MUST 9051 6.5: a command of an extension has a capability
		if has := commandCapabilities[name] != ""; has == is {
			t.Errorf("%s: of RFC 3501: %v, has a capability: %v", name, is, has)
		}
	}
}
