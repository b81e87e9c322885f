package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// TestAccount adds, lists and disables accounts.
func TestAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.use(t, dynamic)
	ctx := t.Context()
	add := func(name, address string) func() (any, error) {
		return func() (any, error) { return result(w.AccountAdd(ctx, AccountAddRequest{name, address})) }
	}
	addresses := func(name string) func() (any, error) {
		return func() (any, error) { return result(w.AccountAddresses(ctx, AccountRequest{name})) }
	}
	disable := func(name, message string) func() (any, error) {
		return func() (any, error) { return result(w.AccountDisable(ctx, AccountDisableRequest{name, message})) }
	}
	enable := func(name string) func() (any, error) {
		return func() (any, error) { return result(w.AccountEnable(ctx, AccountRequest{name})) }
	}
	list := func() (any, error) { return result(w.AccountList(ctx, Nothing{})) }
	long := strings.Repeat("x", 256)
	if err := os.Mkdir(filepath.Join(w.dir, "accounts", "left"), 0o750); err != nil {
		t.Fatal(err)
	}
	w.calls(t, []call{
		{"add", add("carl", "Carl@XN--bcher-kva.example"), `{"account":"carl","address":"Carl@bücher.example"}`, "", ""},
		{"add again", add("carl", "carl2@example.org"), "", User, `account "carl" exists`},
		{"add with another's address", add("dora", "BERT+x@example.org"), "", User, "must not have a catchall separator"},
		{"add with another's address, in another spelling", add("dora", "BERT@example.org"), "", User, `address is that of`},
		{"add with an alias", add("dora", "team@example.org"), "", User, "address is that of team@example.org"},
		{"add at another's domain", add("dora", "dora@other.example"), "", NotFound, `no domain "other.example"`},
		{"add with a catchall", add("dora", "@free.example"), "", User, "is a catchall address"},
		{"add with no address", add("dora", "dora"), "", User, `"dora" is not an address`},
		{"add with a name that can't be", add("Dora", "dora@example.org"), "", User, `account name "Dora": need a-z`},
		{"add with a name that would be a path", add("../dora", "dora@example.org"), "", User, `account name "../dora": need a-z`},
		{"add where data is left", add("left", "left@example.org"), "", User, `the data of an account "left" is still there`},

		{"addresses", addresses("bert"), `{"addresses":["@bücher.example","Bert@example.org","other@example.org"]}`, "", ""},
		{"addresses of nobody", addresses("dora"), "", NotFound, `no account "dora"`},

		{"disable", disable("bert", "see you in spring"), `{"name":"bert","domain":"example.org","loginDisabled":"see you in spring"}`, "", ""},
		{"disable with the longest text", disable("carl", long), `{"name":"carl","domain":"bücher.example","loginDisabled":"` + long + `"}`, "", ""},
		{"disable with a longer text", disable("carl", long+"x"), "", User, "at most 256 printable ASCII characters"},
		{"disable with other characters", disable("carl", "bücher"), "", User, "printable ASCII"},
		{"disable without a text", disable("carl", ""), "", User, "a message is needed"},
		{"disable nobody", disable("dora", "x"), "", NotFound, `no account "dora"`},
		{"list", list, `{"accounts":[{"name":"anna","domain":"example.org"},{"name":"bert","domain":"example.org","loginDisabled":"see you in spring"},` +
			`{"name":"carl","domain":"bücher.example","loginDisabled":"` + long + `"}]}`, "", ""},
		{"enable", enable("bert"), `{"name":"bert","domain":"example.org"}`, "", ""},
		{"enable again", enable("bert"), `{"name":"bert","domain":"example.org"}`, "", ""},
		{"enable nobody", enable("dora"), "", NotFound, `no account "dora"`},
	})
	if want := []string{"bert", "carl"}; !slices.Equal(w.ended, want) {
		t.Errorf("sessions were ended of %v, want %v", w.ended, want)
	}
	if got := mailboxes(t, w, "carl"); got != "[Inbox Sent]" {
		t.Errorf("mailboxes of a new account: %s", got)
	}
	s, err := w.Status(ctx, Nothing{})
	if err != nil || !slices.Equal(s.Disabled, []string{"carl"}) || s.Accounts != 3 {
		t.Errorf("status: got %+v, %v", s, err)
	}
}

// mailboxes lists those of an account.
func mailboxes(t *testing.T, w *world, name string) string {
	t.Helper()
	a, err := w.accounts.Account(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var names []string
	err = a.View(t.Context(), func(tx *store.Tx) error {
		boxes, err := tx.Mailboxes()
		for _, b := range boxes {
			names = append(names, b.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return fmt.Sprint(names)
}

// TestAccountAddFails shows an account of which the data can't be made: it is not
// configured either.
func TestAccountAddFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := t.Context()
	boom := errors.New("boom")
	w.keeper.opts.NewAccount = func() (store.NewAccount, error) { return store.NewAccount{}, boom }
	_, err := w.AccountAdd(ctx, AccountAddRequest{"carl", "carl@example.org"})
	wantError(t, "without data", err, Server, "boom")
	if _, ok := w.live.Current().Dynamic.Accounts["carl"]; ok {
		t.Error("it is configured")
	}
	w.keeper.opts.NewAccount = func() (store.NewAccount, error) { return store.NewAccount{}, nil }
	if _, err := w.AccountAdd(ctx, AccountAddRequest{"carl", "carl@example.org"}); err != nil {
		t.Errorf("another time: %v", err)
	}
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// serve runs the keeper until the test ends, or stop is called.
func (w *world) serve(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.keeper.Serve(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// TestAccountRemove removes an account with all it has, and makes another one of
// its name.
func TestAccountRemove(t *testing.T) {
	t.Parallel()
	q := openQueue(t)
	w := newWorld(t, q)
	w.use(t, strings.Replace(dynamic, "\t\t\tsolo:\n\t\t\t\tAddresses:\n\t\t\t\t\t- bert@example.org\n", "", 1))
	ctx := t.Context()
	if err := w.keeper.Start(ctx); err != nil {
		t.Fatal(err)
	}
	w.addKey(t, "bert@example.org")
	key := w.addKey(t, "anna@example.org")
	add(t, q, "bert", "bert@example.org", "x@remote.example", "y@remote.example")
	kept := add(t, q, "anna", "anna@example.org", "x@remote.example")
	id, err := w.keeper.idOf(ctx, "bert")
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{"anna", "bert"} {
		if _, err := w.SuppressionAdd(ctx, SuppressionAddRequest{Account: account, Address: "gone@remote.example"}); err != nil {
			t.Fatal(err)
		}
	}
	err = q.AddIncoming(ctx, []queue.NewIncoming{{Account: "anna", EmailID: 1}, {Account: "bert", EmailID: 1}})
	if err != nil {
		t.Fatal(err)
	}
	remove := func(name string) func() (any, error) {
		return func() (any, error) { return result(w.AccountRemove(ctx, AccountRequest{name})) }
	}
	w.calls(t, []call{
		{"the postmaster's", remove("anna"), "", User, `account "anna" is that of the postmaster`},
		{"nobody", remove("dora"), "", NotFound, `no account "dora"`},
		{"not a name", remove("../anna"), "", NotFound, `no account "../anna"`},
		{"all of one", remove("bert"), `{"account":"bert","configured":true,"data":true,"aliases":["team@example.org"],"queued":2,"suppressions":1,"tlsPublicKeys":1}`, "", ""},
		{"again", remove("bert"), "", NotFound, `no account "bert"`},
	})
	if list, err := w.SuppressionList(ctx, SuppressionListRequest{}); err != nil || len(list.Suppressions) != 1 || list.Suppressions[0].Account != "anna" {
		t.Errorf("suppressed are %+v, %v", list, err)
	}
	if !slices.Equal(w.ended, []string{"bert"}) {
		t.Errorf("sessions were ended of %v", w.ended)
	}
	if messages, err := q.List(ctx, queue.Filter{}, queue.Sort{}); err != nil || len(messages) != 1 || messages[0].ID != kept[0] {
		t.Errorf("queue: got %v, %v", messages, err)
	}
	if hooks, err := q.Hooks(ctx, queue.HookFilter{}, queue.Sort{}); err != nil || len(hooks) != 1 || hooks[0].Account != "anna" {
		t.Errorf("webhooks: got %+v, %v", hooks, err)
	}
	if keys, err := w.logins.TLSPublicKeys(ctx, ""); err != nil || len(keys) != 1 || keys[0].Fingerprint != key.Fingerprint {
		t.Errorf("keys: got %v, %v", keys, err)
	}
	s, err := w.Status(ctx, Nothing{})
	if err != nil || !slices.Equal(s.RemovedAccounts, []string{"bert"}) || len(s.StrayAccounts) > 0 {
		t.Errorf("status before it is erased: got %+v, %v", s, err)
	}
	if _, err := w.AccountAdd(ctx, AccountAddRequest{"bert", "bert@example.org"}); err != nil {
		t.Fatal(err)
	}
	w.serve(t)
	eventually(t, "the removal is finished", func() bool {
		return strings.Contains(w.log.String(), `m="account removed" pkg=admin account=bert account_id=`+id)
	})
	if pending := pendingRemovals(t, w); len(pending) > 0 {
		t.Errorf("pending: %v", pending)
	}
	if again, err := w.keeper.idOf(ctx, "bert"); err != nil || again == "" || again == id {
		t.Errorf("new account of the name: got id %q, %v, want another than %q", again, err, id)
	}
	if left, err := os.ReadDir(filepath.Join(w.dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if log := w.log.String(); strings.Count(log, `m="message of removed account dropped"`) != 2 {
		t.Errorf("log: %s", log)
	}
}

func pendingRemovals(t *testing.T, w *world) (names []string) {
	t.Helper()
	pending, err := w.logins.PendingRemovals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range pending {
		names = append(names, r.Name)
	}
	return names
}

// TestAccountRemoveLastMember shows an account that an alias needs.
func TestAccountRemoveLastMember(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.use(t, dynamic)
	if err := w.keeper.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := w.text(t)
	_, err := w.AccountRemove(t.Context(), AccountRequest{"bert"})
	wantError(t, "last member", err, User, "alias solo@example.org would have no members")
	if len(pendingRemovals(t, w)) > 0 || len(w.ended) > 0 || w.text(t) != before {
		t.Errorf("something was done: sessions of %v ended, configuration\n%s", w.ended, w.text(t))
	}
}

// TestAccountWithoutConfiguration shows what becomes of an account that somebody
// takes out of the configuration: its data stays until it is removed.
func TestAccountWithoutConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.use(t, dynamic)
	ctx := t.Context()
	if err := w.keeper.Start(ctx); err != nil {
		t.Fatal(err)
	}
	id, err := w.keeper.idOf(ctx, "bert")
	if err != nil {
		t.Fatal(err)
	}
	w.use(t, "Domains:\n\texample.org: nil\nAccounts:\n\tanna:\n\t\tDomain: example.org\n")
	if err := w.keeper.keep(ctx); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.ended, []string{"bert"}) {
		t.Errorf("sessions were ended of %v", w.ended)
	}
	if s, err := w.Status(ctx, Nothing{}); err != nil || !slices.Equal(s.StrayAccounts, []string{"bert"}) {
		t.Errorf("status: got %+v, %v", s, err)
	}
	_, err = w.AccountAdd(ctx, AccountAddRequest{"bert", "bert@example.org"})
	wantError(t, "another of its name", err, User, `the data of an account "bert" is still there`)
	w.use(t, "Domains:\n\texample.org: nil\nAccounts:\n\tanna:\n\t\tDomain: example.org\n\tbert:\n\t\tDomain: example.org\n")
	if err := w.keeper.keep(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := w.keeper.idOf(ctx, "bert"); err != nil || again != id {
		t.Errorf("configured again: got id %q, %v, want %q as before", again, err, id)
	}
	w.use(t, "Domains:\n\texample.org: nil\nAccounts:\n\tanna:\n\t\tDomain: example.org\n")
	w.calls(t, []call{{"removed", func() (any, error) { return result(w.AccountRemove(ctx, AccountRequest{"bert"})) },
		`{"account":"bert","configured":false,"data":true,"aliases":[],"queued":0,"suppressions":0,"tlsPublicKeys":0}`, "", ""}})
	if has, err := w.accounts.HasData("bert"); err != nil || has {
		t.Errorf("has data: %v, %v", has, err)
	}
}

// TestAccountRemoveWithoutData removes an account that has none.
func TestAccountRemoveWithoutData(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.addKey(t, "bert@example.org")
	w.calls(t, []call{{"removed", func() (any, error) { return result(w.AccountRemove(t.Context(), AccountRequest{"bert"})) },
		`{"account":"bert","configured":true,"data":false,"aliases":[],"queued":0,"suppressions":0,"tlsPublicKeys":1}`, "", ""}})
}

// TestAccountRemoveDamaged shows an account that can't be opened: it stays as it is,
// since mail on its way to it could not be told from that to another.
func TestAccountRemoveDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	dir := filepath.Join(w.dir, "accounts", "bert")
	if err := errors.Join(os.Mkdir(dir, 0o750), os.WriteFile(filepath.Join(dir, "index.db"), []byte("x"), 0o640)); err != nil {
		t.Fatal(err)
	}
	_, err := w.AccountRemove(t.Context(), AccountRequest{"bert"})
	wantError(t, "damaged", err, Server, "nothing was changed")
	if _, ok := w.live.Current().Dynamic.Accounts["bert"]; !ok {
		t.Error("it is not configured any more")
	}
}

// TestAccountRemoveBrokenOff breaks off a removal at each point: what is left goes
// on by itself, or by removing the account once more.
func TestAccountRemoveBrokenOff(t *testing.T) {
	t.Parallel()
	for _, point := range append(Points(), store.FaultRemoveShut, store.FaultRemoveMoved, store.FaultRemoveErase) {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			q := openQueue(t)
			w := newWorld(t, q)
			ctx := t.Context()
			if err := w.keeper.Start(ctx); err != nil {
				t.Fatal(err)
			}
			add(t, q, "bert", "bert@example.org", "x@remote.example")
			w.addKey(t, "bert@example.org")
			w.faults.Arm(point, func() error { return errors.New("boom") })
			_, err := w.AccountRemove(ctx, AccountRequest{"bert"})
			if err == nil {
				err = w.keeper.keep(ctx) // It was to be erased.
			}
			if err == nil || !strings.Contains(err.Error(), "boom") {
				t.Errorf("got %v", err)
			}
			if _, ok := w.live.Current().Dynamic.Accounts["bert"]; ok {
				t.Error("it is configured")
			}
			w.faults.Disarm(point)
			w.use(t, w.text(t)+"\tbert:\n\t\tDomain: example.org\n\t\tDestinations:\n\t\t\tbert@example.org: nil\n")
			if point == FaultRemoveConfig { // Nobody knows of the removal.
				if _, err := w.AccountRemove(ctx, AccountRequest{"bert"}); err != nil {
					t.Fatal(err)
				}
				w.use(t, w.text(t)+"\tbert:\n\t\tDomain: example.org\n")
			}
			before := pendingRemovals(t, w)
			if len(before) != 1 {
				t.Errorf("pending: %v", before)
			}
			if err := w.keeper.Start(ctx); err != nil {
				t.Error(err)
			}
			if err := w.keeper.keep(ctx); err != nil {
				t.Error(err)
			}
			if left := pendingRemovals(t, w); len(left) > 0 {
				t.Errorf("pending: %v", left)
			}
			if messages, err := q.List(ctx, queue.Filter{Account: "bert"}, queue.Sort{}); err != nil || len(messages) > 0 {
				t.Errorf("queue: got %v, %v", messages, err)
			}
			if keys, err := w.logins.TLSPublicKeys(ctx, ""); err != nil || len(keys) > 0 {
				t.Errorf("keys: got %v, %v", keys, err)
			}
			if left, err := os.ReadDir(filepath.Join(w.dir, "tmp")); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
			if got := mailboxes(t, w, "bert"); got != "[Inbox Sent]" {
				t.Errorf("the new account has %s", got)
			}
		})
	}
}

// TestKeeper changes the configuration while a Keeper serves: accounts get their
// data and lose their sessions, and what fails is tried again.
func TestKeeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.live.OnChange(func(*config.Config) { w.keeper.Changed() })
		var fail atomic.Bool
		made := w.keeper.opts.NewAccount
		w.keeper.opts.NewAccount = func() (store.NewAccount, error) {
			if fail.Load() {
				return store.NewAccount{}, errors.New("boom")
			}
			return made()
		}
		stop := w.serve(t)
		synctest.Wait()
		if got := mailboxes(t, w, "bert"); got != "[Inbox Sent]" {
			t.Errorf("an account that had no data has %s", got)
		}
		base := w.text(t)
		fail.Store(true)
		w.use(t, base+"\tcarl:\n\t\tDomain: example.org\n")
		synctest.Wait()
		if has, err := w.accounts.HasData("carl"); has || err != nil {
			t.Errorf("has data: %v, %v", has, err)
		}
		fail.Store(false)
		time.Sleep(keepAgain)
		synctest.Wait()
		if got := mailboxes(t, w, "carl"); got != "[Inbox Sent]" {
			t.Errorf("an account that was added has %s", got)
		}
		if len(w.ended) > 0 {
			t.Errorf("sessions were ended of %v", w.ended)
		}
		w.use(t, strings.Replace(base, "\tbert:\n", "\tbert:\n\t\tLoginDisabled: no more\n", 1)) // And carl is gone.
		synctest.Wait()
		w.use(t, base)
		synctest.Wait()
		if !slices.Equal(w.ended, []string{"bert", "carl"}) {
			t.Errorf("sessions were ended of %v", w.ended)
		}
		stop()
	})
}

// TestKeeperOptions shows that nothing may be missing.
func TestKeeperOptions(t *testing.T) {
	t.Parallel()
	if _, err := NewKeeper(KeeperOptions{}); err == nil {
		t.Error("without anything: got no error")
	}
}
