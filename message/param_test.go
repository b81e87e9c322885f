package message

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseContentType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		{"RFC 2045, section 5.1, with comment", `text/plain; charset=us-ascii (Plain text)`, `TEXT/PLAIN CHARSET="us-ascii"`},
		{"RFC 2045, section 5.1, quoted", `text/plain; charset="us-ascii"`, `TEXT/PLAIN CHARSET="us-ascii"`},
		{"comments everywhere", `(a)text(b)/(c(d))plain(e);(f)charset(g)=(h)x(i)`, `TEXT/PLAIN CHARSET="x(i)"`},
		{"spaces around everything", " text / plain ; a = b ; c = \"d\" ", `TEXT/PLAIN A="b" C="d"`},
		{"escapes", `a/b; c="d\"e\\f;g"; h=i`, `A/B C="d\"e\\f;g" H="i"`},
		{"a value that should be quoted", `a/b; name=my file=1.txt; c=d`, `A/B NAME="my file=1.txt" C="d"`},
		{"a quoted string without end", `a/b; c="d; e=f`, `A/B C="d; e=f"`},
		{"a comment without end", `a/b; c=d (e; f=g`, `A/B C="d" F="g"`},
		{"semicolons too many", `a/b;; ;c=d;`, `A/B C="d"`},
		{"no value", `a/b; c; d=e`, `A/B D="e"`},
		{"an empty value", `a/b; c=; d=""`, `A/B C="" D=""`},
		{"text after a quoted value", `a/b; c="d" e; f=g`, `A/B C="d" F="g"`},
		{"only a type", `text`, `bad`},
		{"no subtype", `text/; a=b`, `bad`},
		{"no type", `/plain`, `bad`},
		{"nothing", ``, `bad`},

		{"RFC 2231, section 3", "message/external-body; access-type=URL; URL*0=\"ftp://\"; URL*1=\"cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\"",
			`MESSAGE/EXTERNAL-BODY ACCESS-TYPE="URL" URL="ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"`},
		{"RFC 2231, section 4", "application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
			`APPLICATION/X-STUFF TITLE*="This is ***fun***"`},
		{"RFC 2231, section 4.1", "application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
			`APPLICATION/X-STUFF TITLE*="This is even more ***fun*** isn't it!"`},
		{"sections in another order", "a/b; c*1=2; x=y; c*0=1", `A/B C="12" X="y"`},
		{"a section missing", "a/b; c*0=1; c*2=3", `A/B C="1"`},
		{"a section twice", "a/b; c*0=1; c*0=2; c*1=3", `A/B C="13"`},
		{"a character split between sections", "a/b; c*0*=utf-8''%c3; c*1*=%a9", `A/B C*="é"`},
		{"no charset", "a/b; c*=%41", `A/B C*="A"`},
		{"an unknown charset", "a/b; c*=x-what''%e9", `A/B C*="é"`},
		{"bad percents", "a/b; c*=utf-8''%4%zz%", `A/B C*="%4%zz%"`},
		{"both forms", "a/b; c=1; c*=utf-8''2", `A/B C="1" C*="2"`},
		{"one piece and sections", "a/b; c*0=1; c*=utf-8''2", `A/B C*="2"`},
		{"not a section", "a/b; c*x=1; *0=2; c*01=3", `A/B C*X="1" *0="2" C*01="3"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			typ, subtype, params, ok := parseContentType(c.value)
			got := typ + "/" + subtype
			if !ok {
				got = "bad"
			}
			for _, p := range params {
				got += fmt.Sprintf(" %s=\"%s\"", p.Name, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p.Value))
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestParseDisposition(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		value, disposition, filename string
	}{
		{`attachment; filename=genome.jpeg; modification-date="Wed, 12 Feb 1997 16:29:51 -0500"`, "ATTACHMENT", "genome.jpeg"}, // RFC 2183, section 2.10.
		{`inline`, "INLINE", ""},
		{`; filename=a`, "ATTACHMENT", "a"},
		{`attachment; filename="=?utf-8?q?=C3=A9?="`, "ATTACHMENT", "é"},
		{`attachment; filename=x; filename*=utf-8''%C3%A9`, "ATTACHMENT", "é"},
		{``, "", ""},
	} {
		var p Part
		p.Disposition, p.DispositionParams = parseDisposition(c.value)
		if got := p.Filename(); p.Disposition != c.disposition || got != c.filename {
			t.Errorf("%s: got %q, %q", c.value, p.Disposition, got)
		}
	}
}

func TestEncodingToken(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"base64": "BASE64", " (x) 7bit (y)": "7BIT", `"8bit"`: "8BIT", "base64;": "BASE64", "x-a b": "X-A", "": "", `"`: "",
	} {
		if got := encodingToken(value); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}
