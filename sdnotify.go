package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// watchdogMin bounds how often the service manager is told that the server is
// alive, whatever it asks for.
const watchdogMin = 10 * time.Millisecond

// notifier tells the service manager how the server is, by the protocol of
// sd_notify(3). It does nothing if nobody listens.
type notifier struct {
	conn     net.Conn      // Nil: nobody does.
	watchdog time.Duration // How often it wants to hear that the server is alive. Zero: never.
}

// newNotifier returns what tells the service manager that the environment names.
// It doesn't look whether WATCHDOG_PID is this process: as a rule it is the parent.
func newNotifier(getenv func(string) string) (*notifier, error) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return &notifier{}, nil
	}
	// A name that begins with @ is not that of a file; package net knows that.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		return nil, fmt.Errorf("connecting to the service manager at NOTIFY_SOCKET: %w", err)
	}
	n := &notifier{conn: conn}
	if text := getenv("WATCHDOG_USEC"); text != "" {
		usec, err := strconv.ParseInt(text, 10, 64)
		if err != nil || usec <= 0 || usec > int64(time.Duration(1<<63-1)/time.Microsecond) {
			n.close()
			return nil, fmt.Errorf("WATCHDOG_USEC %q is not a number of microseconds", text)
		}
		n.watchdog = max(watchdogMin, time.Duration(usec)*time.Microsecond/2)
	}
	return n, nil
}

func (n *notifier) close() {
	if n.conn != nil {
		_ = n.conn.Close() // Nothing is written later.
	}
}

// send tells assignments. That the service manager can't be told is no reason to
// stop.
func (n *notifier) send(log *slog.Logger, assignments ...string) {
	if n.conn == nil {
		return
	}
	if _, err := n.conn.Write([]byte(strings.Join(assignments, "\n"))); err != nil {
		log.Warn("telling the service manager", "err", err)
	}
}

// reloading tells that the configuration is being read again, and when that began.
func (n *notifier) reloading(log *slog.Logger) {
	if now, ok := monotonicTime(); ok {
		n.send(log, "RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Microseconds()))
	}
}

// keepAlive tells that the server is alive until ctx is done.
func (n *notifier) keepAlive(ctx context.Context, log *slog.Logger) {
	if n.watchdog == 0 {
		return
	}
	ticker := time.NewTicker(n.watchdog)
	defer ticker.Stop()
	for {
		n.send(log, "WATCHDOG=1")
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
