package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mjl-/mox/cid"
	"github.com/mjl-/mox/config/live"
	"github.com/mjl-/mox/system"
)

const cidHelp = `Find the connection id of a reply or Received header.

Replies that refuse something end with an opaque id in parentheses, and Received
headers have one too. This prints the connection id that is in it, as the log has
it in the attribute "cid". It needs the configuration, for the data directory with
the key.
`

func runCID(_ context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 1); err != nil {
		return err
	}
	c, err := live.Open(inv.config, live.Options{WithoutKeys: true})
	if err != nil {
		return err
	}
	path := filepath.Join(c.DataDir(), system.CIDKeyName)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading key: %w", err)
	}
	key, err := cid.ParseKey(text)
	if err != nil {
		return fmt.Errorf("reading key %s: %w", path, err)
	}
	id, err := key.Open(inv.args[0])
	if err != nil {
		return err
	}
	inv.printf("%s\n", cid.Format(id))
	return nil
}
