package imapserver

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/mjl-/mox/imap"
	"github.com/mjl-/mox/sasl"
)

// capabilityNames are those that every session has: what RFC 9051 includes is
// named too, for clients that only know IMAP4rev1.
var capabilityNames = []string{
	"IMAP4rev2", "IMAP4rev1", "ENABLE", "LITERAL+", "SASL-IR", "BINARY", "UNSELECT", "UIDPLUS", "MOVE", "NAMESPACE",
	"IDLE", "INPROGRESS", "COMPRESS=DEFLATE", "UNAUTHENTICATE",
	"ESEARCH", "SEARCHRES", "WITHIN", "CONTEXT=SEARCH", "CONTEXT=SORT", "ESORT", "FILTERS", "MULTISEARCH",
	"UTF8=ACCEPT",
	"PARTIAL",
	"SORT", "SORT=DISPLAY", "THREAD=REFERENCES", "THREAD=ORDEREDSUBJECT", "I18NLEVEL=1",
	"CONDSTORE", "QRESYNC", "UIDONLY",
	"OBJECTID", "SAVEDATE", "PREVIEW",
	"LIST-EXTENDED", "CHILDREN", "SPECIAL-USE", "CREATE-SPECIAL-USE", "LIST-STATUS",
	"STATUS=SIZE",
	"NOTIFY",
	"METADATA", "LIST-METADATA",
	"QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE",
	"MULTIAPPEND", "REPLACE", "UIDBATCHES",
}

// capabilities returns what the session can do now.
func (s *session) capabilities() string {
	names := append(slices.Clone(capabilityNames), "APPENDLIMIT="+strconv.FormatInt(s.server.opts.AppendSizeMax, 10), "ID")
	if s.account != nil {
		return strings.Join(slices.DeleteFunc(names, func(name string) bool { return s.disabled(strings.ToUpper(name)) }), " ")
	}
	list := strings.Join(names, " ")
	if s.listener.TLS != nil && s.tls == "" {
		list += " STARTTLS"
	}
	for _, name := range s.server.opts.Auth.Mechanisms(s.secure) {
		if name != sasl.Login { // Who has nothing better has the command.
			list += " AUTH=" + name
		}
	}
	if !s.plainLogin() {
		list += " LOGINDISABLED"
	}
	return list
}

func (s *session) capability(context.Context, command, nothing) (imap.Response, error) {
	s.out.Raw("* CAPABILITY ", s.capabilities()).CRLF()
	return imap.OK("", "done"), nil
}

// noop lets a client poll: what changed is told before the reply. Deliveries
// that were acknowledged before are among it. CHECK is the same.
func (s *session) noop(ctx context.Context, _ command, _ nothing) (imap.Response, error) {
	if s.account != nil {
		s.account.WaitDurable(ctx)
	}
	return imap.OK("", "done"), nil
}

func (s *session) logout(context.Context, command, nothing) (imap.Response, error) {
	s.out.Response("*", imap.Response{Type: "BYE", Text: "goodbye"})
	s.ended = true
	return imap.OK("", "done"), nil
}

func (s *session) namespace(context.Context, command, nothing) (imap.Response, error) {
	s.out.Raw(`* NAMESPACE (("" "/")) NIL NIL`).CRLF()
	return imap.OK("", "done"), nil
}

// idRequest is what a client says of itself, RFC 2971.
type idRequest struct{ fields [][2]string }

// Limits of RFC 2971, section 3.3.
const (
	idFieldsMax = 30
	idNameMax   = 30   // Bytes.
	idValueMax  = 1024 // Bytes.
)

// parseID parses the arguments of ID:
//
//	id = "ID" SP ("(" [string SP nstring *(SP string SP nstring)] ")" / nil)
func parseID(d *imap.Decoder) (req idRequest) {
	d.SP()
	if d.TakeWord("NIL") {
		return req
	}
	d.ListOrEmpty(func() {
		name := d.AString()
		d.SP()
		value, _ := d.NString()
		same := func(f [2]string) bool { return strings.EqualFold(f[0], name) }
		switch {
		case len(req.fields) == idFieldsMax || len(name) > idNameMax || len(value) > idValueMax:
			d.Fail("too many fields, or too long")
		case slices.ContainsFunc(req.fields, same):
			d.Fail("duplicate field %+q", name)
		}
		req.fields = append(req.fields, [2]string{name, value})
	})
	return req
}

// id exchanges names of programs. Those of the client are only logged.
func (s *session) id(_ context.Context, _ command, req idRequest) (imap.Response, error) {
	var words []string
	for _, f := range req.fields {
		words = append(words, f[0]+"="+f[1])
	}
	s.log.Info("client id", "fields", strings.Join(words, " "))
	s.out.Raw(`* ID ("name" "mox"`)
	if v := s.server.opts.Version; v != "" {
		s.out.Raw(` "version" `).String(v)
	}
	s.out.Raw(")").CRLF()
	return imap.OK("", "done"), nil
}

// enableRequest has the capabilities to enable, in upper case.
type enableRequest struct{ names []string }

// parseEnable parses the arguments of ENABLE, RFC 9051, section 9:
//
//	enable = "ENABLE" 1*(SP capability)
func parseEnable(d *imap.Decoder) (req enableRequest) {
	d.SP()
	req.names = append(req.names, strings.ToUpper(d.Atom()))
	for d.TakeSP() {
		req.names = append(req.names, strings.ToUpper(d.Atom()))
	}
	return req
}

// enabling is what ENABLE knows, in the order of the answer.
var enabling = []struct {
	name string
	on   func(s *session) bool // Whether it is on.
	turn func(s *session)
}{
	// UTF-8 in names, ESEARCH responses, no RECENT.
	{"IMAP4rev2", func(s *session) bool { return s.rev2 }, func(s *session) { s.rev2, s.out.UTF8 = true, true }},
	{"UTF8=ACCEPT", func(s *session) bool { return s.utf8 }, func(s *session) { s.utf8, s.out.UTF8 = true, true }},
	{"CONDSTORE", func(s *session) bool { return s.condstore }, (*session).awareOfModSeq},
	{"QRESYNC", func(s *session) bool { return s.qresync }, func(s *session) {
		s.qresync = true
		s.awareOfModSeq()
	}},
	{"UIDONLY", func(s *session) bool { return s.uidOnly }, func(s *session) { s.uidOnly = true }},

	// What others do to annotations is told: RFC 5464, section 4.1.
	{"METADATA", func(s *session) bool { return s.metadata.mailboxes }, func(s *session) { s.enableMetadata(metadataState{true, true}) }},
	{"METADATA-SERVER", func(s *session) bool { return s.metadata.server }, func(s *session) { s.enableMetadata(metadataState{server: true}) }},
}

// enable turns extensions on. What we don't know, or what is switched off, is
// ignored, as RFC 9051, section 6.3.1, says.
func (s *session) enable(_ context.Context, _ command, req enableRequest) (imap.Response, error) {
	enabled := "* ENABLED"
	for _, e := range enabling {
		if s.disabled(strings.ToUpper(e.name)) {
			continue
		}
		if !e.on(s) && slices.ContainsFunc(req.names, func(name string) bool { return strings.EqualFold(name, e.name) }) {
			e.turn(s)
			enabled += " " + e.name
		}
	}
	s.out.Raw(enabled).CRLF()
	return imap.OK("", "done"), nil
}
