package admin

import (
	"fmt"
	"strings"
	"testing"
)

// TestSuppressionRefused says what is no request, with a queue and without.
func TestSuppressionRefused(t *testing.T) {
	t.Parallel()
	for _, queued := range []bool{true, false} {
		w := newWorld(t, nil)
		if queued {
			w = newWorld(t, openQueue(t))
		}
		w.use(t, dynamic)
		ctx := t.Context()
		for _, tc := range []struct {
			name  string
			err   error
			code  Code
			words string
		}{
			{"a reason without end", second(w.SuppressionAdd(ctx, SuppressionAddRequest{"anna", "x@remote.example", strings.Repeat("x", suppressReasonMax+1)})), User, "reason of 501 bytes"},
			{"an address of ours", second(w.SuppressionAdd(ctx, SuppressionAddRequest{"anna", "x@bücher.example", ""})), User, "stays on this server"},
			{"nobody's", second(w.SuppressionRemove(ctx, SuppressionRequest{"dora", "x@remote.example"})), NotFound, `no account "dora"`},
			{"not there", second(w.SuppressionRemove(ctx, SuppressionRequest{"anna", "x@remote.example"})), NotFound, "not on the list"},
			{"list of nobody", second(w.SuppressionList(ctx, SuppressionListRequest{"dora"})), NotFound, `no account "dora"`},
			{"lookup of no address", second(w.SuppressionLookup(ctx, SuppressionLookupRequest{"", "x"})), User, `"x" is not an address`},
		} {
			code, words := tc.code, tc.words
			if !queued {
				code, words = Unavailable, "no queue"
			}
			wantError(t, fmt.Sprintf("%s, queue: %v", tc.name, queued), tc.err, code, words)
		}
	}
}

// second returns the second of two results.
func second[T any](_ T, err error) error { return err }

// TestFromIDLogins removes addresses with which users log in to get senders of their
// own.
func TestFromIDLogins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	text := strings.Replace(dynamic, "\tbücher.example:\n\t\tDisabled: true\n", "\tbücher.example:\n\t\tLocalpartCatchallSeparator: +\n", 1)
	text += "\t\tFromIDLoginAddresses:\n\t\t\t- bert+ids@example.org\n\t\t\t- BERT@example.org\n\t\t\t- other@example.org\n\t\t\t- robot@bücher.example\n"
	w.use(t, strings.Replace(text, "\t\t\tsolo:\n\t\t\t\tAddresses:\n\t\t\t\t\t- bert@example.org\n", "", 1))
	ctx := t.Context()
	remove := func(address string) func() (any, error) {
		return func() (any, error) { return result(w.AddressRemove(ctx, AddressRequest{address})) }
	}
	w.calls(t, []call{
		{"in all spellings", remove("bert@example.org"), `{"address":"Bert@example.org","account":"bert","aliases":["team@example.org"],"fromIdLogins":["bert+ids@example.org","BERT@example.org"]}`, "", ""},
		{"those under a catchall", remove("@bücher.example"), `{"address":"@bücher.example","account":"bert","fromIdLogins":["robot@bücher.example"]}`, "", ""},
		{"the last", remove("other@example.org"), `{"address":"other@example.org","account":"bert","fromIdLogins":["other@example.org"]}`, "", ""},
	})
	if strings.Contains(w.text(t), "FromID") {
		t.Errorf("configuration:\n%s", w.text(t))
	}
}
