package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/dns"
	"github.com/mjl-/mox/message"
)

// rulesets are of an address that has none in testDynamic.
const rulesets = `anna@example.org:
				Rulesets:
					-
						SMTPMailFromRegexp: ^bounce[+-].*@forward[.]example$
						VerifiedDomain: forward.example
						IsForward: true
						Mailbox: Forwarded
					-
						HeadersRegexp:
							^list-id$: <gophers[.]lists[.]example>
							^precedence$: ^bulk$
						ListAllowDomain: lists.example
						Mailbox: Lists/Go
					-
						MsgFromRegexp: @möwe[.]example$
						Mailbox: Birds
					-
						HeadersRegexp:
							^subject$: grüße
							^x-: .
						AcceptRejectsToMailbox: Rejects/Odd
						Mailbox: Odd
					-
						VerifiedDomain: möwe.example
						Mailbox: Nest
`

func TestMatch(t *testing.T) {
	t.Parallel()
	dynamic := strings.Replace(testDynamic, "anna@example.org: nil\n", rulesets, 1)
	c, err := Load([]byte(testStatic), []byte(dynamic), nil)
	if err != nil {
		t.Fatal(err)
	}
	target, err := c.Resolve(parsePath(t, "anna+x@example.org"))
	if err != nil || !target.HasRules() {
		t.Fatalf("got %+v, %v", target, err)
	}
	long := "X-Long: " + strings.Repeat("x", ruleHeaderMax) + "\r\n"
	for _, tc := range []struct {
		name, mailFrom, from, verified, header string
		want                                   string // Mailbox, empty for none.
	}{
		{"nothing matches", "a@b.example", "a@b.example", "b.example", "Subject: x\r\n", ""},
		{"a forward", "bounce+1@forward.example", "x@y.example", "forward.example", "", "Forwarded"},
		{"a forward in upper case", "BOUNCE-1@Forward.Example", "x@y.example", "y.example forward.example", "", "Forwarded"},
		{"a forward verified below the domain", "bounce+1@forward.example", "", "mx.forward.example", "", "Forwarded"},
		{"a forward that isn't verified", "bounce+1@forward.example", "", "", "", ""},
		{"a forward verified for a name that only ends so", "bounce+1@forward.example", "", "badforward.example", "", ""},
		{"a forward verified above the domain", "bounce+1@forward.example", "", "example", "", ""},
		{"another sender in the domain", "x@forward.example", "", "forward.example", "", ""},
		{"a list", "", "", "", "LIST-ID: Gophers\r\n <Gophers.Lists.example>\r\nPrecedence: bulk\r\n", "Lists/Go"},
		{"one of two fields", "", "", "", "List-Id: <gophers.lists.example>\r\n", ""},
		{"fields with the values exchanged", "", "", "", "Precedence: <gophers.lists.example>\r\nList-Id: bulk\r\n", ""},
		{"the second field of a name", "", "", "", "List-Id: x\r\nPrecedence: list\r\nList-Id: <gophers.lists.example>\r\nPrecedence: BULK\r\n", "Lists/Go"},
		{"a body", "", "", "", "A: b\r\n\r\nList-Id: <gophers.lists.example>\r\nPrecedence: bulk\r\n", ""},
		{"a sender in From", "", "Jonathan@MÖWE.example", "", "", "Birds"},
		{"an encoded subject", "", "", "", "Subject: =?utf-8?q?Viele_Gr=C3=BC=C3=9Fe?=\r\nX-A: b\r\n", "Odd"},
		{"an empty value", "", "", "", "Subject: grüße\r\nX-A:\r\n", ""},
		{"a verified domain beyond ASCII", "", "", "xn--mwe-sna.example", "", "Nest"},
		{"the first of two", "bounce+1@forward.example", "a@möwe.example", "forward.example möwe.example", "", "Forwarded"},
		{"the second if the first holds only in part", "bounce+1@forward.example", "a@möwe.example", "", "", "Birds"},
		{"after what is looked at", "", "", "", long + "List-Id: <gophers.lists.example>\r\nPrecedence: bulk\r\n", ""},
	} {
		m := RuleMessage{MailFrom: tc.mailFrom, From: tc.from, Header: message.NewHeader([]byte(tc.header))}
		for name := range strings.FieldsSeq(tc.verified) {
			d, err := dns.ParseDomain(name)
			if err != nil {
				t.Fatal(err)
			}
			m.Verified = append(m.Verified, d)
		}
		rule, i, ok := target.Match(m)
		mailboxes := []string{"Forwarded", "Lists/Go", "Birds", "Odd", "Nest"}
		if rule.Ruleset.Mailbox != tc.want || ok != (tc.want != "") || ok && i != slices.Index(mailboxes, tc.want) {
			t.Errorf("%s: got %q, %d, %t, want %q", tc.name, rule.Ruleset.Mailbox, i, ok, tc.want)
		}
		if tc.want == "Lists/Go" && rule.ListAllowDomain.ASCII != "lists.example" {
			t.Errorf("%s: got domain %v of a list", tc.name, rule.ListAllowDomain)
		}
	}
}

// TestMatchWithoutRules checks addresses that have none: most of them.
func TestMatchWithoutRules(t *testing.T) {
	t.Parallel()
	target, err := load(t).Resolve(parsePath(t, "anna@example.org"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := target.Match(RuleMessage{From: "a@b.example"}); ok || target.HasRules() {
		t.Error("a ruleset matched where there is none")
	}
}
