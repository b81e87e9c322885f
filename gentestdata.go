package main

import (
	"context"
	"log/slog"

	"github.com/mjl-/mox/internal/specimen"
	"github.com/mjl-/mox/logfmt"
)

const genTestDataHelp = `Make a directory with something of everything that mox stores.

The directory must not exist. It gets config/ and data/, with accounts, messages,
a queue and deliveries in the states in which a kill can leave them, so that
versions to come can be tested with what this one writes. With -loglevel, also
what goes wrong on purpose is logged.
`

func runGenTestData(ctx context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 1); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if inv.loglevel != "" {
		level, err := logfmt.ParseLevel(inv.loglevel)
		if err != nil {
			return &usageError{err.Error()}
		}
		log = slog.New(logfmt.New(inv.stderr, logfmt.NewLevels(level)))
	}
	return specimen.Make(ctx, inv.args[0], log)
}
