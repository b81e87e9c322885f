package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/mjl-/mox/config/live"
)

const printServiceHelp = `Print a unit for systemd that runs the server.

It starts as root, and the server gives that up, see "help serve". The unit names
this program, mox.conf, the data directory and the current directory as they are
now. Install it with:

	mox -config /path/to/mox.conf config printservice >/etc/systemd/system/mox.service
	systemctl daemon-reload
	systemctl enable --now mox

A server that never is root has, in place of CapabilityBoundingSet:

	User=mox
	AmbientCapabilities=CAP_NET_BIND_SERVICE
	CapabilityBoundingSet=CAP_NET_BIND_SERVICE

Configuration, data and TLS keys must then belong to that user, or be readable for
it. With a socket unit it needs no capability at all: CapabilityBoundingSet= there,
and in mox.socket, with the addresses of mox.conf:

	[Socket]
	ListenStream=192.0.2.1:25
	ListenStream=192.0.2.1:465
	ListenStream=192.0.2.1:993
	BindIPv6Only=ipv6-only

	[Install]
	WantedBy=sockets.target
`

// serviceUnit has names in braces for what differs.
const serviceUnit = `[Unit]
Description=mox mail server
Wants=network-online.target
After=network-online.target

[Service]
# Not simple: so systemd knows when the server can be connected to, and that a start
# that fails has failed. Messages come from the process that serves, which is not the
# one that systemd starts.
Type=notify
NotifyAccess=all
WatchdogSec=2min
WorkingDirectory={workdir}
ExecStart={mox} -config {config} serve
ExecReload={mox} -config {config} config reload
# SIGTERM stops in order; the first process passes it on.
KillMode=mixed
Restart=always
RestartSec=5s
LimitNOFILE=65535
UMask=007
SyslogFacility=mail
SyslogIdentifier=mox

# As root only sockets and keys are opened and owners corrected, see "mox help serve".
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_NET_BIND_SERVICE CAP_CHOWN CAP_FSETID CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths={configdir} {data}
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
# Not RestrictSUIDSGID: directories have the setgid bit, for the group of new files.

[Install]
WantedBy=multi-user.target
`

func runPrintService(_ context.Context, inv *invocation) error {
	if err := inv.parse(inv.flagSet(), 0); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return fmt.Errorf("there is no systemd on %s", runtime.GOOS)
	}
	c, err := live.Open(inv.config, live.Options{WithoutKeys: true})
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program: %w", err)
	}
	workdir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the current directory: %w", err)
	}
	conf, err := filepath.Abs(inv.config)
	if err != nil {
		return err
	}
	data, err := filepath.Abs(c.DataDir())
	if err != nil {
		return err
	}
	if _, err := os.Stat(data); errors.Is(err, fs.ErrNotExist) {
		inv.errorf("the data directory %s must be there before the unit is started: systemd lets only what is there be written to", data)
	}
	inv.printf("%s", formatUnit(program, workdir, conf, data))
	return nil
}

// formatUnit returns the unit for some paths.
func formatUnit(program, workdir, conf, data string) string {
	return strings.NewReplacer(
		"{mox}", quoteCommand(program), "{config}", quoteCommand(conf), "{configdir}", quoteUnit(filepath.Dir(conf)), "{data}", quoteUnit(data),
		"{workdir}", strings.ReplaceAll(workdir, "%", "%%"), // Which is not unquoted.
	).Replace(serviceUnit)
}

// quoteCommand quotes a word of a command line for a unit: variables are put in there.
func quoteCommand(word string) string { return strings.ReplaceAll(quoteUnit(word), "$", "$$") }

// quoteUnit quotes a path for a unit, systemd.syntax(7). There % has a meaning.
func quoteUnit(path string) string {
	if !strings.ContainsAny(path, " \t'\"\\;") {
		return strings.ReplaceAll(path, "%", "%%")
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(path) + `"`
}
