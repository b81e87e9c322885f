package imap

import (
	"slices"
	"strings"
)

// Off are capabilities that a session goes without, as if they had never been
// written: names in upper case. Nil is none.
type Off []string

// builtOn has capabilities that make no sense without another.
var builtOn = map[string][]string{
	"CONDSTORE":     {"QRESYNC"},
	"ENABLE":        {"IMAP4REV2", "QRESYNC", "UIDONLY", "UTF8=ACCEPT"},
	"ESEARCH":       {"SEARCHRES", "PARTIAL", "MULTISEARCH", "ESORT", "CONTEXT=SEARCH", "CONTEXT=SORT"},
	"LIST-EXTENDED": {"LIST-STATUS", "LIST-METADATA"},
	"METADATA":      {"LIST-METADATA", "FILTERS"},
	"SORT":          {"ESORT", "CONTEXT=SORT"},
	"SPECIAL-USE":   {"CREATE-SPECIAL-USE"},
}

// NewOff returns the set of some names, and of what is built on them.
func NewOff(names []string) (off Off) {
	for _, name := range names {
		name = strings.ToUpper(name)
		off = append(off, name)
		off = append(off, builtOn[name]...)
	}
	slices.Sort(off)
	return slices.Compact(off)
}

// Has reports whether a capability, as it is announced but in upper case, is off. A
// name without its value stands for all values: SORT is also SORT=DISPLAY.
func (o Off) Has(name string) bool {
	if len(o) == 0 || name == "" {
		return false
	}
	kind, _, _ := strings.Cut(name, "=")
	return slices.Contains(o, name) || slices.Contains(o, kind)
}

// wordCapabilities has the words of the grammar that came with a capability and mean
// nothing without: data items, search keys, options and parameters. Those that stand
// for something else elsewhere are looked at where they are read.
var wordCapabilities = map[string]string{
	"BINARY": "BINARY", "BINARY.PEEK": "BINARY", "BINARY.SIZE": "BINARY",
	"MODSEQ": "CONDSTORE", "CHANGEDSINCE": "CONDSTORE", "UNCHANGEDSINCE": "CONDSTORE", "CONDSTORE": "CONDSTORE", "HIGHESTMODSEQ": "CONDSTORE",
	"QRESYNC": "QRESYNC", "VANISHED": "QRESYNC",
	"EMAILID": "OBJECTID", "THREADID": "OBJECTID", "MAILBOXID": "OBJECTID",
	"SAVEDATE": "SAVEDATE", "SAVEDBEFORE": "SAVEDATE", "SAVEDON": "SAVEDATE", "SAVEDSINCE": "SAVEDATE", "SAVEDATESUPPORTED": "SAVEDATE",
	"PREVIEW": "PREVIEW", "YOUNGER": "WITHIN", "OLDER": "WITHIN",
	"SAVE": "SEARCHRES", "PARTIAL": "PARTIAL", "FILTER": "FILTERS", "CONTEXT": "CONTEXT",
	"RECURSIVEMATCH": "LIST-EXTENDED", "SPECIAL-USE": "SPECIAL-USE", "USE": "CREATE-SPECIAL-USE",
	"DISPLAYFROM": "SORT=DISPLAY", "DISPLAYTO": "SORT=DISPLAY",
	"REFERENCES": "THREAD=REFERENCES", "ORDEREDSUBJECT": "THREAD=ORDEREDSUBJECT",
	"APPENDLIMIT": "APPENDLIMIT", "DELETED-STORAGE": "QUOTA=RES-STORAGE",
}

// Needs makes the decoder fail if a capability is off.
func (d *Decoder) Needs(capability string) {
	if d.Off.Has(capability) {
		d.Fail("%s is switched off", capability)
	}
}

// codeCapabilities has the response codes that came with a capability, by the first
// word. A client that does not know it needs none of them.
var codeCapabilities = map[string]string{
	"APPENDUID": "UIDPLUS", "COPYUID": "UIDPLUS", "UIDNOTSTICKY": "UIDPLUS",
	"HIGHESTMODSEQ": "CONDSTORE", "MODIFIED": "CONDSTORE", "NOMODSEQ": "CONDSTORE",
	"MAILBOXID": "OBJECTID",
}

// dropsCode reports whether a response code is left out.
func (o Off) dropsCode(code string) bool {
	if len(o) == 0 {
		return false
	}
	word, _, _ := strings.Cut(code, " ")
	return o.Has(codeCapabilities[word])
}
