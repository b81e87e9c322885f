package store

import "slices"

// touched are the messages of the selected mailbox whose flags changed, for a session
// that must look at each, whoever changed it and whatever Take is asked for.
type touched struct {
	on   bool
	uids []UID
	lost bool // More than pendingMax: any may have changed.
}

func (t *touched) note(uid UID) {
	switch {
	case !t.on || t.lost:
	case len(t.uids) == pendingMax:
		t.uids, t.lost = nil, true
	default:
		t.uids = append(t.uids, uid)
	}
}

// KeepTouched makes the watch keep which messages of the selected mailbox change
// their flags, for Touched, or forget them. It ends with the selection.
func (w *Watch) KeepTouched(on bool) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	if w.touched.on != on {
		w.touched = touched{on: on}
	}
}

// Touched returns the messages whose flags changed since the last call, ascending,
// those that the session changed itself among them. They may be gone. With all,
// there were too many to keep: any may have changed.
func (w *Watch) Touched() (uids []UID, all bool) {
	w.h.mu.Lock()
	uids, all = w.touched.uids, w.touched.lost
	w.touched.uids, w.touched.lost = nil, false
	w.h.mu.Unlock()
	slices.Sort(uids)
	return slices.Compact(uids), all
}

// Gone returns the messages that the session was told of, that are gone, and of
// which it was not told that: Take held it back. They are ascending.
func (w *Watch) Gone() []UID {
	s := w.selection
	if s == nil || s.holds == 0 {
		return nil
	}
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	if w.overflow {
		return difference(s.told, s.r.newest())
	}
	return w.going(s)
}
