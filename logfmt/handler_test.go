package logfmt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/slogtest"
	"time"
)

// handle formats one record with a fixed time.
func handle(t *testing.T, h slog.Handler, level slog.Level, msg string, attrs ...slog.Attr) {
	t.Helper()
	r := slog.NewRecord(time.Date(2026, 11, 20, 20, 11, 46, 120_900_000, time.FixedZone("", 3600)), level, msg, 0)
	r.AddAttrs(attrs...)
	if err := h.Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", valueMax+1)
	for _, test := range []struct {
		name  string
		attrs []slog.Attr
		want  string
	}{
		{"no attributes", nil, ""},
		{"a plain word", []slog.Attr{slog.String("account", "mox")}, " account=mox"},
		{"a space needs quotes", []slog.Attr{slog.String("reply", "250 ok")}, ` reply="250 ok"`},
		{"an empty value needs quotes", []slog.Attr{slog.String("mailbox", "")}, ` mailbox=""`},
		{"an equal sign needs quotes", []slog.Attr{slog.String("a", "b=c")}, ` a="b=c"`},
		{"quotes and backslashes are escaped", []slog.Attr{slog.String("a", `"\`)}, ` a="\"\\"`},
		{"a line end cannot begin a new line", []slog.Attr{slog.String("a", "b\r\nl=error")}, ` a="b\r\nl=error"`},
		{"printable unicode stays", []slog.Attr{slog.String("mailbox", "Möwe")}, ` mailbox=Möwe`},
		{"a terminal is not driven", []slog.Attr{slog.String("a", "\x1b[2J\u202e\u0085")}, ` a="\x1b[2J\u202e\u0085"`},
		{"invalid UTF-8 is escaped", []slog.Attr{slog.String("a", "\xff")}, ` a="\xff"`},
		{"a long value is cut", []slog.Attr{slog.String("a", long)}, ` a="` + long[1:] + `"...`},
		{"a connection id is hexadecimal", []slog.Attr{slog.Int64("cid", 255)}, " cid=ff"},
		{"other numbers are decimal", []slog.Attr{slog.Int64("n", -255), slog.Uint64("u", 1), slog.Float64("f", 0.5)}, " n=-255 u=1 f=0.5"},
		{"a bool", []slog.Attr{slog.Bool("tls", true)}, " tls=true"},
		{"a duration is rounded", []slog.Attr{slog.Duration("took", 1234567890)}, " took=1.235s"},
		{"a short duration is not", []slog.Attr{slog.Duration("took", 1234)}, " took=1.234µs"},
		{"a negative duration", []slog.Attr{slog.Duration("took", -1234567890)}, " took=-1.235s"},
		{"a time is in UTC", []slog.Attr{slog.Time("at", time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", -3600)))}, " at=2026-01-02T04:04:05Z"},
		{"an error", []slog.Attr{slog.Any("err", errors.New("no such mailbox"))}, ` err="no such mailbox"`},
		{"bytes are text", []slog.Attr{slog.Any("line", []byte("a0 NOOP"))}, ` line="a0 NOOP"`},
		{"nil", []slog.Attr{slog.Any("err", nil)}, ` err=<nil>`},
		{"a group prefixes", []slog.Attr{slog.Group("tls", "version", "1.3", "alpn", "imap")}, " tls.version=1.3 tls.alpn=imap"},
		{"a key that would break the line", []slog.Attr{slog.String("a b=", "c")}, " a_b_=c"},
		{"a value that resolves late", []slog.Attr{slog.Any("a", late{})}, " a=now"},
	} {
		var out bytes.Buffer
		handle(t, New(&out, NewLevels(slog.LevelInfo)), slog.LevelInfo, "connection", test.attrs...)
		want := "t=2026-11-20T19:11:46.120Z l=info m=connection" + test.want + "\n"
		if got := out.String(); got != want {
			t.Errorf("%s: got %q, want %q", test.name, got, want)
		}
	}
}

type late struct{}

func (late) LogValue() slog.Value { return slog.StringValue("now") }

// TestWith shows that attributes given early come before those of the record,
// and that two loggers made from one don't write into each other.
func TestWith(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	base := New(&out, NewLevels(slog.LevelInfo)).WithAttrs([]slog.Attr{slog.String("pkg", "imapserver"), slog.Int64("cid", 16)})
	one := base.WithAttrs([]slog.Attr{slog.String("account", "one")})
	two := base.WithAttrs([]slog.Attr{slog.String("account", "two")}).WithGroup("").WithGroup("g").WithAttrs([]slog.Attr{slog.String("pkg", "x")})
	handle(t, one, slog.LevelWarn, "a b", slog.Int("n", 1))
	handle(t, two, slog.LevelError, "c", slog.Int("n", 2))
	const want = `t=2026-11-20T19:11:46.120Z l=warn m="a b" pkg=imapserver cid=10 account=one n=1
t=2026-11-20T19:11:46.120Z l=error m=c pkg=imapserver cid=10 account=two g.pkg=x g.n=2
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// TestSlog holds the handler to the rules of package slog.
func TestSlog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := slogtest.TestHandler(New(&out, NewLevels(slog.LevelInfo)), func() (results []map[string]any) {
		for line := range strings.Lines(out.String()) {
			results = append(results, parseLine(line))
		}
		return results
	})
	if err != nil {
		t.Error(err)
	}
}

// parseLine undoes a line without quoted spaces in values, groups becoming maps.
func parseLine(line string) map[string]any {
	result := map[string]any{}
	for _, word := range strings.Fields(line) {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			continue
		}
		switch key {
		case "t":
			key = slog.TimeKey
		case "l":
			key = slog.LevelKey
		case "m":
			key = slog.MessageKey
		}
		at := result
		for {
			group, rest, ok := strings.Cut(key, ".")
			if !ok {
				break
			}
			if at[group] == nil {
				at[group] = map[string]any{}
			}
			at, key = at[group].(map[string]any), rest
		}
		at[key] = value
	}
	return result
}

// TestConcurrent shows that lines stay whole, which the race detector watches too.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	levels := NewLevels(slog.LevelInfo)
	log := slog.New(New(&out, levels))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			log := log.With("pkg", "p", "worker", i)
			for n := range 100 {
				levels.SetPackage("q", slog.Level(n))
				log.Info("line", "n", n)
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 800 {
		t.Errorf("got %d lines, want 800", len(lines))
	}
	for _, line := range lines {
		if strings.Count(line, "m=") != 1 || strings.Count(line, " worker=") != 1 || strings.Count(line, " n=") != 1 {
			t.Errorf("got line %q", line)
		}
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWriteError(t *testing.T) {
	t.Parallel()
	err := New(failingWriter{}, NewLevels(slog.LevelInfo)).Handle(t.Context(), slog.Record{})
	if !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v, want that of the writer", err)
	}
}

func BenchmarkDisabled(b *testing.B) {
	levels := NewLevels(slog.LevelInfo)
	levels.SetPackage("smtpserver", slog.LevelWarn)
	log := slog.New(New(io.Discard, levels)).With("pkg", "imapserver")
	b.ReportAllocs()
	for b.Loop() {
		log.LogAttrs(context.Background(), slog.LevelDebug, "command")
	}
}

func BenchmarkLine(b *testing.B) {
	log := slog.New(New(io.Discard, NewLevels(slog.LevelInfo))).With("pkg", "imapserver", "cid", int64(1234567))
	b.ReportAllocs()
	for b.Loop() {
		log.LogAttrs(context.Background(), slog.LevelInfo, "message delivered", slog.String("account", "mox"), slog.Duration("took", time.Millisecond))
	}
}
