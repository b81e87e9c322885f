package main

import (
	"context"
	"maps"
	"slices"

	"github.com/mjl-/mox/admin"
)

const loglevelsHelp = `Print or change the levels from which the server logs lines.

Without arguments, prints the level of each package that has one of its own, and
that of all others ("default"). With a level, changes the default; with a level
and a package, that of the package; with an empty level ("") and a package, lets
it follow the default again. Changes last until the server stops; those in
mox.conf stay.

Levels are error, warn, info, debug, trace (what protocols say), traceauth (with
passwords) and tracedata (with messages).

	-json  print the levels as JSON
`

func runLoglevels(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	asJSON := flags.Bool("json", false, "")
	if err := parseFlags(flags, inv.args); err != nil {
		return err
	}
	name, req := "logLevels", any(admin.Nothing{})
	switch args := flags.Args(); len(args) {
	case 0:
	case 1:
		name, req = "setLogLevel", admin.SetLogLevelRequest{Level: args[0]}
	case 2:
		name, req = "setLogLevel", admin.SetLogLevelRequest{Level: args[0], Package: args[1]}
	default:
		return &usageError{}
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	levels, err := ctlCallPlain[admin.LogLevels](ctx, c, name, req)
	if err != nil {
		return err
	}
	return inv.print(*asJSON, levels, func() {
		inv.printf("%-12s %s\n", "default", levels.Default)
		for _, pkg := range slices.Sorted(maps.Keys(levels.Packages)) {
			inv.printf("%-12s %s\n", pkg, levels.Packages[pkg])
		}
	})
}
