//go:build !linux && !darwin && !freebsd

package main

import (
	"errors"
	"net"
)

// ctlPerm is for the user of the server alone: the permission of the file is all
// that decides who may connect. On Windows that of the data directory does.
const ctlPerm = 0o600

// peerUID is not known on this system.
func peerUID(net.Conn) (int, error) { return -1, errors.ErrUnsupported }
