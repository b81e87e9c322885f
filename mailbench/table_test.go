package main

import (
	"strings"
	"testing"
)

func TestSyncLine(t *testing.T) {
	for _, x := range []struct{ line, call, path string }{
		{"123 fdatasync(7</d/journal/00000001>) = 0", "fdatasync", "/d/journal/00000001"},
		{"123   fdatasync(7</d/a b/index.db> <unfinished ...>", "fdatasync", "/d/a b/index.db"},
		{"123 <... fdatasync resumed>) = 0", "", ""},
		{"123 fsync(9</d/new>) = 0", "fsync", "/d/new"},
		{"123 +++ exited with 0 +++", "", ""},
		{"", "", ""},
	} {
		call, path, ok := syncLine(x.line)
		if call != x.call || path != x.path || ok != (x.call != "") {
			t.Errorf("%q: %q %q %v", x.line, call, path, ok)
		}
	}
}

func TestWriteLine(t *testing.T) {
	for _, x := range []struct {
		line, path string
		n          float64
	}{
		{`12 pwrite64(14</d/a/index.db>, ""..., 4096, 12288) = 4096`, "/d/a/index.db", 4096},
		{`12 pwrite64(14</d/a/index.db>, ""..., 8192, 12288 <unfinished ...>`, "/d/a/index.db", 8192},
		{`12    write(14</d/log>, ""..., 77) = 77`, "/d/log", 77},
		{`12 write(14<TCP:[127.0.0.1:25->127.0.0.1:999]>, ""..., 77) = 77`, "", 0},
		{`12 writev(4</d/x>, [{iov_base=""..., iov_len=10}, {iov_base=""..., iov_len=5}], 2) = 15`, "/d/x", 15},
		{`12 <... pwrite64 resumed>) = 4096`, "", 0},
	} {
		path, n, ok := writeLine(x.line)
		if path != x.path || n != x.n || ok != (x.path != "") {
			t.Errorf("%q: %q %v %v", x.line, path, n, ok)
		}
	}
}

func TestCountSyncs(t *testing.T) {
	n, err := countSyncs(strings.NewReader("1 fdatasync(7</d/journal/1>) = 0\n1 fdatasync(7</d/journal/1> <unfinished ...>\n1 <... fdatasync resumed>) = 0\n" +
		"2 fdatasync(8</d/accounts/a/index.db>) = 0\n2 fsync(9</d/journal>) = 0\n2 sync_file_range(9</d/mail/x>, 0, 1, 0) = 0\n2 write(9</d/mail/x>, \"\"..., 2048) = 2048\n"))
	if err != nil || n["fdatasync_journal"] != 2 || n["fdatasync_database"] != 1 || n["fsync_journal"] != 1 || n["fsync_other"] != 1 || n["all"] != 5 || n["kib_other"] != 2 || n["kib_all"] != 2 {
		t.Errorf("%v %v", n, err)
	}
}

func TestNote(t *testing.T) {
	rs, err := benchNote(&Config{Args: []string{"a=1.5", "b=2"}})
	if err != nil || rs[0].Extra["a"] != 1.5 || rs[0].Extra["b"] != 2 {
		t.Errorf("%+v %v", rs, err)
	}
	if _, err := benchNote(&Config{Args: []string{"a"}}); err == nil {
		t.Error("no number accepted")
	}
}

func TestMedian(t *testing.T) {
	rs := rows{{PerSec: 3}, {PerSec: 1}, {PerSec: 2}, {PerSec: 10}}
	if mid, low, high, ok := rs.median(perSec); mid != 2.5 || low != 1 || high != 10 || !ok {
		t.Error(mid, low, high, ok)
	}
	if _, _, _, ok := rs.median(p50); ok {
		t.Error("figure without rows")
	}
}

func TestFind(t *testing.T) {
	rs := rows{{Label: "a", Figure: "f", Bench: "b", Params: "c=16 pass=1"}, {Label: "a", Figure: "f", Bench: "b", Params: "c=1 n=3 pass=1"}}
	if got := rs.find(line{"", "f", "b", "c=1 pass=1"}, "a"); len(got) != 1 || got[0].Params != "c=1 n=3 pass=1" {
		t.Errorf("%+v", got)
	}
	if len(rs.find(line{"", "f", "b", ""}, "a")) != 2 || len(rs.find(line{"", "f", "b", ""}, "b")) != 0 {
		t.Error("find")
	}
}

func TestTable(t *testing.T) {
	const report = `{"bench":"smtp-deliver","figure":"deliver c=10","label":"dovecot","per_sec":1000,"p50_ms":7,"extra":{"end_to_end_per_sec":900,"others_cpu_percent":2}}
{"bench":"smtp-deliver","figure":"deliver c=10","label":"mox","per_sec":3000,"p50_ms":2,"extra":{"end_to_end_per_sec":1600,"others_cpu_percent":20}}
{"bench":"smtp-deliver","figure":"deliver c=10","label":"mox","per_sec":4000,"p50_ms":2,"errors":2,"extra":{"end_to_end_per_sec":1840,"missing":1}}
{"bench":"note","figure":"binary","label":"mox","extra":{"megabytes":20.5}}
`
	rs, err := readRows(strings.NewReader(report))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := rs.write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| | server | accepted /s | sustained /s | p50 ms |\n|---|---|---:|---:|---:|\n",
		"| 10 connections | mox ~ **3 failed or missing** | 3500 (3000–4000) | 1720 (1600–1840) | 2.00 |\n| 10 connections | dovecot | 1000 | 900 | 7.00 |\n",
		"| sustained at c=10, times Dovecot's LMTP | ≥ 2 | 1.72 | **missed** |\n",
		"| binary, MB | ≤ 30 | 20.50 | reached |\n",
		"~: others used more than 10 %",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("missing %q in:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "First sync") || strings.Contains(b.String(), "Postfix") {
		t.Errorf("figures that were not measured in:\n%s", b.String())
	}
	if _, err := readRows(strings.NewReader("x")); err == nil {
		t.Error("accepted")
	}
}
