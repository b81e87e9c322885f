package imapserver

import (
	"encoding/binary"
	"hash/maphash"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/message"
	"github.com/mjl-/mox/store"
)

// What searching and sorting need of messages, as columns (decision 0036). All texts
// are in the form of the collation (imap.AppendCasemap), with encoded words decoded, as
// RFC 5255, section 4.6, has it.

// fieldBegin is in a column's text before each value of a header field, and between
// addresses. It is in no text of UTF-8, so that nothing is found across it.
const fieldBegin = 0xff

// noField is the text of headerColumn for a message that does not have the field, if
// the column has distinct texts.
const noField = 0xfe

// column is a text of each message.
type column struct {
	store.ColumnSpec

	// field is the header field that it is made of besides the envelope, "" for none. Rows
	// don't have all fields of all messages: then the file has to be read.
	field string
	from  func(b []byte, env []byte, values []string) []byte
}

// envelopeColumn returns a column that is made of the envelope.
func envelopeColumn(name string, distinct bool, from func(b []byte, env []byte) []byte) column {
	return column{ColumnSpec: store.ColumnSpec{Name: name, Distinct: distinct, Text: func(b []byte, st *store.Structure) ([]byte, bool) {
		return from(b, st.Envelope), true
	}}}
}

// fieldColumn returns a column that is made of the values of a header field too.
func fieldColumn(name, field string, distinct bool, from func(b []byte, env []byte, values []string) []byte) column {
	return column{store.ColumnSpec{Name: name, Distinct: distinct, Text: func(b []byte, st *store.Structure) ([]byte, bool) {
		values, known := st.Field(field)
		if !known {
			return b, false
		}
		return from(b, st.Envelope, values), true
	}}, field, from}
}

// addressColumns are those for the search keys about addresses.
var addressColumns = map[string]column{
	"FROM": addressColumn("from", imap.EnvelopeFrom),
	"TO":   addressColumn("to", imap.EnvelopeTo),
	"CC":   addressColumn("cc", imap.EnvelopeCc),
	"BCC":  addressColumn("bcc", imap.EnvelopeBcc),
}

// addressColumn is one of the addresses in a field of the envelope: name and address
// as they are shown.
func addressColumn(name string, field imap.EnvelopeField) column {
	return envelopeColumn(name, false, func(b, env []byte) []byte {
		for _, a := range imap.EnvelopeAddresses(env, field) {
			b = append(b, fieldBegin)
			address := a.Mailbox + "@" + a.Host
			if a.Host == "" {
				address = a.Mailbox // Of a group.
			}
			if a.Name != "" {
				address = message.DecodeHeader(a.Name) + " <" + address + ">"
			}
			b = imap.AppendCasemap(b, address)
		}
		return b
	})
}

// subjectColumn is for the search key SUBJECT.
func subjectColumn() column {
	return envelopeColumn("subject", false, func(b, env []byte) []byte {
		s, _ := imap.EnvelopeString(env, imap.EnvelopeSubject)
		return imap.AppendCasemap(b, message.DecodeHeader(s))
	})
}

// headerColumn is for the search key HEADER: the values of a field, each after
// fieldBegin, so that a field without value can be told from none.
func headerColumn(name string) column {
	name = strings.ToLower(name)
	distinct := name == "message-id"
	return fieldColumn("header "+name, name, distinct, func(b, _ []byte, values []string) []byte {
		if distinct && len(values) == 0 {
			return append(b, noField) // Else it would be taken for unknown.
		}
		return appendValues(b, values)
	})
}

// appendValues appends values of a header field as headerColumn has them.
func appendValues(b []byte, values []string) []byte {
	for _, v := range values {
		b = imap.AppendCasemap(append(b, fieldBegin), message.DecodeHeader(v))
	}
	return b
}

// The columns of dates: the moment in UTC, and the day in the zone of the sender.
const (
	momentSize = 8
	sentSize   = momentSize + 8
)

// sentColumn is the Date field: the second since 1970 and the day, each as number of 64
// bits. If it is missing or no date it is one byte.
func sentColumn() column {
	return envelopeColumn("sent", true, func(b, env []byte) []byte {
		value, _ := imap.EnvelopeString(env, imap.EnvelopeDate)
		t, err := message.ParseDate(value)
		if err != nil {
			return append(b, 0) //nolint:nilerr // Dates in mail may be anything.
		}
		_, offset := t.Zone()
		b = binary.BigEndian.AppendUint64(b, uint64(t.Unix()))
		return binary.BigEndian.AppendUint64(b, uint64(floorDiv(t.Unix()+int64(offset), secondsPerDay)))
	})
}

const secondsPerDay = 24 * 60 * 60

// floorDiv divides, and rounds down also below zero.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// sentMoment returns the moment in a text of sentColumn.
func sentMoment(text []byte) (sec int64, ok bool) {
	if len(text) != sentSize {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(text)), true
}

// sentDay returns the day since 1970 in a text of sentColumn.
func sentDay(text []byte) (day int64, ok bool) {
	if len(text) != sentSize {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(text[momentSize:])), true
}

// sortColumn returns the column for a criterion of SORT, and false for those that need
// none.
func sortColumn(key string) (c column, ok bool) {
	switch key {
	case "FROM":
		return mailboxColumn("sort from", imap.EnvelopeFrom), true
	case "TO":
		return mailboxColumn("sort to", imap.EnvelopeTo), true
	case "CC":
		return mailboxColumn("sort cc", imap.EnvelopeCc), true
	case "DISPLAYFROM":
		return displayColumn("sort displayfrom", imap.EnvelopeFrom), true
	case "DISPLAYTO":
		return displayColumn("sort displayto", imap.EnvelopeTo), true
	case "SUBJECT":
		return baseColumn(), true
	case "DATE":
		return sentColumn(), true
	}
	return column{}, false // ARRIVAL and SIZE.
}

// baseColumn is the base subject (RFC 5256, section 2.1).
func baseColumn() column {
	return envelopeColumn("base", false, func(b, env []byte) []byte {
		s, _ := imap.EnvelopeString(env, imap.EnvelopeSubject)
		base, _ := message.SortSubject(s)
		return imap.AppendCasemap(b, base)
	})
}

// mailboxColumn is addr-mailbox of the first address of a field (RFC 5256, section 3).
func mailboxColumn(name string, field imap.EnvelopeField) column {
	return envelopeColumn(name, false, func(b, env []byte) []byte {
		if list := imap.EnvelopeAddresses(env, field); len(list) > 0 {
			b = imap.AppendCasemap(b, list[0].Mailbox)
		}
		return b
	})
}

// displayColumn is the name of the first address of a field as people see it (RFC
// 5957, section 3).
func displayColumn(name string, field imap.EnvelopeField) column {
	return envelopeColumn(name, false, func(b, env []byte) []byte {
		list := imap.EnvelopeAddresses(env, field)
		if len(list) == 0 {
			return b
		}
		return imap.AppendCasemap(b, displayOf(list[0]))
	})
}

func displayOf(a message.Address) string {
	name := message.DecodeHeader(a.Name)
	switch {
	case name != "":
		return name
	case a.Mailbox != "" && a.Host != "":
		return a.Mailbox + "@" + a.Host
	}
	return a.Mailbox
}

// threadColumn is what THREAD=REFERENCES needs of a message: one byte that says whether
// it is a reply, then ids as numbers of 64 bits: its own, or 0 if it has none, and those
// of its references, the nearest last.
func threadColumn() column { return fieldColumn("thread", "references", true, appendThread) }

// appendThread appends the text of threadColumn. References are the values of the
// field.
func appendThread(b []byte, env []byte, references []string) []byte {
	subject, _ := imap.EnvelopeString(env, imap.EnvelopeSubject)
	_, isReply := message.SortSubject(subject)
	b = append(b, 0)
	if isReply {
		b[len(b)-1] = 1
	}
	id, _ := imap.EnvelopeString(env, imap.EnvelopeMessageID)
	own := uint64(0)
	if ids := message.ThreadIDs(id); len(ids) > 0 {
		own = threadID(ids[0])
	}
	b = binary.BigEndian.AppendUint64(b, own)
	refs := message.ThreadIDs(strings.Join(references, " "))
	if len(refs) == 0 {
		s, _ := imap.EnvelopeString(env, imap.EnvelopeInReplyTo)
		refs = message.ThreadIDs(s)
		refs = refs[:min(len(refs), 1)]
	}
	for _, r := range refs {
		b = binary.BigEndian.AppendUint64(b, threadID(r))
	}
	return b
}

// threadSeed makes numbers of ids that nobody can choose ids for.
var threadSeed = maphash.MakeSeed()

// threadID returns the number that stands for an id while the server runs. It is not 0.
func threadID(id string) uint64 { return maphash.String(threadSeed, id) | 1 }
