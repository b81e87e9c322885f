package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// noisyPercent is the share of the machine that others used from which a row is
// marked: its figures are lower bounds.
const noisyPercent = 10

// field reads a figure from a row.
type field func(Result) (float64, bool)

func perSec(r Result) (float64, bool) { return r.PerSec, r.PerSec > 0 }
func p50(r Result) (float64, bool)    { return r.P50ms, r.P50ms > 0 }
func p99(r Result) (float64, bool)    { return r.P99ms, r.P99ms > 0 }
func mbps(r Result) (float64, bool)   { return r.MBps, r.MBps > 0 }

// extra reads the extra figure with this name.
func extra(name string) field {
	return func(r Result) (float64, bool) {
		v, ok := r.Extra[name]
		return v, ok
	}
}

// column is a column of figures.
type column struct {
	title string
	field field
	unit  string // Format for a figure.
}

// line is a line of a table: the rows of one benchmark, for one figure, perhaps
// only those that have all words of params among theirs.
type line struct{ title, figure, bench, params string }

// goal is a ratio of two figures of ours and another's, with what it should be.
type goal struct {
	title          string
	ours, theirs   line
	theirLabel     string // Empty for our own.
	ourField, than field
	want           float64
	atMost         bool // The limit is an upper one; without theirs for the figure itself.
}

// section is one table with the goals that belong to it.
type section struct {
	title   string
	lines   []line
	columns []column
	goals   []goal
}

const ours = "mox"

func deliverLine(c int) line {
	title := fmt.Sprintf("%d connections", c)
	if c == 1 {
		title = "1 connection"
	}
	return line{title, fmt.Sprintf("deliver c=%d", c), "smtp-deliver", ""}
}

func syncLineOf(title, bench, params string) line { return line{title, "first-sync", bench, params} }

var (
	emptyLine     = line{"empty", "one-account empty", "smtp-deliver", ""}
	fullLine      = line{"50,000 messages", "one-account full", "smtp-deliver", ""}
	envelopesLine = syncLineOf("envelopes and structure, first time", "imap-sync envelopes", "c=1 pass=1")
	bodiesLine    = syncLineOf("bodies, first time", "imap-sync bodies", "c=1 pass=1")
	idleLine      = line{"plain", "idle", "imap-idle open", ""}
	idleTLSLine   = line{"TLS", "idle tls", "imap-idle open", ""}
	existsLine    = line{"1,000 of one account", "idle exists", "imap-idle last EXISTS", ""}
	startLine     = line{"exec to banner, 10 accounts without mail", "start", "startup", ""}
	startMailLine = line{"exec to banner, 2,000 messages", "start with mail", "startup", ""}
	rssLine       = line{"memory after that", "start", "rss", ""}
	rssMailLine   = line{"memory after that", "start with mail", "rss", ""}
	binaryLine    = line{"binary", "binary", "note", ""}
	login1Line    = line{"1 connection at a time", "login c=1", "imap-login", ""}
	login10Line   = line{"10 connections at a time", "login c=10", "imap-login", ""}
	syncs1Line    = line{"1 connection", "syncs c=1", "syncs", ""}
	syncs10Line   = line{"10 connections", "syncs c=10", "syncs", ""}
)

// sections are the figures of docs/performance.md.
func sections() []section {
	deliver := section{
		title: "Deliveries of 10 KiB to 10 accounts",
		columns: []column{
			{"accepted /s", perSec, "%.0f"}, {"sustained /s", extra("end_to_end_per_sec"), "%.0f"}, {"p50 ms", p50, "%.2f"}, {"p99 ms", p99, "%.2f"},
			{"CPU ms", extra("server_cpu_ms_per_op"), "%.2f"}, {"written KiB", extra("disk_written_kib_per_op"), "%.1f"},
		},
	}
	e2e := extra("end_to_end_per_sec") // Not for LMTP, where accepted is stored: looking for it only costs time.
	for i, c := range []int{1, 10, 50} {
		l := deliverLine(c)
		deliver.lines = append(deliver.lines, l)
		deliver.goals = append(deliver.goals,
			goal{fmt.Sprintf("sustained at c=%d, times Dovecot's LMTP", c), l, l, "dovecot", e2e, perSec, []float64{1.5, 2, 2}[i], false},
			goal{fmt.Sprintf("sustained at c=%d, times Postfix+Dovecot end to end", c), l, l, "postfix", e2e, e2e, []float64{3, 4, 4}[i], false})
	}
	for i, c := range []int{1, 10, 50} {
		deliver.goals = append(deliver.goals, goal{fmt.Sprintf("KiB written per message at c=%d", c), deliver.lines[i], line{}, "", extra("disk_written_kib_per_op"), nil, 40, true},
			goal{fmt.Sprintf("CPU ms per message at c=%d", c), deliver.lines[i], line{}, "", extra("server_cpu_ms_per_op"), nil, 1, true})
	}
	sections := []section{
		deliver,
		submissions(deliver.columns),
		relays(deliver.columns),
		drains(),
		{"Logins and logouts by IMAP", []line{login1Line, login10Line},
			[]column{{"/s", perSec, "%.0f"}, {"p50 ms", p50, "%.2f"}, {"p99 ms", p99, "%.2f"}, {"CPU ms", extra("server_cpu_ms_per_op"), "%.3f"}},
			[]goal{
				{"logins at c=1, times Dovecot's", login1Line, login1Line, "dovecot", perSec, perSec, 5, false},
				{"logins at c=10, times Dovecot's", login10Line, login10Line, "dovecot", perSec, perSec, 5, false},
			}},
		{"Memory with messages in the queue", []line{{"none", "queue empty", "rss", ""}, {"100,000 of 1 KiB", "queue full", "rss", ""}},
			[]column{{"RSS MiB", mib("rss_kib"), "%.1f"}, {"PSS MiB", mib("pss_kib"), "%.1f"}}, nil},
		backups(deliver.columns),
		{"Backup of that with nothing else to do", []line{{"beside the data", "backup alone", "note", ""}}, []column{
			{"messages", extra("messages"), "%.0f"}, {"seconds", extra("seconds"), "%.2f"}, {"RssAnon MiB after", mib("rss_anon_kib"), "%.1f"},
		}, nil},
		{"Deliveries to one account by 10 connections", []line{emptyLine, fullLine}, deliver.columns,
			[]goal{
				{"accepted with 50,000 messages, times that when empty", fullLine, emptyLine, "", perSec, perSec, 0.9, false},
				{"sustained with 50,000 messages, times that when empty", fullLine, emptyLine, "", e2e, e2e, 0.9, false},
			}},
		{"Synchronous calls per message", []line{syncs1Line, syncs10Line}, []column{
			{"fdatasync journal", extra("fdatasync_journal"), "%.2f"}, {"fsync journal", extra("fsync_journal"), "%.3f"},
			{"fdatasync databases", extra("fdatasync_database"), "%.2f"}, {"fsync databases", extra("fsync_database"), "%.3f"},
			{"fdatasync other", extra("fdatasync_other"), "%.2f"}, {"fsync other", extra("fsync_other"), "%.2f"}, {"all", extra("all"), "%.2f"},
		}, []goal{
			{"journal fdatasyncs per message, alone", syncs1Line, line{}, "", extra("fdatasync_journal"), nil, 1.05, true},
			{"journal fdatasyncs per message, 10 connections", syncs10Line, line{}, "", extra("fdatasync_journal"), nil, 0.5, true},
		}},
		{"KiB that calls write to files, per message", []line{{"1 connection", "writes c=1", "syncs", ""}, {"10 connections", "writes c=10", "syncs", ""}}, []column{
			{"journal", extra("kib_journal"), "%.1f"}, {"databases", extra("kib_database"), "%.1f"}, {"other", extra("kib_other"), "%.1f"}, {"all", extra("kib_all"), "%.1f"},
		}, nil},
		{"First synchronisation of 10,000 messages", []line{
			syncLineOf("SELECT", "imap-sync select", "c=1"), syncLineOf("flags", "imap-sync flags", "c=1 pass=1"),
			envelopesLine, syncLineOf("... again", "imap-sync envelopes", "c=1 pass=2"),
			bodiesLine, syncLineOf("... again", "imap-sync bodies", "c=1 pass=2"),
			syncLineOf("envelopes, 4 connections", "imap-sync envelopes", "c=4"), syncLineOf("bodies, 4 connections", "imap-sync bodies", "c=4"),
		}, []column{{"messages /s", perSec, "%.0f"}, {"MB/s", mbps, "%.0f"}, {"ms", p50, "%.1f"}, {"CPU ms", extra("server_cpu_ms_per_op"), "%.3f"}}, []goal{
			{"envelopes and structure first time, times Dovecot's", envelopesLine, envelopesLine, "dovecot", perSec, perSec, 5, false},
			{"bodies in MB/s, times Dovecot's", bodiesLine, bodiesLine, "dovecot", mbps, mbps, 1, false},
		}},
		{"Memory per connection in IDLE", []line{idleLine, idleTLSLine}, []column{
			{"connections", func(r Result) (float64, bool) { return float64(r.Ops), true }, "%.0f"},
			{"RSS KiB", extra("rss_per_conn_kib"), "%.0f"}, {"PSS KiB", extra("pss_per_conn_kib"), "%.0f"}, {"private KiB", extra("private_per_conn_kib"), "%.0f"},
			{"processes", extra("processes"), "%.0f"},
		}, []goal{
			{"RSS KiB per idle connection, plain", idleLine, line{}, "", extra("rss_per_conn_kib"), nil, 32, true},
			{"RSS KiB per idle connection, TLS", idleTLSLine, line{}, "", extra("rss_per_conn_kib"), nil, 64, true},
		}},
		{"From reply to EXISTS on all idle connections of the account", []line{existsLine, {"by TLS, of an account with a tenth", "idle tls", "imap-idle last EXISTS", ""}},
			[]column{{"p50 ms", p50, "%.2f"}, {"p99 ms", p99, "%.2f"}}, []goal{{"ms until the last of 1,000 is told", existsLine, line{}, "", p50, nil, 5, true}}},
		{"Start and size", []line{startLine, rssLine, startMailLine, rssMailLine, binaryLine}, []column{
			{"ms", p50, "%.0f"}, {"RSS MiB", mib("rss_kib"), "%.1f"}, {"PSS MiB", mib("pss_kib"), "%.1f"}, {"MB", extra("megabytes"), "%.1f"},
		}, []goal{
			{"ms from exec to banner, without mail", startLine, line{}, "", p50, nil, 62, true},
			{"ms from exec to banner, with mail", startMailLine, line{}, "", p50, nil, 62, true},
			{"RSS after start without mail, MiB", rssLine, line{}, "", mib("rss_kib"), nil, 25, true},
			{"RSS after start with mail, MiB", rssMailLine, line{}, "", mib("rss_kib"), nil, 25, true},
			{"binary, MB", binaryLine, line{}, "", extra("megabytes"), nil, 30, true},
		}},
		{"The disk, in the same run", []line{
			{"append 10 KiB, fdatasync, 1 writer", "disk", "fsync append+fdatasync", "c=1"}, {"... 16 writers", "disk", "fsync append+fdatasync", "c=16"},
			{"new file, fsync, rename, fsync of directory, 1 writer", "disk", "fsync file+rename+dirfsync", "c=1"}, {"... 16 writers", "disk", "fsync file+rename+dirfsync", "c=16"},
			{"bbolt, one row per transaction", "disk", "fsync bbolt Update", "c=1"},
		}, []column{{"/s", perSec, "%.0f"}, {"p50 ms", p50, "%.2f"}, {"p99 ms", p99, "%.2f"}}, nil},
	}
	return append(sections, imapSections()...)
}

// backups is the section for deliveries while one backup after the other is made.
func backups(columns []column) section {
	s := section{title: "Deliveries while backups are made, of 80,000 messages and more", columns: columns}
	for _, c := range []int{1, 10} {
		without := line{fmt.Sprintf("c=%d, no backup", c), fmt.Sprintf("deliver c=%d, no backup", c), "smtp-deliver", ""}
		with := line{fmt.Sprintf("c=%d, backups", c), fmt.Sprintf("deliver c=%d, backups", c), "smtp-deliver", ""}
		s.lines = append(s.lines, without, with)
		s.goals = append(s.goals, goal{fmt.Sprintf("p50 at c=%d with backups, times that without", c), with, without, "", p50, p50, 2, true})
	}
	return s
}

// submissions is the section for messages of users, through the queue to accounts
// of the same server.
func submissions(columns []column) section {
	s := section{title: "Submissions of 10 KiB by 10 accounts to themselves, AUTH PLAIN", columns: columns}
	e2e := extra("end_to_end_per_sec")
	for _, c := range []int{1, 10, 50} {
		l := line{fmt.Sprintf("%d connections", c), fmt.Sprintf("submit c=%d", c), "submit", ""}
		s.lines = append(s.lines, l)
		s.goals = append(s.goals,
			goal{fmt.Sprintf("accepted at c=%d, times Postfix", c), l, l, "postfix", perSec, perSec, 1.5, false},
			goal{fmt.Sprintf("end to end at c=%d, times Postfix+Dovecot", c), l, l, "postfix", e2e, e2e, 2.5, false})
	}
	return s
}

// relays is the section for messages of users to other domains, until a sink that all
// is handed to has them.
func relays(columns []column) section {
	columns = append(columns[:len(columns):len(columns)], column{"connections", extra("sink_connections_per_message"), "%.2f"})
	s := section{title: "Submissions of 10 KiB by 10 accounts to other domains, relayed to a sink", columns: columns}
	e2e := extra("end_to_end_per_sec")
	for _, c := range []int{1, 10, 50} {
		l := line{fmt.Sprintf("%d connections", c), fmt.Sprintf("relay c=%d", c), "submit", ""}
		s.lines = append(s.lines, l)
		s.goals = append(s.goals,
			goal{fmt.Sprintf("accepted at c=%d, times Postfix", c), l, l, "postfix", perSec, perSec, 1, false},
			goal{fmt.Sprintf("relayed at c=%d, times Postfix", c), l, l, "postfix", e2e, e2e, 1, false})
	}
	return s
}

// drains is the section for a full queue that empties into a sink.
func drains() section {
	s := section{title: "A queue of 10 KiB messages that empties into a sink", columns: []column{
		{"/s", perSec, "%.0f"}, {"CPU ms", extra("server_cpu_ms_per_op"), "%.2f"}, {"written KiB", extra("disk_written_kib_per_op"), "%.1f"},
		{"connections", extra("sink_connections_per_message"), "%.3f"},
	}}
	for _, c := range []int{1, 10, 50} {
		l := line{fmt.Sprintf("%d deliveries at a time", c), fmt.Sprintf("drain c=%d", c), "sink", ""}
		s.lines = append(s.lines, l)
		s.goals = append(s.goals, goal{fmt.Sprintf("drained at c=%d, times Postfix", c), l, l, "postfix", perSec, perSec, 1, false})
	}
	return s
}

func mib(name string) field {
	return func(r Result) (float64, bool) {
		v, ok := r.Extra[name]
		return v / 1024, ok
	}
}

// rows are all rows of a report.
type rows []Result

// find returns the rows for a line of one server.
func (rs rows) find(l line, label string) (found rows) {
	for _, r := range rs {
		if r.Label == label && r.Figure == l.figure && r.Bench == l.bench && containsAll(strings.Fields(r.Params), strings.Fields(l.params)) {
			found = append(found, r)
		}
	}
	return found
}

func containsAll(words, wanted []string) bool {
	return !slices.ContainsFunc(wanted, func(w string) bool { return !slices.Contains(words, w) })
}

// median returns the median, lowest and highest of a figure.
func (rs rows) median(f field) (mid, low, high float64, ok bool) {
	var all []float64
	for _, r := range rs {
		if v, ok := f(r); ok {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return 0, 0, 0, false
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1], true
}

// labels returns the servers for which there are rows, ours first.
func (rs rows) labels() (labels []string) {
	for _, r := range rs {
		if !slices.Contains(labels, r.Label) {
			labels = append(labels, r.Label)
		}
	}
	slices.SortStableFunc(labels, func(a, b string) int {
		switch {
		case a == ours && b != ours:
			return -1
		case b == ours && a != ours:
			return 1
		}
		return 0
	})
	return labels
}

// cell formats a figure: the median, with the range when there are several.
func (rs rows) cell(c column) string {
	mid, low, high, ok := rs.median(c.field)
	if !ok {
		return ""
	}
	s := fmt.Sprintf(c.unit, mid)
	if lo, hi := fmt.Sprintf(c.unit, low), fmt.Sprintf(c.unit, high); lo != hi {
		s += " (" + lo + "–" + hi + ")"
	}
	return s
}

// mark tells what is wrong with rows, if anything.
func (rs rows) mark() string {
	noisy, errs := false, 0
	for _, r := range rs {
		noisy = noisy || r.Extra["others_cpu_percent"] > noisyPercent
		errs += r.Errors + int(r.Extra["missing"])
	}
	mark := ""
	if noisy {
		mark = " ~"
	}
	if errs > 0 {
		mark += fmt.Sprintf(" **%d failed or missing**", errs)
	}
	return mark
}

// benchTable prints the sections with the rows in the files c.Args, - for standard
// input. Figures are medians of the rows for the same.
func benchTable(c *Config) ([]Result, error) {
	var all rows
	for _, name := range c.Args {
		f := os.Stdin
		if name != "-" {
			var err error
			if f, err = os.Open(name); err != nil {
				return nil, err
			}
		}
		rs, err := readRows(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		all = append(all, rs...)
	}
	return nil, all.write(os.Stdout)
}

func readRows(r io.Reader) (rs rows, err error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var r Result
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	return rs, sc.Err()
}

// write prints all sections that have rows.
func (rs rows) write(w io.Writer) error {
	bw := bufio.NewWriter(w)
	noisy := false
	for _, s := range sections() {
		if rs.writeSection(bw, s) {
			noisy = true
		}
	}
	if noisy {
		fmt.Fprintf(bw, "~: others used more than %d %% of the machine in one of the runs.\n", noisyPercent)
	}
	return bw.Flush()
}

// writeSection prints a table, without the columns that have no figure, and
// tells whether a row is noisy.
func (rs rows) writeSection(w io.Writer, s section) (noisy bool) {
	var lines [][]string
	used := make([]bool, len(s.columns))
	for _, l := range s.lines {
		for _, label := range rs.labels() {
			found := rs.find(l, label)
			if len(found) == 0 {
				continue
			}
			mark := found.mark()
			noisy = noisy || strings.Contains(mark, "~")
			cells := []string{l.title, label + mark}
			for i, c := range s.columns {
				cells = append(cells, found.cell(c))
				used[i] = used[i] || cells[i+2] != ""
			}
			lines = append(lines, cells)
		}
	}
	if len(lines) == 0 {
		return false
	}
	fmt.Fprintf(w, "### %s\n\n", s.title)
	head, rule := "| |", "|---|"
	multi := slices.ContainsFunc(lines, func(c []string) bool { return strings.Trim(c[1], " ~") != "" })
	if multi {
		head, rule = head+" server |", rule+"---|"
	}
	for i, c := range s.columns {
		if used[i] {
			head, rule = head+" "+c.title+" |", rule+"---:|"
		}
	}
	fmt.Fprintf(w, "%s\n%s\n", head, rule)
	for _, cells := range lines {
		fmt.Fprintf(w, "| %s |", cells[0])
		if multi {
			fmt.Fprintf(w, " %s |", cells[1])
		}
		for i, cell := range cells[2:] {
			if used[i] {
				fmt.Fprintf(w, " %s |", cell)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	rs.writeGoals(w, s.goals)
	return noisy
}

// writeGoals prints the goals for which there are figures.
func (rs rows) writeGoals(w io.Writer, goals []goal) {
	n := 0
	for _, g := range goals {
		got, ok := rs.reach(g)
		if !ok {
			continue
		}
		if n++; n == 1 {
			fmt.Fprintf(w, "| goal | wanted | measured | |\n|---|---:|---:|---|\n")
		}
		sign, reached := "≥", got >= g.want
		if g.atMost {
			sign, reached = "≤", got <= g.want
		}
		verdict := "reached"
		if !reached {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s %g | %.2f | %s |\n", g.title, sign, g.want, got, verdict)
	}
	if n > 0 {
		fmt.Fprintln(w)
	}
}

// reach computes what a goal is about: a ratio of medians, or a figure of ours.
func (rs rows) reach(g goal) (float64, bool) {
	our, _, _, ok := rs.find(g.ours, ours).median(g.ourField)
	if !ok || g.than == nil {
		return our, ok
	}
	label := g.theirLabel
	if label == "" {
		label = ours
	}
	their, _, _, ok := rs.find(g.theirs, label).median(g.than)
	return our / their, ok && their > 0
}
