//go:build unix

package crashtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
)

// fact is a line that the child tells the parent. Those in -ing come before what
// they tell of, the others after it was acknowledged.
type fact struct {
	Op       string   `json:"op"`
	ID       string   `json:"id,omitempty"`   // Of a content: its Message-ID.
	Hash     string   `json:"hash,omitempty"` // Of a content, SHA-256.
	Key      string   `json:"key,omitempty"`  // Of a hand-over from the queue.
	Accounts []string `json:"accounts,omitempty"`
	Account  string   `json:"account,omitempty"`
	At       place    `json:"at,omitzero"`
	To       place    `json:"to,omitzero"`
	Flags    uint32   `json:"flags,omitempty"`
	ModSeq   int64    `json:"modseq,omitempty"`
	Text     string   `json:"text,omitempty"`
}

// The facts.
const (
	opReady      = "ready"      // The store is open.
	opOffering   = "offering"   // ID, Hash, Accounts (one for each recipient), Key: to be delivered.
	opDelivered  = "delivered"  // ID: was acknowledged.
	opRetired    = "retired"    // ID: the queue needs the key no more.
	opAppending  = "appending"  // ID, Hash, Account: to be appended by Update.
	opAppended   = "appended"   // ID, Account, To, ModSeq.
	opCopying    = "copying"    // ID, Account.
	opCopied     = "copied"     // ID, Account, To, ModSeq.
	opMoving     = "moving"     // ID, Account, At.
	opMoved      = "moved"      // ID, Account, At, To, ModSeq.
	opExpunging  = "expunging"  // ID, Account, At.
	opExpunged   = "expunged"   // ID, Account, At, ModSeq.
	opFlagging   = "flagging"   // Account, At, Flags.
	opFlagged    = "flagged"    // Account, At, Flags, ModSeq.
	opSeen       = "seen"       // ID, Account, At, ModSeq: a session was shown the message.
	opSubmitting = "submitting" // ID, Account (the way), Accounts (addresses): to be sent to a System.
	opSubmitted  = "submitted"  // ID: was acknowledged.
	opReached    = "reached"    // The point is reached, and held.
	opUnexpected = "unexpected" // Text: something failed that should not.
)

// place is where a message is, for ever.
type place struct {
	UIDValidity uint32 `json:"uidvalidity,omitempty"`
	UID         uint32 `json:"uid,omitempty"`
}

func (p place) String() string { return fmt.Sprintf("%d/%d", p.UIDValidity, p.UID) }

// teller writes facts, each with one write, so that a kill leaves whole ones.
type teller struct {
	mu sync.Mutex
	w  *os.File
}

func (t *teller) tell(f fact) {
	line, err := json.Marshal(f)
	if err != nil {
		line = fmt.Appendf(nil, `{"op":%q,"text":%q}`, opUnexpected, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.w.Write(append(line, '\n')); err != nil {
		os.Exit(3) // The parent is gone.
	}
}

// readFacts calls fn for each whole line of r. A last one that was cut off never
// was told.
func readFacts(r io.Reader, fn func(fact)) error {
	br := bufio.NewReader(r)
	for {
		line, err := br.ReadBytes('\n')
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var f fact
		if err := json.Unmarshal(line, &f); err != nil {
			return fmt.Errorf("parsing fact %q: %w", line, err)
		}
		fn(f)
	}
}
