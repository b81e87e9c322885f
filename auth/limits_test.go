package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/sasl"
	"github.com/mjl-/mox/store"
)

func TestDelay(t *testing.T) {
	t.Parallel()
	for failed, want := range map[int64]time.Duration{0: 0, 3: 0, 4: time.Second, 9: 6 * time.Second} {
		if got := delay(failed); got != want {
			t.Errorf("after %d failures: got %v, want %v", failed, got, want)
		}
	}
}

// TestExchangeLimits shows that an exchange is not begun after too many failures,
// nor finished.
func TestExchangeLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		early, err := w.Begin(remote, plain, sasl.Plain)
		if err != nil {
			t.Fatal(err)
		}
		w.failures.Add(time.Now(), remote.RemoteIP, 10)
		if _, err := w.Begin(remote, plain, sasl.Plain); !errors.Is(err, ErrLimited) {
			t.Errorf("beginning: got %v, want ErrLimited", err)
		}
		if _, _, err := early.Next(t.Context(), []byte("\x00anna@example.org\x00correct horse")); !errors.Is(err, ErrLimited) {
			t.Errorf("finishing: got %v, want ErrLimited", err)
		}
	})
}

// TestPlaces fills the places for delayed logins from many networks: more are sent
// away at once, and not counted.
func TestPlaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range placesMax {
			a := remote
			a.RemoteIP = netip.AddrFrom4([4]byte{byte(i >> 8), byte(i), 1, 1})
			w.failures.Add(time.Now(), a.RemoteIP, delayAfter+1)
			go func() { _, _ = w.Password(t.Context(), a, "anna@example.org", "correct horse") }()
		}
		synctest.Wait()
		start := time.Now()
		if _, err := w.Password(t.Context(), remote, "anna@example.org", "correct horse"); !errors.Is(err, ErrBusy) || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want ErrBusy at once", err, time.Since(start))
		}
		e, err := w.Begin(remote, plain, sasl.SCRAM256)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.Next(t.Context(), []byte("n,,n=anna@example.org,r=x")); !errors.Is(err, ErrBusy) {
			t.Errorf("SCRAM: got %v, want ErrBusy", err)
		}
		if _, err := w.Password(t.Context(), local, "anna@example.org", "correct horse"); err != nil {
			t.Errorf("loopback: got %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := w.Password(t.Context(), remote, "anna@example.org", "correct horse"); err != nil {
			t.Errorf("later: got %v", err)
		}
	})
}

// TestLastUsed shows when the use of a credential is noted.
func TestLastUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		lastUsed := func() time.Time {
			t.Helper()
			w.noteUsed(t.Context())
			a, err := w.store.Account(t.Context(), "anna")
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			list, err := a.Credentials(t.Context())
			if err != nil || len(list) != 1 {
				t.Fatalf("got %d credentials, %v", len(list), err)
			}
			return list[0].LastUsed
		}
		start := time.Now()
		for _, step := range []struct {
			name     string
			after    time.Duration
			password string
			want     time.Duration // Since start.
		}{
			{"first login", time.Minute, "correct horse", time.Minute},
			{"soon after", time.Minute, "correct horse", time.Minute},
			{"wrong password", usedGrain, "wrong horse", time.Minute},
			{"an hour later", 0, "correct horse", usedGrain + 2*time.Minute},
		} {
			time.Sleep(step.after)
			e, err := w.Begin(local, plain, sasl.SCRAM256)
			if err != nil {
				t.Fatal(err)
			}
			_ = converse(t, e, client(t, sasl.SCRAM256, "anna@example.org", step.password, nil))
			if got := lastUsed().Sub(start); got != step.want {
				t.Errorf("%s: got %v, want %v", step.name, got, step.want)
			}
		}
		for i := range usedMax + 5 {
			w.used.add(fmt.Sprint(i), store.Credential{ID: 1}, time.Now())
		}
		if n := len(w.used.take()); n != usedMax {
			t.Errorf("%d accounts wait, want %d", n, usedMax)
		}
	})
}
