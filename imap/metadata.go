package imap

import (
	"bytes"
	"strconv"
)

// GetMetadata is a parsed GETMETADATA (RFC 5464, section 4.2).
type GetMetadata struct {
	Mailbox string   // Empty: what is asked for is of the server.
	Entries []string // As the client wrote them; their validity is not checked.
	Depth   int      // How far below the entries, or DepthInfinity.
	MaxSize int64    // Largest value to return in bytes; negative: any.
}

// DepthInfinity is the depth of all that is below an entry.
const DepthInfinity = -1

// SetMetadata is a parsed SETMETADATA (RFC 5464, section 4.3).
type SetMetadata struct {
	Mailbox string // Empty: of the server.
	Values  []MetadataValue
}

// MetadataValue is an entry with its value. Nil is NIL, which removes.
type MetadataValue struct {
	Entry string
	Value []byte
}

// metadataEntriesMax bounds the entries of a command.
const metadataEntriesMax = 1000

// GetMetadata reads the arguments of GETMETADATA, RFC 5464, section 5:
//
//	getmetadata = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries
//
// The examples of the RFC have the options behind the mailbox, and entries without
// parentheses: clients do both.
func (d *Decoder) GetMetadata() (req GetMetadata) {
	req.MaxSize = -1
	d.SP()
	if d.Peek('(') {
		req.options(d)
		d.SP()
	}
	req.Mailbox = d.Mailbox()
	d.SP()
	if d.atOptions() {
		req.options(d)
		d.SP()
	}
	req.Entries = d.MetadataEntries()
	for !d.Pedantic && d.TakeSP() {
		req.Entries = d.addEntry(req.Entries)
	}
	return req
}

// atOptions reports whether a list begins that can't be one of entries.
func (d *Decoder) atOptions() bool {
	if !d.Peek('(') || d.pos+1 >= len(d.text) {
		return false
	}
	c := d.text[d.pos+1]
	return c != '/' && isAtomChar(c)
}

// options reads the options of GETMETADATA.
func (req *GetMetadata) options(d *Decoder) {
	d.List(func() {
		switch word := d.Word(); word {
		case "MAXSIZE":
			d.SP()
			req.MaxSize = d.Number64()
		case "DEPTH":
			d.SP()
			req.Depth = d.depth()
		default:
			d.Fail("unknown GETMETADATA option %+q", word)
		}
	})
}

func (d *Decoder) depth() int {
	switch word := d.Word(); word {
	case "0":
		return 0
	case "1":
		return 1
	case "INFINITY":
		return DepthInfinity
	default:
		d.Fail("unknown depth %+q", word)
		return 0
	}
}

// MetadataEntries reads an entry, or a list of them in parentheses.
func (d *Decoder) MetadataEntries() (entries []string) {
	if !d.Peek('(') {
		return d.addEntry(nil)
	}
	d.List(func() { entries = d.addEntry(entries) })
	return entries
}

func (d *Decoder) addEntry(entries []string) []string {
	if len(entries) == metadataEntriesMax {
		d.Fail("more than %d entries", metadataEntriesMax)
		return nil
	}
	return append(entries, d.AString())
}

// SetMetadata reads the arguments of SETMETADATA, RFC 5464, section 5:
//
//	setmetadata  = "SETMETADATA" SP mailbox SP entry-values
//	entry-values = "(" entry-value *(SP entry-value) ")"
//	entry-value  = entry SP value
func (d *Decoder) SetMetadata() (req SetMetadata) {
	d.SP()
	req.Mailbox = d.Mailbox()
	d.SP()
	d.List(func() {
		if len(req.Values) == metadataEntriesMax {
			d.Fail("more than %d entries", metadataEntriesMax)
			return
		}
		v := MetadataValue{Entry: d.AString()}
		d.SP()
		v.Value = d.metadataValue()
		req.Values = append(req.Values, v)
	})
	return req
}

// metadataValue reads a value, nil for NIL:
//
//	value = nstring / literal8
func (d *Decoder) metadataValue() []byte {
	if d.Peek('~') {
		return []byte(d.literal())
	}
	s, ok := d.NString()
	if !ok {
		return nil
	}
	return []byte(s)
}

// AppendMetadataValue appends a value, NIL for nil. One with NUL is a literal8.
func AppendMetadataValue(b, value []byte, utf8OK bool) []byte {
	switch {
	case value == nil:
		return append(b, "NIL"...)
	case bytes.IndexByte(value, 0) < 0:
		return AppendString(b, string(value), utf8OK)
	}
	b = strconv.AppendInt(append(b, "~{"...), int64(len(value)), 10)
	return append(append(b, "}\r\n"...), value...)
}
