package crashtest

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Instructions of classic BPF, as seccomp(2) takes them.
const (
	bpfLoad  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfRet   = unix.BPF_RET | unix.BPF_K

	offsetCall = 0  // Of the number of the call in struct seccomp_data.
	offsetArg0 = 16 // Of the lower half of its first argument, little-endian.
)

var syncCalls = map[string]uint32{"fsync": unix.SYS_FSYNC, "fdatasync": unix.SYS_FDATASYNC, "syncfs": unix.SYS_SYNCFS}

// dropSyncs makes calls that sync return success without doing anything, in all
// threads of the process: for some files only, unless fds is empty.
func dropSyncs(names []string, fds []uint32) error {
	_, err := filterSyncs(names, fds, unix.SECCOMP_RET_ERRNO, 0) // With errno 0: success.
	return err
}

// filterSyncs has the kernel do something else in place of calls that sync.
func filterSyncs(names []string, fds []uint32, action uint32, flags uintptr) (fd uintptr, err error) {
	filters := make([]unix.SockFilter, 0, 64)
	for _, name := range names {
		nr, ok := syncCalls[name]
		if !ok {
			return 0, fmt.Errorf("no call %q", name)
		}
		then := []unix.SockFilter{{Code: bpfRet, K: action}}
		if len(fds) > 0 {
			then = []unix.SockFilter{{Code: bpfLoad, K: offsetArg0}}
			for _, fd := range fds {
				then = append(then, unix.SockFilter{Code: bpfEqual, Jf: 1, K: fd}, unix.SockFilter{Code: bpfRet, K: action})
			}
		}
		filters = append(filters, unix.SockFilter{Code: bpfLoad, K: offsetCall}, unix.SockFilter{Code: bpfEqual, Jf: uint8(len(then)), K: nr})
		filters = append(filters, then...)
	}
	filters = append(filters, unix.SockFilter{Code: bpfRet, K: unix.SECCOMP_RET_ALLOW})

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("giving up privileges: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC|flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filters)
	if errno != 0 {
		return 0, fmt.Errorf("filtering system calls: %w", errno)
	}
	return fd, nil
}

// notification is struct seccomp_notif, and answer struct seccomp_notif_resp.
type notification struct {
	id         uint64
	pid, flags uint32
	call       int32
	arch       uint32
	pointer    uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	value int64
	err   int32
	flags uint32
}

const (
	notifyReceive = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifySend    = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
)

// holdSecondSync makes the second fdatasync of each of some files wait for ever.
// bolt's first of a commit is for its pages, the second for what makes it the
// current one: it is shown then, and not yet on disk.
func holdSecondSync(fds []uint32, reached func()) error {
	fd, err := filterSyncs([]string{"fdatasync"}, fds, unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH)
	if err != nil {
		return err
	}
	go func() {
		synced := map[uint64]int{}
		for {
			var n notification
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, notifyReceive, uintptr(unsafe.Pointer(&n))); errno != 0 {
				continue
			}
			if synced[n.args[0]]++; synced[n.args[0]] >= 2 {
				reached()
				continue
			}
			a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, notifySend, uintptr(unsafe.Pointer(&a)))
		}
	}()
	return nil
}
