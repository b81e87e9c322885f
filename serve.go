package main

import (
	"context"
	"fmt"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/logfmt"
	"github.com/mjl-/mox/system"
)

const serveHelp = `Run the mail server.

It is configured by mox.conf and domains.conf, see the commands "config test" and
"config describe-static". Log lines go to stderr. The server stops in order at an
interrupt, at SIGTERM and at the command stop, and reads domains.conf, TLS keys
and certificates again at SIGHUP. The exit status is 0 if it stopped in order.

Started as root, it opens the sockets and the TLS keys, corrects the owners of the
configuration and the data directory (unless NoFixPermissions is set), and then
starts itself again as the User of mox.conf, without a way back. The first process
remains, to pass on signals and the exit status.

It also starts as another user, if it may listen on its ports. For ports below 1024
there are three ways to that:

  - Start as root, as above.
  - Give it the capability: AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of
    systemd, or "setcap cap_net_bind_service=+ep mox" on the program.
  - Have systemd open the sockets: list the addresses of mox.conf as ListenStream=
    with BindIPv6Only=ipv6-only in a socket unit. They are found by address.

A container needs no root either, if its ports are from 1024 on.

The service manager is told when the server is ready, reloads and stops, and that
it is alive (sd_notify). For a unit see "config printservice".
`

// exitStatus is the status of a process that has told why itself.
type exitStatus int

// Error returns the status.
func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func runServe(ctx context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 0); err != nil {
		return err
	}
	return inv.serve(ctx)
}

// logLevels returns the levels of a configuration, with what a flag says in place
// of its LogLevel.
func (inv *invocation) logLevels(c config.Static) (*logfmt.Levels, error) {
	levels, err := system.ConfigLevels(c)
	if err != nil || inv.loglevel == "" {
		return levels, err
	}
	level, err := logfmt.ParseLevel(inv.loglevel)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	levels.SetDefault(level)
	return levels, nil
}
