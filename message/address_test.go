package message

import (
	"fmt"
	"strings"
	"testing"
)

// format writes addresses for comparing: name|adl|mailbox|host.
func format(list []Address) string {
	var parts []string
	for _, a := range list {
		parts = append(parts, fmt.Sprintf("%s|%s|%s|%s", a.Name, a.Adl, a.Mailbox, a.Host))
	}
	return strings.Join(parts, " , ")
}

func TestParseAddressList(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		// RFC 5322, appendix A.
		{"A.1.1", "John Doe <jdoe@machine.example>", "John Doe||jdoe|machine.example"},
		{"A.1.2", `"Joe Q. Public" <john.q.public@example.com>`, "Joe Q. Public||john.q.public|example.com"},
		{"A.1.2, list", "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>", "Mary Smith||mary|x.test , ||jdoe|example.org , Who?||one|y.test"},
		{"A.1.2, escapes", `<boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>`, `||boss|nil.test , Giant; "Big" Box||sysservices|example.net`},
		{"A.1.3", "A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;", "||A Group| , Ed Jones||joe|where.test , ||joe|where.test , John||jdoe|one.test , |||"},
		{"A.1.3, empty", "Undisclosed recipients:;", "||Undisclosed recipients| , |||"},
		{"A.5", `Pete(A nice \) chap) <pete(his account)@silly.test(his host)>`, "Pete||pete|silly.test"},
		{"A.5, group", "A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)", "||A Group| , Chris Jones||c|public.example , ||joe|example.org , John||jdoe|one.test , |||"},
		{"A.5, empty group", "(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", "||Hidden recipients| , |||"},
		{"A.6.1", "Joe Q. Public <john.q.public@example.com>", "Joe Q. Public||john.q.public|example.com"},
		{"A.6.1, route", "Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example", "Mary Smith|@node.test|mary|example.net , ||jdoe|test.example"},
		{"a route of two", "<@a.test,@b.test:m@c.test>", "|@a.test,@b.test|m|c.test"},
		{"white space around dots", "john . public@example.org", "||john.public|example.org"},
		{"RFC 6854, a group in From", "Managing Partners:ben@example.com,carol@example.com;", "||Managing Partners| , ||ben|example.com , ||carol|example.com , |||"},

		{"a comment as the name", "jo@example.org (Jo Smith)", "Jo Smith||jo|example.org"},
		{"an encoded-word stays", "=?utf-8?q?J=C3=B6?= <jo@example.org>", "=?utf-8?q?J=C3=B6?=||jo|example.org"},
		{"an encoded-word with specials", "=?utf-8?q?Smith,_Jo_<x>?= <jo@example.org>", "=?utf-8?q?Smith,_Jo_<x>?=||jo|example.org"},
		{"8 bits", "J\u00f6 <j\u00f6@\u00f6.example>", "J\u00f6||j\u00f6|\u00f6.example"},
		{"a quoted local part", `"john smith"@example.org`, `||"john smith"|example.org`},
		{"escapes in a local part", `"a\"b\\c"@example.org`, `||"a\"b\\c"|example.org`},
		{"needless quotes", `"john.smith"@example.org`, `||john.smith|example.org`},
		{"an empty local part", `""@example.org`, `||""|example.org`},
		{"a domain-literal", "jo@[192.0.2.1]", "||jo|[192.0.2.1]"},
		{"a domain-literal without end", "jo@[192.0.2.1, b@c", "||jo|[192.0.2.1 , ||b|c"},
		{"an address as the name", "jo@example.org <jo@example.net>", "jo@example.org||jo|example.net"},
		{"a name before a bare address", "Jo Smith jo@example.org", "Jo Smith||jo|example.org"},
		{"a local user", "root, jo@example.org", "||root|missing-host.invalid , ||jo|example.org"},
		{"a name only", "Jo Smith", "Jo Smith||missing-mailbox|missing-host.invalid"},
		{"a local user in brackets", "<root>", "||root|missing-host.invalid"},
		{"nothing in brackets", "<>", ""},
		{"a name and nothing in brackets", "Jo <>", "Jo||missing-mailbox|missing-host.invalid"},
		{"no local part", "@example.org", "||missing-mailbox|example.org"},
		{"no domain", "jo@", "||jo|missing-host.invalid"},
		{"two at-signs", "a@b@c", "||a|b"},
		{"brackets without end", "Jo <jo@example.org, b@c", "Jo||jo|example.org , ||b|c"},
		{"two addresses in brackets", "Jo <a@b><c@d>, e@f", "Jo||a|b , ||e|f"},
		{"brackets twice", "Jo <<a@b>>", "Jo||a|b"},
		{"a quoted string without end", `"Jo <jo@example.org>, x@y`, "Jo <jo@example.org>, x@y||missing-mailbox|missing-host.invalid"},
		{"a comment without end", "jo@example.org (x, a@b", "x, a@b||jo|example.org"},
		{"a group without end", "g: a@b", "||g| , ||a|b , |||"},
		{"a group in a group", "g: h: a@b;, c@d", "||g| , ||a|b , ||| , ||c|d"},
		{"a semicolon without group", "a@b; c@d", "||a|b , ||c|d"},
		{"a group without name", ": a@b;", "||a|b"},
		{"commas only", " , ,,", ""},
		{"nothing", "", ""},
		{"junk", ")>\"", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := format(ParseAddressList(c.value)); got != c.want {
				t.Errorf("%q\ngot  %s\nwant %s", c.value, got, c.want)
			}
		})
	}
}

func TestParseAddressListLimit(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a@b,", "g:;", "g:", "g:a,", "a "} {
		if got := len(ParseAddressList(strings.Repeat(s, addressesMax))); got > addressesMax {
			t.Errorf("%q: got %d addresses", s, got)
		}
	}
}

// FuzzParseAddressList checks that groups are balanced, that all addresses have a
// mailbox and host, and that composing the result and parsing it again gives the
// same mailboxes.
func FuzzParseAddressList(f *testing.F) {
	f.Add(`"a b" <@r:c@d>, g: e@[f] (g), =?utf-8?q?,?= h;`)
	f.Add(`"x\"y"@z <a . b@c>`)
	f.Fuzz(func(t *testing.T, s string) {
		group := false
		for _, a := range ParseAddressList(s) {
			switch {
			case a == Address{}:
				if !group {
					t.Fatalf("%q: end without start", s)
				}
				group = false
			case a.Host == "":
				if group || a.Mailbox == "" {
					t.Fatalf("%q: bad start of a group %+v", s, a)
				}
				group = true
			case a.Mailbox == "":
				t.Fatalf("%q: no mailbox in %+v", s, a)
			default:
				again := ParseAddressList("<" + a.Mailbox + "@" + a.Host + ">")
				if isDotAtom(a.Mailbox) && isDotAtom(a.Host) && (len(again) != 1 || again[0].Mailbox != a.Mailbox || again[0].Host != a.Host) {
					t.Fatalf("%q: %+v parsed again is %+v", s, a, again)
				}
			}
		}
		if group {
			t.Fatalf("%q: start without end", s)
		}
	})
}
