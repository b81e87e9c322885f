package imapserver

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	gosasl "github.com/emersion/go-sasl"
)

// dialGoImap returns a client of go-imap that is connected with STARTTLS.
func dialGoImap(t *testing.T, addr string, handler *imapclient.UnilateralDataHandler) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialStartTLS(addr, &imapclient.Options{
		TLSConfig: &tls.Config{InsecureSkipVerify: true}, UnilateralDataHandler: handler,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // Closed by LOGOUT, when all is well.
	return c
}

// TestGoImap uses the server with another implementation of the grammar.
func TestGoImap(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"tls": "", "plain": "no", "inbox": "3"})
	addr := e.listen()
	c := dialGoImap(t, addr, nil)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("AUTHENTICATE", c.Authenticate(gosasl.NewPlainClient("", "mox@example.org", password)))
	for _, name := range []goimap.Cap{goimap.CapIMAP4rev2, goimap.CapMove, goimap.CapUIDPlus, goimap.CapESearch, goimap.CapSpecialUse, goimap.CapLiteralMinus} {
		if !c.Caps().Has(name) {
			t.Errorf("capability %s is missing", name)
		}
	}
	// MUST 9051 9 #2: another implementation of the grammar reads what is sent from here on
	id, err := c.ID(&goimap.IDData{Name: "test"}).Wait()
	must("ID", err)
	if id.Name != "mox" {
		t.Errorf("server is %q", id.Name)
	}
	ns, err := c.Namespace().Wait()
	must("NAMESPACE", err)
	if len(ns.Personal) != 1 || ns.Personal[0].Delim != '/' {
		t.Errorf("namespace %+v", ns)
	}
	must("CREATE", c.Create("Entwürfe", &goimap.CreateOptions{SpecialUse: []goimap.MailboxAttr{goimap.MailboxAttrDrafts}}).Wait())
	var failed *goimap.Error
	if err := c.Create("Entwürfe", nil).Wait(); !errors.As(err, &failed) || failed.Code != goimap.ResponseCodeAlreadyExists {
		t.Errorf("CREATE again: %v", err)
	}
	list, err := c.List("", "*", &goimap.ListOptions{
		ReturnSpecialUse: true, ReturnSubscribed: true, ReturnStatus: &goimap.StatusOptions{NumMessages: true, Size: true},
	}).Collect()
	must("LIST", err)
	if len(list) != 4 || list[0].Mailbox != "INBOX" || *list[0].Status.NumMessages != 3 || list[2].Mailbox != "Entwürfe" {
		for _, l := range list {
			t.Errorf("%+v", l)
		}
	}

	raw := "From: A <a@example.org>\r\nSubject: hello\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n"
	for _, mailbox := range []string{"INBOX", "Entwürfe"} {
		ap := c.Append(mailbox, int64(len(raw)), &goimap.AppendOptions{Flags: []goimap.Flag{goimap.FlagSeen}, Time: time.Unix(1e9, 0)})
		_, err = io.WriteString(ap, raw)
		must("writing APPEND", err)
		must("closing APPEND", ap.Close())
		data, err := ap.Wait()
		must("APPEND", err)
		if data.UID == 0 || data.UIDValidity == 0 {
			t.Errorf("APPENDUID %+v", data)
		}
	}
	sel, err := c.Select("INBOX", nil).Wait()
	must("SELECT", err)
	if sel.NumMessages != 4 || sel.UIDNext != 5 {
		t.Errorf("selected %+v", sel)
	}
	msgs, err := c.Fetch(goimap.SeqSetNum(4), &goimap.FetchOptions{
		Flags: true, Envelope: true, UID: true, InternalDate: true, RFC822Size: true, BodyStructure: &goimap.FetchItemBodyStructure{Extended: true},
		BodySection:       []*goimap.FetchItemBodySection{{}, {Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"Subject"}, Peek: true}},
		BinarySection:     []*goimap.FetchItemBinarySection{{Part: []int{1}}},
		BinarySectionSize: []*goimap.FetchItemBinarySectionSize{{Part: []int{1}}},
	}).Collect()
	must("FETCH", err)
	m := msgs[0]
	if m.Envelope.Subject != "hello" || m.Envelope.From[0].Addr() != "a@example.org" || m.RFC822Size != int64(len(raw)) || m.InternalDate.Unix() != 1e9 {
		t.Errorf("message %+v, envelope %+v", m, m.Envelope)
	}
	if m.BodyStructure.MediaType() != "text/plain" || string(m.BodySection[0].Bytes) != raw || string(m.BodySection[1].Bytes) != "Subject: hello\r\n\r\n" {
		t.Errorf("body %q, %q", m.BodySection[0].Bytes, m.BodySection[1].Bytes)
	}
	if string(m.BinarySection[0].Bytes) != "hello" || m.BinarySectionSize[0].Size != 5 {
		t.Errorf("binary %+v", m.BinarySection)
	}
	found, err := c.UIDSearch(&goimap.SearchCriteria{Header: []goimap.SearchCriteriaHeaderField{{Key: "Subject", Value: "message"}}}, nil).Wait()
	must("UID SEARCH", err)
	if uids := found.AllUIDs(); len(uids) != 3 || uids[2] != 3 {
		t.Errorf("found %v", uids)
	}
	found, err = c.Search(&goimap.SearchCriteria{NotFlag: []goimap.Flag{goimap.FlagSeen}}, &goimap.SearchOptions{ReturnCount: true, ReturnMin: true, ReturnSave: true}).Wait()
	must("SEARCH", err)
	if found.Count != 3 || found.Min != 1 {
		t.Errorf("found %+v", found)
	}
	stored, err := c.Store(goimap.SeqSetNum(1, 2), &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted, "$work"}}, nil).Collect()
	must("STORE", err)
	if len(stored) != 2 || len(stored[0].Flags) != 2 {
		t.Errorf("stored %+v", stored)
	}
	copied, err := c.Copy(goimap.UIDSetNum(2, 3), "Sent").Wait()
	must("UID COPY", err)
	if copied.DestUIDs.String() != "1:2" || copied.SourceUIDs.String() != "2:3" {
		t.Errorf("copied %+v", copied)
	}
	moved, err := c.Move(goimap.SeqSetNum(3), "Entwürfe").Wait()
	must("MOVE", err)
	if moved.SourceUIDs.String() != "3" {
		t.Errorf("moved %+v", moved)
	}
	gone, err := c.Expunge().Collect()
	must("EXPUNGE", err)
	if len(gone) != 2 {
		t.Errorf("expunged %v", gone)
	}
	status, err := c.Status("INBOX", &goimap.StatusOptions{NumMessages: true, NumUnseen: true, UIDNext: true, Size: true}).Wait()
	must("STATUS", err)
	if *status.NumMessages != 1 || *status.NumUnseen != 0 || status.UIDNext != 5 || *status.Size != int64(len(raw)) {
		t.Errorf("status %+v", status)
	}
	must("RENAME", c.Rename("Entwürfe", "Drafts", nil).Wait())
	must("SUBSCRIBE", c.Subscribe("Drafts").Wait())
	must("UNSELECT", c.Unselect().Wait())
	must("DELETE", c.Delete("Drafts").Wait())
	must("LOGOUT", c.Logout().Wait())
}

// TestGoImapIdle lets one client idle while another appends.
func TestGoImapIdle(t *testing.T) {
	t.Parallel()
	e := newEnv(t, map[string]string{"tls": ""})
	addr := e.listen()
	counts := make(chan uint32, 10)
	c := dialGoImap(t, addr, &imapclient.UnilateralDataHandler{Mailbox: func(d *imapclient.UnilateralDataMailbox) {
		if d.NumMessages != nil {
			counts <- *d.NumMessages
		}
	}})
	if err := c.Login("mox@example.org", password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enable(goimap.CapIMAP4rev2).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	e.appendMessage("Inbox", strings.Repeat("x: y\r\n", 10))
	select {
	case n := <-counts:
		if n != 1 {
			t.Errorf("told of %d messages", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("not told in IDLE")
	}
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}
}
