package main

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// ctlPerm lets the group connect, as far as peerUID then allows.
const ctlPerm = 0o660

// peerUID returns the user at the other end of a unix socket.
func peerUID(conn net.Conn) (int, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return -1, errors.New("not a unix socket")
	}
	rc, err := uc.SyscallConn()
	if err != nil {
		return -1, fmt.Errorf("looking for the peer's user: %w", err)
	}
	var cred *unix.Ucred
	var cerr error
	err = rc.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, cerr); err != nil {
		return -1, fmt.Errorf("looking for the peer's user: %w", err)
	}
	return int(cred.Uid), nil
}
