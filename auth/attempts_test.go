package auth

import (
	"context"
	"testing"
)

// TestRecordedWhenStopping shows that login attempts, and the use of a credential,
// that were just being written when the server stopped are not lost.
func TestRecordedWhenStopping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.Password(t.Context(), local, "anna@example.org", "correct horse"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	w.record(ctx)
	w.noteUsed(ctx)
	list, err := w.db.LoginAttempts(t.Context(), "anna", 0)
	if err != nil || len(list) != 1 {
		t.Errorf("got attempts %+v, %v, want one", list, err)
	}
	a, err := w.store.Account(t.Context(), "anna")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	credentials, err := a.Credentials(t.Context())
	if err != nil || len(credentials) != 1 || credentials[0].LastUsed.IsZero() {
		t.Errorf("got credentials %+v, %v, want that the use is noted", credentials, err)
	}
}
