package imap

import (
	"math"
	"strconv"

	"github.com/mjl-/mox/message"
)

// AppendBodyStructure appends the value of BODYSTRUCTURE if extended is set, and
// else of BODY (RFC 9051, section 7.5.2).
//
// What the grammar demands and the message does not have is made up: an empty
// envelope and text for an encoded message, and one part of text for a multipart
// that could not be taken apart.
func AppendBodyStructure(b []byte, p *message.Part, extended bool) []byte {
	b = append(b, '(')
	if p.Type == "MULTIPART" {
		b = bsAppendMultipart(b, p, extended)
	} else {
		b = bsAppendSingle(b, p, extended)
	}
	return append(b, ')')
}

func bsAppendMultipart(b []byte, p *message.Part, extended bool) []byte {
	for i := range p.Parts {
		b = AppendBodyStructure(b, &p.Parts[i], extended)
	}
	if len(p.Parts) == 0 {
		opaque := p.Opaque()
		b = AppendBodyStructure(b, &opaque, extended)
	}
	b = append(b, ' ')
	b = envAppendString(b, p.Subtype)
	if !extended {
		return b
	}
	b = append(b, ' ')
	b = bsAppendParams(b, p.Params)
	return bsAppendExtension(b, p)
}

func bsAppendSingle(b []byte, p *message.Part, extended bool) []byte {
	b = envAppendString(b, p.Type)
	b = append(b, ' ')
	b = envAppendString(b, p.Subtype)
	b = append(b, ' ')
	b = bsAppendParams(b, p.Params)
	b = append(b, ' ')
	b = appendNString(b, p.ID)
	b = append(b, ' ')
	b = appendNString(b, p.Description)
	b = append(b, ' ')
	if p.Encoding == "" {
		b = append(b, `"7BIT"`...)
	} else {
		b = envAppendString(b, p.Encoding)
	}
	b = append(b, ' ')
	b = strconv.AppendInt(b, min(p.Size(), math.MaxUint32), 10)
	switch {
	case p.Type == "TEXT":
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.Lines, 10)
	case p.Type == "MESSAGE" && (p.Subtype == "RFC822" || p.Subtype == "GLOBAL"):
		b = bsAppendMessage(b, p, extended)
	}
	if !extended {
		return b
	}
	b = append(b, ' ')
	b = appendNString(b, p.MD5)
	return bsAppendExtension(b, p)
}

// bsAppendMessage appends envelope, structure and lines of a nested message.
func bsAppendMessage(b []byte, p *message.Part, extended bool) []byte {
	nested := p.Message
	if nested == nil {
		nested = &message.Part{Type: "TEXT", Subtype: "PLAIN"}
	}
	b = append(b, ' ')
	b = AppendEnvelope(b, nested.Envelope)
	b = append(b, ' ')
	b = AppendBodyStructure(b, nested, extended)
	b = append(b, ' ')
	return strconv.AppendInt(b, p.Lines, 10)
}

// bsAppendExtension appends disposition, language and location.
func bsAppendExtension(b []byte, p *message.Part) []byte {
	b = append(b, ' ')
	if p.Disposition == "" {
		b = append(b, "NIL"...)
	} else {
		b = append(b, '(')
		b = envAppendString(b, p.Disposition)
		b = append(b, ' ')
		b = bsAppendParams(b, p.DispositionParams)
		b = append(b, ')')
	}
	b = append(b, ' ')
	b = bsAppendLanguage(b, p.Language)
	b = append(b, ' ')
	return appendNString(b, p.Location)
}

func bsAppendLanguage(b []byte, tags []string) []byte {
	switch len(tags) {
	case 0:
		return append(b, "NIL"...)
	case 1:
		return envAppendString(b, tags[0])
	}
	for i, tag := range tags {
		b = append(b, "( "[min(i, 1)])
		b = envAppendString(b, tag)
	}
	return append(b, ')')
}

func bsAppendParams(b []byte, params []message.Param) []byte {
	if len(params) == 0 {
		return append(b, "NIL"...)
	}
	for i, p := range params {
		b = append(b, "( "[min(i, 1)])
		b = envAppendString(b, p.Name)
		b = append(b, ' ')
		b = envAppendString(b, p.Value)
	}
	return append(b, ')')
}
