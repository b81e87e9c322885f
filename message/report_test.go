package message

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseReportName(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"of RFC 9990", "mail.receiver.example!example.com!1013662812!1013749130.xml.gz", "mail.receiver.example example.com 1013662812 1013749130 xml.gz"},
		{"with an id", "a.example!b.example!1!2!id-3.zip", "a.example b.example 1 2 zip"},
		{"in upper case, with space", " A.example!B.EXAMPLE!1!4294967295.XML ", "a.example b.example 1 4294967295 xml"},
		{"no extension", "a.example!b.example!1!2", ""},
		{"no end", "a.example!b.example!1.xml", ""},
		{"numbers that are none", "a.example!b.example!1!x.xml", ""},
		{"too large a number", "a.example!b.example!1!4294967296.xml", ""},
		{"no domains", "a b!b.example!1!2.xml", ""},
		{"another file", "invoice.xml", ""},
		{"nothing", "", ""},
	} {
		r, ok := ParseReportName(tc.in)
		got := ""
		if ok {
			got = strings.Join([]string{r.Submitter.ASCII, r.Domain.ASCII, seconds(r.Begin), seconds(r.End), r.Extension}, " ")
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestParseReportSubject(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"of RFC 8460", "Report Domain: example.net Submitter: mail.sender.example.com Report-ID: <735ff.e317+bf22029@mailexample.net>", "example.net mail.sender.example.com"},
		{"with other space", " report  domain:\tExample.net   submitter:  a.example", "example.net a.example"},
		{"no submitter", "Report Domain: example.net", ""},
		{"something else in between", "Report Domain: example.net about: a.example Submitter: b.example", ""},
		{"an answer", "Re: Report Domain: example.net Submitter: a.example", ""},
		{"no domains", "Report Domain: a_b Submitter: a.example", ""},
		{"no submitting domain", "Report Domain: a.example Submitter: a_b", ""},
	} {
		domain, submitter, ok := ParseReportSubject(tc.in)
		if got := strings.TrimSpace(domain.ASCII + " " + submitter.ASCII); ok && got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: got %q, %t, want %q", tc.name, got, ok, tc.want)
		}
	}
}

func seconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
