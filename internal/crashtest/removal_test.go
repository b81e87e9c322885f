//go:build unix

package crashtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// stays and goes are the accounts of a removal.
const (
	stays = "alice"
	goes  = "carol"
)

// removeUnderLoad removes an account while mail comes for it and another. What was
// acknowledged to the other is in a file.
func (c *child) removeUnderLoad() {
	if err := c.beginRemoval(); err != nil {
		c.unexpected(err)
	}
	forever()
}

func (c *child) beginRemoval() error {
	for _, name := range []string{stays, goes} {
		var err error
		if c.accounts[name], err = c.d.Account(c.ctx, name); err != nil {
			return err
		}
	}
	acked, err := os.OpenFile(c.Acked, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	adm, err := c.system.Admin(func() {})
	if err != nil {
		return err
	}
	for range 20 {
		if err := c.deliverBoth(acked); err != nil {
			return err
		}
	}
	if err := errors.Join(c.queueOne(), c.addKey(adm)); err != nil {
		return err
	}
	go func() { // Until the process is killed.
		for {
			if err := c.deliverBoth(acked); err != nil {
				c.unexpected(err)
			}
		}
	}()
	_, err = adm.AccountRemove(c.ctx, admin.AccountRequest{Account: goes})
	return err
}

// deliverBoth delivers a new message to both accounts, or to the one that stays.
func (c *child) deliverBoth(acked *os.File) error {
	c.delivered++
	id := fmt.Sprintf("%s.%d", c.Round, c.delivered)
	err := c.put(newMessage(id), "", []string{stays, goes}, c.delivered%3 == 0)
	if errors.Is(err, store.ErrNoAccount) {
		err = c.put(newMessage(id), "", []string{stays}, false)
	}
	if err == nil {
		_, err = fmt.Fprintln(acked, id)
	}
	return err
}

// queueOne queues a message of the account that goes, which waits for long.
func (c *child) queueOne() error {
	const text = "Subject: x\r\n\r\nx\r\n"
	content, err := c.system.Queue().NewContent(c.ctx, int64(len(text)), strings.NewReader(text))
	if err != nil {
		return err
	}
	from, err := queue.Path(goes + "@" + localDomain)
	to, terr := queue.Path("nobody@unreachable.example")
	if err := errors.Join(err, terr); err != nil {
		return err
	}
	_, err = c.system.Queue().Add(c.ctx, queue.New{Account: goes, MailFrom: from, Content: content, To: []queue.NewRcpt{{Path: to}}})
	return err
}

// addKey lets somebody log in to the account that goes.
func (c *child) addKey(adm *admin.Admin) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return err
	}
	_, err = adm.TLSPublicKeyAdd(c.ctx, admin.TLSPublicKeyAddRequest{
		LoginAddress: goes + "@" + localDomain, Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	})
	return err
}

// TestRemovalAtFaultPoints kills a System that removes an account while mail flows,
// at each point, and again at the same point in the start that follows. The one
// after that brings the removal to its end, and nobody else has lost anything.
func TestRemovalAtFaultPoints(t *testing.T) {
	t.Parallel()
	for _, point := range slices.Concat(admin.Points(), removalPoints()) {
		t.Run(strings.ReplaceAll(point, ":", ""), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := newSystem(t, dir)
			acked := filepath.Join(t.TempDir(), "acked")
			start(t, l, task{Dir: dir, Round: "only", System: &l.mail.server, Load: loadRemove, Acked: acked, Fault: point}).wait(t)
			if point != admin.FaultRemoveConfig { // Of which no start knows.
				start(t, l, task{Dir: dir, Round: "again", System: &l.mail.server, Load: loadNone, Fault: point}).wait(t)
			}
			if len(l.problems) > 0 {
				t.Errorf("children: %s", strings.Join(l.problems, "\n"))
			}
			r, err := l.mail.server.run(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			verifyRemoval(t, r, dir, acked, point)
			if err := errors.Join(r.stop(), r.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// verifyRemoval checks what a start has made of a removal.
func verifyRemoval(t *testing.T, r *running, dir, acked, point string) {
	t.Helper()
	ctx := t.Context()
	adm, err := r.Admin(func() {})
	if err != nil {
		t.Fatal(err)
	}
	wantAcked(t, r, acked)
	s, err := adm.Status(ctx, admin.Nothing{})
	if strays := slices.Contains(s.StrayAccounts, goes); err != nil || strays != (point == admin.FaultRemoveConfig) {
		t.Errorf("accounts without configuration: %v, %v", s.StrayAccounts, err)
	}
	if point == admin.FaultRemoveConfig {
		if _, err := adm.AccountRemove(ctx, admin.AccountRequest{Account: goes}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(drainWait); ; time.Sleep(10 * time.Millisecond) {
		if s, err = adm.Status(ctx, admin.Nothing{}); err != nil || len(s.RemovedAccounts) == 0 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("still being removed: %v", s.RemovedAccounts)
		}
	}
	if err != nil || s.Journal.Aside > 0 || s.Journal.Failed > 0 {
		t.Errorf("after the removal: %+v, %v", s.Journal, err)
	}
	for _, pattern := range []string{"accounts/" + goes, "tmp/removed-*"} {
		if left, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern))); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	if messages, err := r.Queue().List(ctx, queue.Filter{Account: goes}, queue.Sort{}); err != nil || len(messages) > 0 {
		t.Errorf("queue: %v, %v", messages, err)
	}
	if keys, err := adm.TLSPublicKeyList(ctx, admin.TLSPublicKeyListRequest{}); err != nil || len(keys.Keys) > 0 {
		t.Errorf("keys: %v, %v", keys.Keys, err)
	}
	if alias, err := adm.AliasGet(ctx, admin.AliasRequest{Alias: "list@" + localDomain}); err != nil || len(alias.Addresses) != 2 {
		t.Errorf("alias: %v, %v", alias, err)
	}
	wantNew(t, r, adm)
}

// wantAcked checks that the account that stays has all that was acknowledged, once.
func wantAcked(t *testing.T, r *running, acked string) {
	t.Helper()
	text, err := os.ReadFile(acked)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, id := range inboxIDs(t, r, stays) {
		found[id]++
	}
	ids := strings.Fields(string(text))
	for _, id := range ids {
		if found[id] != 1 {
			t.Errorf("%s has message %s %d times", stays, id, found[id])
		}
	}
	if len(ids) < 20 {
		t.Errorf("only %d deliveries were acknowledged", len(ids))
	}
}

// inboxIDs returns the ids of the contents in an account.
func inboxIDs(t *testing.T, r *running, name string) (ids []string) {
	t.Helper()
	a, err := r.Accounts().Account(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	a.WaitDurable(t.Context())
	d, err := dumpOf(t.Context(), a)
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	for _, box := range d.Boxes {
		for _, m := range box.Messages {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// wantNew makes an account of the name of the one that was removed: it has nothing
// of that.
func wantNew(t *testing.T, r *running, adm *admin.Admin) {
	t.Helper()
	if _, err := adm.AccountAdd(t.Context(), admin.AccountAddRequest{Account: goes, Address: goes + "@" + localDomain}); err != nil {
		t.Fatal(err)
	}
	if ids := inboxIDs(t, r, goes); len(ids) > 0 {
		t.Errorf("a new account of the name has %v", ids)
	}
	if problems, err := r.Accounts().Check(context.WithoutCancel(t.Context()), true); err != nil || len(problems) > 0 {
		t.Errorf("check: %v, %v", problems, err)
	}
}
