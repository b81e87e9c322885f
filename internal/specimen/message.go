package specimen

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// received is when the first message came in. The others follow by the hour.
var received = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// at returns when message n came in.
func at(n int) time.Time { return received.Add(time.Duration(n) * time.Hour) }

// text returns a plain message. Its subject says what became of it, so that a
// list of what is there can be read.
func text(n int, subject string, header ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Ann <ann@remote.example>\r\nTo: %s@%s\r\nSubject: %s\r\n", Main, Domain, subject)
	fmt.Fprintf(&b, "Date: %s\r\nMessage-ID: <%d@remote.example>\r\n", at(n).Format(time.RFC1123Z), n)
	for _, line := range header {
		b.WriteString(line + "\r\n")
	}
	fmt.Fprintf(&b, "\r\nThis is message %d.\r\n", n)
	return b.Bytes()
}

// reply returns an answer to message n.
func reply(n, to int, subject string) []byte {
	id := fmt.Sprintf("<%d@remote.example>", to)
	return text(n, "Re: "+subject, "In-Reply-To: "+id, "References: "+id)
}

// parts returns a message with parts in parts: alternatives, a file, and a message.
func parts(n int, subject string) []byte {
	lines := []string{
		"From: =?utf-8?q?J=C3=BCrgen?= <jurgen@remote.example>",
		"To: " + Main + "@" + Domain,
		"Cc: Group: a@remote.example, b@remote.example;",
		"Subject: " + subject,
		"Date: " + at(n).Format(time.RFC1123Z),
		fmt.Sprintf("Message-ID: <%d@remote.example>", n),
		"MIME-Version: 1.0",
		`Content-Type: multipart/mixed; boundary="one"`,
		"",
		"--one",
		`Content-Type: multipart/alternative; boundary=two`,
		"",
		"--two",
		"Content-Type: text/plain; charset=utf-8",
		"Content-Transfer-Encoding: quoted-printable",
		"",
		"Gr=C3=BC=C3=9Fe",
		"--two",
		"Content-Type: text/html; charset=iso-8859-1",
		"",
		"<p>Hello</p>",
		"--two--",
		"--one",
		`Content-Type: application/octet-stream; name="a.bin"`,
		`Content-Disposition: attachment; filename*=utf-8''%C3%A4.bin`,
		"Content-Transfer-Encoding: base64",
		"",
		"AAECAwQFBgcICQ==",
		"--one",
		"Content-Type: message/rfc822",
		"",
		"Subject: inside",
		"",
		"Inner text.",
		"--one--",
		"",
	}
	return []byte(strings.Join(lines, "\r\n"))
}

// large returns a message of more than size bytes.
func large(n int, subject string, size int) []byte {
	line := strings.Repeat("All work and no play. ", 3) + "\r\n"
	return append(text(n, subject), strings.Repeat(line, size/len(line)+1)...)
}
