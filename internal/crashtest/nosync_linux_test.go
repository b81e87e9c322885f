package crashtest

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropSyncs makes all calls that sync return success without doing anything, in
// all threads of the process. It shows that the tests would notice.
func dropSyncs() error {
	const (
		ret0   = unix.SECCOMP_RET_ERRNO // With errno 0: success.
		allow  = unix.SECCOMP_RET_ALLOW
		tsync  = 1  // SECCOMP_FILTER_FLAG_TSYNC
		offset = 0  // Of the number of the call in struct seccomp_data.
		load   = 32 // BPF_LD | BPF_W | BPF_ABS
		jeq    = 21 // BPF_JMP | BPF_JEQ | BPF_K
		ret    = 6  // BPF_RET | BPF_K
	)
	calls := []uint32{unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_SYNC_FILE_RANGE, unix.SYS_MSYNC, unix.SYS_SYNC}
	prog := []unix.SockFilter{{Code: load, K: offset}}
	for i, nr := range calls {
		prog = append(prog, unix.SockFilter{Code: jeq, Jt: uint8(len(calls) - i), K: nr})
	}
	prog = append(prog, unix.SockFilter{Code: ret, K: allow}, unix.SockFilter{Code: ret, K: ret0})

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up privileges: %w", err)
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, tsync, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return fmt.Errorf("filtering system calls: %w", errno)
	}
	return nil
}
