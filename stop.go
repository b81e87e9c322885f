package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mjl-/mox/admin"
)

const stopHelp = `Stop the server in order, and wait until it is gone.

Connections get some seconds to end what they do. When the command is done, the
data directory is free for another server.

	-json  print what happens as lines of JSON
`

// stopTimeMax bounds the wait for the server to be gone. One with much to write
// takes a while, one that hangs has to be killed.
const stopTimeMax = 5 * time.Minute

func runStop(ctx context.Context, inv *invocation) error {
	flags := inv.flagSet()
	asJSON := flags.Bool("json", false, "")
	if err := inv.parse(flags, 0); err != nil {
		return err
	}
	c, err := inv.ctl()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeMax)
	defer cancel()
	err = ctlCallStream(ctx, c, "stop", admin.Nothing{}, func(f ctlFrame) error {
		return inv.print(*asJSON, f, func() {
			if f.Note != nil {
				inv.printNote(*f.Note)
			} else {
				inv.printf("stopped\n")
			}
		})
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the server has not stopped within %v", stopTimeMax)
	}
	return err
}
