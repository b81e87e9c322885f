package imap

import (
	"slices"
	"testing"
)

func TestOff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		off      []string
		has, not []string
	}{
		{"nothing", nil, nil, []string{"IDLE", ""}},
		{"in any case", []string{"idle"}, []string{"IDLE"}, []string{"IDL", "MOVE", ""}},
		{"one of a kind", []string{"SORT=DISPLAY"}, []string{"SORT=DISPLAY"}, []string{"SORT", "SORT=X"}},
		{"all of a kind", []string{"thread"}, []string{"THREAD", "THREAD=REFERENCES"}, []string{"THREADS"}},
		{"what is built on it", []string{"Enable"}, []string{"ENABLE", "QRESYNC", "IMAP4REV2"}, []string{"CONDSTORE", "IMAP4REV1"}},
		{"named twice", []string{"METADATA", "FILTERS"}, []string{"METADATA", "LIST-METADATA", "FILTERS"}, []string{"SEARCH"}},
	} {
		off := NewOff(tc.off)
		for _, name := range tc.has {
			if !off.Has(name) {
				t.Errorf("%s: %q is on", tc.name, name)
			}
		}
		if i := slices.IndexFunc(tc.not, off.Has); i >= 0 {
			t.Errorf("%s: %q is off", tc.name, tc.not[i])
		}
	}
}

// TestWordsOff reads words of a capability that is off, and of others.
func TestWordsOff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		read func(d *Decoder)
		ok   bool
	}{
		{"OLDER", func(d *Decoder) { d.Word() }, false},
		{"older", func(d *Decoder) { d.Atom() }, true}, // Not a word of the grammar.
		{"SEEN", func(d *Decoder) { d.Word() }, true},
		{"BINARY.PEEK[1]", func(d *Decoder) { d.FetchItem() }, false},
		{"BODY.PEEK[1]", func(d *Decoder) { d.FetchItem() }, true},
		{"~{3}", func(d *Decoder) { d.StreamLiteral() }, false},
		{"{3}", func(d *Decoder) { d.StreamLiteral() }, true},
		{"OLDER 5", func(d *Decoder) { d.Search() }, false},
		{"SUBJECT OLDER", func(d *Decoder) { d.Search() }, true},
	} {
		d := NewDecoder(tc.text)
		d.Off = NewOff([]string{"WITHIN", "BINARY"})
		tc.read(d)
		if err := d.End(); (err == nil) != tc.ok {
			t.Errorf("%s: got %v", tc.text, err)
		}
	}
}
