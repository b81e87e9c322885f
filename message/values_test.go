package message

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMessageIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		{"one", "<A.b@Example.ORG>", "a.b@example.org"},
		{"several", "<a@b> <c@d>\r\n\t<e@f>", "a@b c@d e@f"},
		{"without space", "<a@b><c@d>", "a@b c@d"},
		{"comments and words between", "Your message of yesterday <a@b> (c) <d@e>", "a@b d@e"},
		{"needless quotes", `<"a.b"@c>`, "a.b@c"},
		{"quotes with escapes", `<"a\b"@c>`, "ab@c"},
		{"quotes that are needed", `<"a@b"@c>`, `"a@b"@c`},
		{"folded within", "<a\r\n b@c>", "ab@c"},
		{"without at-sign", "<abc>", "abc"},
		{"without brackets", "a@b, c@d x", "a@b c@d"},
		{"brackets without end", "<a@b", "a@b"},
		{"a bracket too many", "<<a@b>>", "a@b"},
		{"empty brackets", "<>", ""},
		{"nothing", "", ""},
		{"of the longest size", "<" + strings.Repeat("a", messageIDSizeMax) + ">", strings.Repeat("a", messageIDSizeMax)},
		{"too long", "<" + strings.Repeat("a", messageIDSizeMax+1) + "> <b@c>", "b@c"},
		{"NUL", "<a\x00@b>", "a@b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(MessageIDs(c.value), " "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	var many strings.Builder
	for i := range messageIDsMax + 10 {
		fmt.Fprintf(&many, "<%d@x>", i)
	}
	if got := MessageIDs(many.String()); len(got) != messageIDsMax || got[0] != "10@x" {
		t.Errorf("got %d ids, first %q", len(got), got[0])
	}
}

// FuzzMessageIDs checks that a canonical id is that of itself.
func FuzzMessageIDs(f *testing.F) {
	f.Add(`<"a.b"@c> <D@e>`)
	f.Add("a@b")
	f.Fuzz(func(t *testing.T, s string) {
		for _, id := range MessageIDs(s) {
			if got := MessageIDs("<" + id + ">"); len(got) != 1 || got[0] != id {
				t.Fatalf("%q: %q becomes %q", s, id, got)
			}
		}
	})
}

func TestBaseSubject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, subject, want string
		reply               bool
	}{
		{"plain", "Hello  World", "hello world", false},
		{"reply", "Re: Hello", "hello", true},
		{"many replies", "RE: re : Fwd: Hello", "hello", true},
		{"reply with number", "Re[2]: Hello", "hello", true},
		{"reply with blob and space", "Re [list] : Hello", "hello", true},
		{"list", "[list] Hello", "hello", false},
		{"reply to list", "[a] Re: [b] Hello", "hello", true},
		{"blobs before a reply", "[a][b] [c]re: Hello", "hello", true},
		{"only a blob stays", "[list]", "[list]", false},
		{"of two blobs the last stays", "[a] [b]", "[b]", false},
		{"reply to only a blob", "Re: [list]", "[list]", true},
		{"trailer", "Hello (fwd) (FWD) ", "hello", true},
		{"trailer only", "(fwd)", "", true},
		{"forward in brackets", "[Fwd: Hello]", "hello", true},
		{"forward in forward", "[fwd: re: [fwd: Hello (fwd)]]", "hello", true},
		{"not a forward", "[fwd: Hello", "[fwd: hello", false},
		{"reply only", "Re:", "", true},
		{"a word that begins as a mark", "Regarding: x", "regarding: x", false},
		{"no colon", "Re Hello", "re hello", false},
		{"folded", "Re:\r\n\tHello", "hello", true},
		{"encoded", "=?utf-8?q?Re:_H=C3=89llo?=", "héllo", true},
		{"German", "AW: WG: Hallo", "hallo", true},
		{"Swedish", "SV: Hej", "hej", true},
		{"Chinese", "回复：你好", "你好", true},
		{"Chinese and English", "回复: Re: 你好", "你好", true},
		{"NUL", "a\x00b", "", false},
		{"empty", "", "", false},
		{"nested brackets", "[[a]] b", "[[a]] b", false},
		{"too long", strings.Repeat("a", 3*subjectSizeMax), strings.Repeat("a", subjectSizeMax), false},
		{"a million blobs", strings.Repeat("[]", 1<<20), "[]", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, reply := BaseSubject(c.subject)
			if got != c.want || reply != c.reply {
				t.Errorf("got %q, %v, want %q, %v", got, reply, c.want, c.reply)
			}
		})
	}
}

// FuzzBaseSubject checks that the base of a base is itself, and that a reply to s
// has the same base.
func FuzzBaseSubject(f *testing.F) {
	f.Add("[a] Re: [fwd: b (fwd)]")
	f.Add("回复：[x] y")
	f.Fuzz(func(t *testing.T, s string) {
		base, _ := BaseSubject(s)
		if len(base) > subjectSizeMax {
			t.Fatalf("%q: base of %d bytes", s, len(base))
		}
		if strings.Contains(base, "=?") {
			return
		}
		if again, _ := BaseSubject(base); again != base {
			t.Fatalf("%q: base %q has base %q", s, base, again)
		}
		if reply, isReply := BaseSubject("Re: " + base); len(base) < subjectSizeMax-4 && (reply != base || !isReply) {
			t.Fatalf("%q: a reply to %q has base %q", s, base, reply)
		}
	})
}

func TestParseDate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, want string }{
		{"RFC 5322, A.1.1", "Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-06:00"},
		{"RFC 5322, A.5", "Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n               -0330 (Newfoundland Time)", "1969-02-13T23:32:00-03:30"},
		{"RFC 5322, A.6.2", "21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06Z"},
		{"RFC 5322, A.6.3", "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "1997-11-21T09:55:06-06:00"},
		{"no seconds", "Wed, 11 Feb 98 11:51 CST", "1998-02-11T11:51:00-06:00"},
		{"a comment as zone", "Wed, 17 Jul 1996 02:23:25 -0700 (PDT)", "1996-07-17T02:23:25-07:00"},
		{"summer time", "1 Jul 2020 00:00:00 EDT", "2020-07-01T00:00:00-04:00"},
		{"summer time in the west", "1 Jul 2020 00:00:00 pdt", "2020-07-01T00:00:00-07:00"},
		{"two digits of a year", "1 Jan 49 00:00:00 Z", "2049-01-01T00:00:00Z"},
		{"three digits of a year", "1 Jan 101 00:00:00 Z", "2001-01-01T00:00:00Z"},
		{"a leap second", "31 Dec 2016 23:59:60 +0000", "2016-12-31T23:59:59Z"},
		{"a leap day", "29 Feb 2024 00:00:00 +0000", "2024-02-29T00:00:00Z"},
		{"no such day", "29 Feb 2023 00:00:00 +0000", "error"},
		{"day zero", "0 Feb 2023 00:00:00 +0000", "error"},
		{"no such hour is midnight", "1 Feb 2023 24:00:00 +0100", "2023-02-01T00:00:00+01:00"},
		{"no such minute", "1 Feb 2023 10:60:00 +0000", "2023-02-01T00:00:00Z"},
		{"no clock", "1 Feb 2023 1:2:3:4 +0000", "2023-02-01T00:00:00Z"},
		{"a bad zone is UTC", "1 Feb 2023 10:00:00 +9999", "2023-02-01T10:00:00Z"},
		{"a military zone is UTC", "1 Feb 2023 10:00:00 K", "2023-02-01T10:00:00Z"},
		{"no zone", "1 Feb 2023 10:00:00", "2023-02-01T10:00:00Z"},
		{"no time", "1 Feb 2023", "2023-02-01T00:00:00Z"},
		{"as in C", "Thu Apr 11 01:10:30 1996", "1996-04-11T01:10:30Z"},
		{"as in C with zone", "Thu Apr 11 01:10:30 EST 1996", "1996-04-11T01:10:30-05:00"},
		{"with dashes", "Thursday, 11-Apr-96 01:10:30 GMT", "1996-04-11T01:10:30Z"},
		{"RFC 3339", "2024-02-29T10:00:00+01:00", "2024-02-29T10:00:00+01:00"},
		{"GMT with offset", "1 Feb 2023 10:00:00 GMT+0100", "2023-02-01T10:00:00+01:00"},
		{"zone with colon", "1 Feb 2023 10:00:00 +01:00", "2023-02-01T10:00:00+01:00"},
		{"afternoon", "1 Feb 2023 10:00:00 PM", "2023-02-01T22:00:00Z"},
		{"full names", "Wednesday, 1 February 2023 10:00:00 +0000", "2023-02-01T10:00:00Z"},
		{"fractions", "1 Feb 2023 10:00:00.123 +0000", "2023-02-01T10:00:00Z"},
		{"words", "yesterday", "error"},
		{"nothing", "", "error"},
		{"month only", "Feb", "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := "error"
			if date, err := ParseDate(c.value); err == nil {
				got = date.Format(time.RFC3339)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// FuzzParseDate checks that what was parsed is the same when formatted and parsed
// again.
func FuzzParseDate(f *testing.F) {
	f.Add("Fri, 21 Nov 1997 09:55:06 -0600 (x)")
	f.Add("11-Apr-96 1:2 pm EST")
	f.Fuzz(func(t *testing.T, s string) {
		date, err := ParseDate(s)
		if err != nil {
			return
		}
		if date.Year() < 0 || date.Year() > 9999 {
			t.Fatalf("%q: year %d", s, date.Year())
		}
		again, err := ParseDate(FormatDate(date))
		if err != nil || !again.Equal(date.Truncate(time.Second)) {
			t.Fatalf("%q: %v parsed again is %v, %v", s, date, again, err)
		}
	})
}

func TestPreview(t *testing.T) {
	t.Parallel()
	alternative := "Content-Type: multipart/alternative; boundary=b\n\n"
	for _, c := range []struct{ name, msg, want string }{
		{"plain", "\nHello,\n\n  how are\tyou?\n", "Hello, how are you?"},
		{"quoted text and signature", "\nYes.\n\nOn Monday Jo wrote:\n\n> really?\n> so?\n\nBye\n-- \nme\n", "Yes. Bye"},
		{"a line with a colon that is no quote", "\nA list:\none\n", "A list: one"},
		{"a line with a colon at the end", "\nA list:\n", "A list:"},
		{"long", "\n" + strings.Repeat("ab ", 200), strings.TrimSpace(strings.Repeat("ab ", 85) + "a")},
		{"long, of wide characters", "\n" + strings.Repeat("é", 300), strings.Repeat("é", PreviewMax)},
		{"HTML", "Content-Type: text/html\n\n<html><head><title>t</title><style>a{b}</style></head><body><p>One &amp; <b>t</b>wo</p><p>three<br>four<script>x</script></p><blockquote>old</blockquote>", "One & two three four"},
		{"HTML with hidden padding", "Content-Type: text/html\n\n<div>a&zwnj;&nbsp;&#847;&nbsp;b</div>", "a b"},
		{"HTML with a head not closed", "Content-Type: text/html\n\n<head><style>x</style><body>y", "y"},
		{"plain is preferred", alternative + "--b\nContent-Type: text/html\n\n<p>html\n--b\n\nplain\n--b--\n", "plain"},
		{"unless it is empty", alternative + "--b\n\n\n--b\nContent-Type: text/html\n\n<p>html\n--b--\n", "html"},
		{"attachments don't count", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment\n\nno\n--b\n\nyes\n--b--\n", "yes"},
		{"a broken multipart", alternative + "text\n", "text"},
		{"an image", "Content-Type: image/png\n\nx", ""},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, _ := parseString(c.msg)
			if got := Preview(strings.NewReader(c.msg), &p); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestHeaderWriter(t *testing.T) {
	t.Parallel()
	when := time.Date(2024, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		name  string
		write func(*HeaderWriter)
		want  string
	}{
		{"nothing", func(*HeaderWriter) {}, ""},
		{"a null path", func(w *HeaderWriter) { w.ReturnPath("") }, "Return-Path: <>\n"},
		{"two fields", func(w *HeaderWriter) { w.ReturnPath("a@b"); w.DeliveredTo("c@d") }, "Return-Path: <a@b>\nDelivered-To: c@d\n"},
		{
			"all of Received",
			func(w *HeaderWriter) {
				w.Received(Received{"mail.example.org", "mail.example.org [192.0.2.1]", "mx.example.com", "", "ESMTPS", "TLS1.3 TLS_AES_128_GCM_SHA256", "id1", "jo@example.com", when})
			},
			"Received: from mail.example.org (mail.example.org [192.0.2.1])\n by mx.example.com with ESMTPS (TLS1.3 TLS_AES_128_GCM_SHA256) id id1\n for <jo@example.com>; Sat, 03 Feb 2024 04:05:06 +0100\n",
		},
		{
			"Received without for, which keeps its semicolon",
			func(w *HeaderWriter) { w.Received(Received{From: "a", By: "b", With: "SMTP", ID: "x", Time: when}) },
			"Received: from a by b with SMTP id x; Sat, 03 Feb 2024 04:05:06 +0100\n",
		},
		{"Received with a hostile comment", func(w *HeaderWriter) { w.Received(Received{From: "a", FromComment: "x) by (y\r\nX: z", Time: when}) }, "Received: from a (x\\) by \\(yX: z); Sat, 03 Feb 2024 04:05:06 +0100\n"},
		{"a line of 78 bytes", func(w *HeaderWriter) { w.Field("X"); w.Add("a", strings.Repeat("b", 73)) }, "X: a " + strings.Repeat("b", 73) + "\n"},
		{"a line of one more", func(w *HeaderWriter) { w.Field("X"); w.Add("a", strings.Repeat("b", 74)) }, "X: a\n " + strings.Repeat("b", 74) + "\n"},
		{"a long word", func(w *HeaderWriter) { w.Field("X"); w.Add(strings.Repeat("b", 2000), "c") }, "X:\n " + strings.Repeat("b", lineLenMax-1) + "\n c\n"},
		{"a list", func(w *HeaderWriter) { w.Field("X"); w.Join(",", "a", "b") }, "X: a, b\n"},
		{"a line break", func(w *HeaderWriter) { w.Field("X"); w.Add("a\r\nY: b") }, "X: aY: b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var w HeaderWriter
			c.write(&w)
			got := string(w.Bytes())
			if got != crlf(c.want) {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			for line := range strings.SplitSeq(got, "\r\n") {
				if len(line) > lineLenMax {
					t.Errorf("line of %d bytes", len(line))
				}
			}
			for f := range NewHeader([]byte(got)).Fields() {
				if !slices.Contains([]string{"Received", "Return-Path", "Delivered-To", "X"}, f.Name) {
					t.Errorf("field %q", f.Name)
				}
			}
		})
	}
}

// TestHostileValues checks that values of the size of a whole header take time in
// proportion to their size.
func TestHostileValues(t *testing.T) {
	t.Parallel()
	for _, piece := range []string{
		"=?", "=?a?q?", "=?a?q?b?= ", "(", "\\(", "\"", "<", "<@,", "<@a:", "a@ . ", ". ", "[ . ", "a@[ . ", "a ", "a, ", ":", ";", "<a@b> ", "a@b ", "[]", "re:", "(fwd)", ";a*0=b", "; (", "\r\n ",
	} {
		s := "x@" + strings.Repeat(piece, headerSizeMax/len(piece))
		start := time.Now()
		ParseAddressList(s)
		ParseAddressList(s[1:])
		ParseAddressList(s[2:])
		MessageIDs(s)
		DecodeHeader(s)
		BaseSubject(s[2:])
		ParseDate(s[2:])
		parseContentType("a/b" + s[2:])
		parseDisposition(s[2:])
		encodingToken(s[2:])
		parseLanguages(s)
		FilterHeader([]byte(s), []string{"a"}, true)
		if took := time.Since(start); took > 10*time.Second { // Generous: a busy machine, the race detector.
			t.Errorf("%q took %v", piece, took)
		} else if testing.Verbose() {
			t.Logf("%q took %v", piece, took)
		}
	}
}
