package imap

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// writes records each write.
type writes struct {
	list []string
	err  error
}

func (w *writes) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.list = append(w.list, string(p))
	return len(p), nil
}

func TestEncoder(t *testing.T) {
	t.Parallel()
	var w writes
	var pool Buffers
	e := NewEncoder(&w, &pool)
	e.Raw("* LIST () \"/\" ").Mailbox("Entwürfe").Raw(" ").AString("a b").Raw(" ").String("x").CRLF()
	e.Raw("* ").Num(23).Raw(" EXISTS").CRLF()
	e.Response("a1", OK("UIDNEXT 4", "done %+q", "\r\n"))
	e.Response("*", Response{Type: "OK", Text: "a\r\nb"})
	if len(w.list) > 0 || e.Buffered() == 0 {
		t.Errorf("written before flush: %q", w.list)
	}
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "* LIST () \"/\" Entw&APw-rfe \"a b\" \"x\"\r\n* 23 EXISTS\r\n" +
		"a1 OK [UIDNEXT 4] done \"\\r\\n\"\r\n* OK a??b\r\n"
	if len(w.list) != 1 || w.list[0] != want {
		t.Errorf("got %q, want %q", w.list, want)
	}
	if e.Buffered() != 0 || e.buf != nil {
		t.Error("buffer is kept after flush")
	}
}

func TestEncoderCopy(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	e := NewEncoder(&out, &Buffers{})
	small, large := strings.Repeat("s", copyMax), strings.Repeat("l", 5*bufferSize)
	e.Raw("<")
	e.Copy(strings.NewReader(small+"more"), int64(len(small)))
	e.Copy(strings.NewReader(large), int64(len(large)))
	e.Copy(strings.NewReader(""), 0)
	e.Raw(">")
	if err := e.Flush(); err != nil || out.String() != "<"+small+large+">" {
		t.Errorf("got %d bytes, %v", out.Len(), err)
	}
	for _, n := range []int64{10, copyMax + 10} {
		e := NewEncoder(&out, &Buffers{})
		e.Copy(strings.NewReader("short"), n)
		if err := e.Flush(); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("literal of %d cut short: %v", n, err)
		}
	}
}

func TestEncoderKeepsError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	w := &writes{err: broken}
	e := NewEncoder(w, &Buffers{})
	e.Raw("x").CRLF()
	if err := e.Flush(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	w.err = nil
	e.Raw("y").CRLF()
	if err := e.Flush(); !errors.Is(err, broken) || e.Err() == nil || len(w.list) > 0 {
		t.Errorf("got %v, wrote %q", err, w.list)
	}
}

func TestError(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk")
	err := &Error{Response{"NO", "SERVERBUG", "internal error"}, cause}
	if err.Error() != "NO [SERVERBUG] internal error: disk" || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	for want, got := range map[string]string{
		"* BYE [UNAVAILABLE] bye": Bye("UNAVAILABLE", "bye").Line(),
		"* NO -":                  No("", "").Line(),
		"* BAD [TOOBIG] x":        BadCode("TOOBIG", "x").Line(),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
