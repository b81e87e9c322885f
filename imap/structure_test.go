package imap

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mjl-/mox/message"
)

// grammar reads what AppendEnvelope and AppendBodyStructure write, by the ABNF of
// RFC 9051, section 9, and nothing more. It panics with an error at what is not
// in the grammar.
type grammar struct{ rest string }

func (g *grammar) fail(want string) {
	panic(fmt.Errorf("want %s at %.80q", want, g.rest))
}

func (g *grammar) take(s string) {
	if !g.tryTake(s) {
		g.fail(strconv.Quote(s))
	}
}

func (g *grammar) tryTake(s string) (ok bool) {
	if g.rest, ok = strings.CutPrefix(g.rest, s); ok {
		return true
	}
	return false
}

func (g *grammar) number() int64 {
	end := 0
	for end < len(g.rest) && '0' <= g.rest[end] && g.rest[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(g.rest[:end], 10, 64)
	if err != nil {
		g.fail("number")
	}
	g.rest = g.rest[end:]
	return n
}

func (g *grammar) string() string {
	if g.tryTake("{") {
		n := g.number()
		g.take("}\r\n")
		if n > int64(len(g.rest)) || strings.IndexByte(g.rest[:n], 0) >= 0 {
			g.fail("literal")
		}
		s := g.rest[:n]
		g.rest = g.rest[n:]
		return s
	}
	g.take(`"`)
	var b strings.Builder
	for {
		switch {
		case g.tryTake(`"`):
			return b.String()
		case g.tryTake(`\`):
			if !strings.HasPrefix(g.rest, `"`) && !strings.HasPrefix(g.rest, `\`) {
				g.fail("quoted-specials")
			}
		case g.rest == "" || g.rest[0] == 0 || g.rest[0] == '\r' || g.rest[0] == '\n' || g.rest[0] >= 0x80:
			g.fail("text in quotes")
		}
		b.WriteByte(g.rest[0])
		g.rest = g.rest[1:]
	}
}

func (g *grammar) nstring() (s string, ok bool) {
	if g.tryTake("NIL") {
		return "", false
	}
	return g.string(), true
}

func (g *grammar) envelope() {
	g.take("(")
	g.nstring()
	g.take(" ")
	g.nstring()
	for range 6 {
		g.take(" ")
		g.addresses()
	}
	g.take(" ")
	g.nstring()
	g.take(" ")
	g.nstring()
	g.take(")")
}

// addresses reads a list, and checks that groups are balanced.
func (g *grammar) addresses() {
	if g.tryTake("NIL") {
		return
	}
	g.take("(")
	group := false
	for more := true; more; more = !g.tryTake(")") {
		g.take("(")
		g.nstring()
		g.take(" ")
		g.nstring()
		g.take(" ")
		_, mailbox := g.nstring()
		g.take(" ")
		_, host := g.nstring()
		g.take(")")
		if !host {
			if group == mailbox {
				g.fail("balanced groups")
			}
			group = mailbox
		} else if !mailbox {
			g.fail("mailbox")
		}
	}
	if group {
		g.fail("end of group")
	}
}

func (g *grammar) params() {
	if g.tryTake("NIL") {
		return
	}
	g.take("(")
	for more := true; more; more = g.tryTake(" ") {
		g.string()
		g.take(" ")
		g.string()
	}
	g.take(")")
}

func (g *grammar) body(extended bool) {
	g.take("(")
	if strings.HasPrefix(g.rest, "(") {
		for strings.HasPrefix(g.rest, "(") {
			g.body(extended)
		}
		g.take(" ")
		g.string()
		if extended {
			g.take(" ")
			g.params()
		}
	} else {
		g.single(extended)
		if extended {
			g.take(" ")
			g.nstring()
		}
	}
	if extended {
		g.extension()
	}
	g.take(")")
}

func (g *grammar) single(extended bool) {
	typ := g.string()
	g.take(" ")
	subtype := g.string()
	g.take(" ")
	g.params()
	for range 2 { // Id and description.
		g.take(" ")
		g.nstring()
	}
	g.take(" ")
	g.string()
	g.take(" ")
	if n := g.number(); n > 1<<32-1 {
		g.fail("32-bit number")
	}
	switch {
	case typ == "MESSAGE" && (subtype == "RFC822" || subtype == "GLOBAL"):
		g.take(" ")
		g.envelope()
		g.take(" ")
		g.body(extended)
		fallthrough
	case typ == "TEXT":
		g.take(" ")
		g.number()
	case typ == "MULTIPART":
		g.fail("a multipart with parts")
	}
}

func (g *grammar) extension() {
	g.take(" ")
	if !g.tryTake("NIL") {
		g.take("(")
		g.string()
		g.take(" ")
		g.params()
		g.take(")")
	}
	g.take(" ")
	if g.tryTake("(") {
		for more := true; more; more = g.tryTake(" ") {
			g.string()
		}
		g.take(")")
	} else {
		g.nstring()
	}
	g.take(" ")
	g.nstring()
}

// checkGrammar checks that s is what read reads, and nothing more.
func checkGrammar(t testing.TB, s string, read func(*grammar)) {
	t.Helper()
	g := &grammar{s}
	defer func() {
		if err := recover(); err != nil {
			t.Fatalf("%v in %q", err, s)
		}
	}()
	read(g)
	if g.rest != "" {
		t.Fatalf("more than expected: %q", g.rest)
	}
}

// checkStructure checks all that is sent about the structure of msg.
func checkStructure(t testing.TB, msg string) message.Part {
	t.Helper()
	p, _ := message.Parse(strings.NewReader(msg), int64(len(msg)))
	checkGrammar(t, string(AppendEnvelope(nil, p.Envelope)), (*grammar).envelope)
	for _, extended := range []bool{false, true} {
		checkGrammar(t, string(AppendBodyStructure(nil, &p, extended)), func(g *grammar) { g.body(extended) })
	}
	return p
}

func TestAppendEnvelope(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", envQuotedMax)
	for _, c := range []struct{ name, header, want string }{
		{
			"RFC 9051, section 8",
			"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\nFrom: Terry Gray <gray@cac.washington.edu>\nSubject: IMAP4rev2 WG mtg summary and minutes\nTo: imap@cac.washington.edu\ncc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\nMessage-Id: <B27397-0100000@cac.washington.edu>\n",
			`("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" (("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) ((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL "<B27397-0100000@cac.washington.edu>")`,
		},
		{"nothing", "", `(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"sender and reply-to of their own", "From: a@b\nSender: c@d\nReply-To: e@f\n", `(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "c" "d")) ((NIL NIL "e" "f")) NIL NIL NIL NIL NIL)`},
		{"empty sender and reply-to", "From: a@b\nSender:\nReply-To: \n", `(NIL NIL ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) ((NIL NIL "a" "b")) NIL NIL NIL NIL NIL)`},
		{"encoded-words stay", "Subject: =?utf-8?q?=C3=A9?=\nTo: =?utf-8?q?=C3=A9?= <a@b>\n", `(NIL "=?utf-8?q?=C3=A9?=" NIL NIL NIL (("=?utf-8?q?=C3=A9?=" NIL "a" "b")) NIL NIL NIL NIL)`},
		{"a group", "To: g: a@b;, c\n", `(NIL NIL NIL NIL NIL ((NIL NIL "g" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL)(NIL NIL "c" "missing-host.invalid")) NIL NIL NIL NIL)`},
		{"a route", "Bcc: <@r:a@b>\n", `(NIL NIL NIL NIL NIL NIL NIL ((NIL "@r" "a" "b")) NIL NIL)`},
		{"quotes and backslashes", `Subject: a "b" \c` + "\nTo: \"d e\"@f\n", `(NIL "a \"b\" \\c" NIL NIL NIL ((NIL NIL "d e" "f")) NIL NIL NIL NIL)`},
		{"a local part that needs quotes has none", `To: "a\"b\\c"@f, ""@g, "h"@i` + "\n", `(NIL NIL NIL NIL NIL ((NIL NIL "a\"b\\c" "f")(NIL NIL "" "g")(NIL NIL "h" "i")) NIL NIL NIL NIL)`},
		{"8 bits", "Subject: \u00e9\xff\n", "(NIL {3}\r\n\u00e9\xff NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"NUL and CR", "Subject: a\x00b\rc\n", `(NIL "abc" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"only NUL", "Subject: \x00\n", `(NIL "" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"folded", "In-Reply-To: <a>\n <b>\n", `(NIL NIL NIL NIL NIL NIL NIL NIL "<a> <b>" NIL)`},
		{"the longest in quotes", "Subject: " + long + "\n", `(NIL "` + long + `" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"longer", "Subject: " + long + "x\n", "(NIL {1001}\r\n" + long + "x NIL NIL NIL NIL NIL NIL NIL NIL)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := checkStructure(t, c.header+"\n")
			if got := string(AppendEnvelope(nil, p.Envelope)); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	if got := string(AppendEnvelope([]byte("x"), &message.Envelope{To: []message.Address{{Host: "h"}}})); got != `x(NIL NIL NIL NIL NIL ((NIL NIL "" "h")) NIL NIL NIL NIL)` {
		t.Errorf("an address without mailbox: got %s", got)
	}
}

func TestAppendBodyStructure(t *testing.T) {
	t.Parallel()
	const opaque = `("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" `
	for _, c := range []struct{ name, msg, body, extended string }{
		{
			"plain text", "\nx\ny\n",
			opaque + `4 2)`,
			opaque + `4 2 NIL NIL NIL NIL)`,
		},
		{
			"all fields", "Content-Type: image/png; name=x\nContent-ID: <i>\nContent-Description: \"d\"\nContent-Transfer-Encoding: base64\nContent-MD5: m==\nContent-Disposition: attachment; filename=y\nContent-Language: en, de\nContent-Location: l\n\naaaa",
			`("IMAGE" "PNG" ("NAME" "x") "<i>" "\"d\"" "BASE64" 4)`,
			`("IMAGE" "PNG" ("NAME" "x") "<i>" "\"d\"" "BASE64" 4 "m==" ("ATTACHMENT" ("FILENAME" "y")) ("en" "de") "l")`,
		},
		{
			"one language, disposition without parameters", "Content-Type: a/b\nContent-Disposition: inline\nContent-Language: en\n\n",
			`("A" "B" NIL NIL NIL "7BIT" 0)`,
			`("A" "B" NIL NIL NIL "7BIT" 0 NIL ("INLINE" NIL) "en" NIL)`,
		},
		{
			"two parts, RFC 9051, section 7.5.2", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=us-ascii\n\nx\n\n--b\nContent-Type: text/plain; charset=us-ascii; name=cc.diff\nContent-ID: <960723163407.20117h@cac.washington.edu>\nContent-Description: Compiler diff\nContent-Transfer-Encoding: base64\n\naaaa\n\n--b--\n",
			`(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 2 1)("TEXT" "PLAIN" ("CHARSET" "us-ascii" "NAME" "cc.diff") "<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 5 1) "MIXED")`,
			`(("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 2 1 NIL NIL NIL NIL)("TEXT" "PLAIN" ("CHARSET" "us-ascii" "NAME" "cc.diff") "<960723163407.20117h@cac.washington.edu>" "Compiler diff" "BASE64" 5 1 NIL NIL NIL NIL) "MIXED" ("BOUNDARY" "b") NIL NIL NIL)`,
		},
		{
			"a nested message", "Content-Type: message/rfc822\n\nSubject: s\n\nx\n",
			`("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 14 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) ` + opaque + `2 1) 3)`,
			`("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 14 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) ` + opaque + `2 1 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)`,
		},
		{
			"an encoded nested message", "Content-Type: message/global\nContent-Transfer-Encoding: base64\n\naaaa\n",
			`("MESSAGE" "GLOBAL" NIL NIL NIL "BASE64" 5 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 0 0) 1)`,
			`("MESSAGE" "GLOBAL" NIL NIL NIL "BASE64" 5 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 0 0 NIL NIL NIL NIL) 1 NIL NIL NIL NIL)`,
		},
		{
			"a multipart without parts", "Content-Type: multipart/mixed\n\nx\n",
			`(` + opaque + `2 1) "MIXED")`,
			`(` + opaque + `2 1 NIL NIL NIL NIL) "MIXED" NIL NIL NIL NIL)`,
		},
		{
			"a decoded parameter", "Content-Type: a/b; n*=utf-8''%C3%A9%22\n\n",
			"(\"A\" \"B\" (\"N*\" {3}\r\n\u00e9\") NIL NIL \"7BIT\" 0)",
			"(\"A\" \"B\" (\"N*\" {3}\r\n\u00e9\") NIL NIL \"7BIT\" 0 NIL NIL NIL NIL)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := checkStructure(t, c.msg)
			// MUST 9051 9 #7,8: BODY has no extension data
			// MUST 9051 9 #9: MESSAGE/RFC822 and MESSAGE/GLOBAL have an envelope and structure
			if got := string(AppendBodyStructure(nil, &p, false)); got != c.body {
				t.Errorf("BODY\ngot  %s\nwant %s", got, c.body)
			}
			// MUST 9051 7.5.2 #8,11: extension data is in the order of the grammar
			// MUST 9051 7.5.2 #10: there is no extension data but that of the RFC
			// MUST 9051 9 #6: there are no body-extension fields
			if got := string(AppendBodyStructure(nil, &p, true)); got != c.extended {
				t.Errorf("BODYSTRUCTURE\ngot  %s\nwant %s", got, c.extended)
			}
		})
	}
	huge := message.Part{EndOffset: 1 << 40, Type: "A", Subtype: "B"}
	checkGrammar(t, string(AppendBodyStructure(nil, &huge, true)), func(g *grammar) { g.body(true) })
}

func FuzzStructure(f *testing.F) {
	f.Add("From: g: \"a\\\"b\"@c;\nSubject: \x80\nContent-Type: multipart/x; boundary=b\n\n--b\nContent-Type: message/rfc822; a=\x00\n\n--b--\n")
	f.Add("Content-Disposition: \xff; a=\r\nContent-Language: ,a,b\n\n")
	f.Fuzz(func(t *testing.T, msg string) { checkStructure(t, msg) })
}

// TestStructureCorpus checks the grammar for the published corpora, which are
// beside the repository.
func TestStructureCorpus(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	shared := ""
	for shared == "" {
		try := filepath.Join(dir, "shared", "testdata")
		if _, err := os.Stat(try); err == nil {
			shared = try
		} else if up := filepath.Dir(dir); up != dir {
			dir = up
		} else {
			t.Skip("skipped: no ../shared/testdata")
		}
	}
	for _, sub := range []string{"mime-mail-parser", "mime-mime4j"} {
		err := filepath.WalkDir(filepath.Join(shared, sub), func(path string, d fs.DirEntry, err error) error {
			if ext := filepath.Ext(path); err != nil || d.IsDir() || ext != ".eml" && ext != ".msg" {
				return err
			}
			msg, err := os.ReadFile(path)
			if err == nil {
				checkStructure(t, string(msg))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
