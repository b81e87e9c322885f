package main

import "fmt"

// sizes are the numbers of messages for which IMAP is measured.
var sizes = []int{1000, 10_000, 100_000}

// sizedLine is the line of a benchmark with n messages in the mailbox.
func sizedLine(title, bench, params string, n int) line {
	return line{title, fmt.Sprintf("imap n=%d", n), bench, params}
}

// grown is a section with a line for each size, and the goals that makes of them.
func grown(title, bench, params string, columns []column, goals func(n int, l line) []goal) section {
	s := section{title: title, columns: columns}
	for _, n := range sizes {
		l := sizedLine(fmt.Sprintf("%d messages", n), bench, params, n)
		s.lines = append(s.lines, l)
		if goals != nil {
			s.goals = append(s.goals, goals(n, l)...)
		}
	}
	return s
}

// timesDovecot is a goal for the same line of both. The limits are by size; where there
// is none, it is no goal.
func timesDovecot(what string, f field, atMost bool, limits map[int]float64) func(int, line) []goal {
	return func(n int, l line) []goal {
		if limits[n] == 0 {
			return nil
		}
		return []goal{{fmt.Sprintf("%s, %d messages, times Dovecot's", what, n), l, l, "dovecot", f, f, limits[n], atMost}}
	}
}

// imapSections are the figures of IMAP with mailboxes of several sizes.
func imapSections() []section {
	times := []column{{"p50 ms", p50, "%.2f"}, {"p99 ms", p99, "%.2f"}}
	rates := []column{{"messages /s", perSec, "%.0f"}, {"MB/s", mbps, "%.0f"}, {"CPU ms", extra("server_cpu_ms_per_op"), "%.4f"}}
	same := func(limit float64) map[int]float64 {
		return map[int]float64{1000: limit, 10_000: limit, 100_000: limit}
	}
	sections := []section{
		grown("SELECT, the first after deliveries", "imap-sync select", "c=1", times, timesDovecot("first SELECT", p50, true, map[int]float64{10_000: 0.15, 100_000: 0.05})),
		grown("SELECT by a new connection, 20 times", "imap-select", "", times, nil),
		grown("UID FETCH 1:* (UID FLAGS)", "imap-sync flags", "c=1 pass=2", rates, timesDovecot("flags", perSec, false, same(0.8))),
		grown("Login, ENABLE and SELECT with QRESYNC after 100 changes", "imap-resync", "", times,
			timesDovecot("QRESYNC", p50, true, map[int]float64{10_000: 0.2, 100_000: 0.02})),
		grown("Envelopes and structure, first time", "imap-sync envelopes", "c=1 pass=1", rates, timesDovecot("envelopes first", perSec, false, same(9))),
		grown("Envelopes and structure, again", "imap-sync envelopes", "c=1 pass=2", rates, timesDovecot("envelopes again", perSec, false, same(1.9))),
		grown("Bodies", "imap-sync bodies", "c=1 pass=1", rates, timesDovecot("bodies in MB/s", mbps, false, same(1))),
		grown("Bodies, 4 connections", "imap-sync bodies", "c=4 pass=1", rates, timesDovecot("bodies by 4 in MB/s", mbps, false, same(1))),
		grown(`STORE 1:* +FLAGS (\Flagged)`, `imap-store 1:* +FLAGS (\Flagged)`, "", times, timesDovecot("STORE 1:*", p50, true, map[int]float64{10_000: 0.4})),
		grown("STORE of one message", "imap-store single", "", append(times[:2:2], column{"/s", perSec, "%.0f"},
			column{"CPU ms", extra("server_cpu_ms_per_op"), "%.3f"}, column{"written KiB", extra("disk_written_kib_per_op"), "%.1f"}), singleStores),
	}
	sections = append(sections, searches(times)...)
	return append(sections, mixed(times))
}

func singleStores(n int, l line) []goal {
	if n != 10_000 {
		return nil
	}
	return []goal{
		{"single STOREs, times Dovecot's", l, l, "dovecot", perSec, perSec, 1, false},
		{"KiB written by a STORE", l, line{}, "", extra("disk_written_kib_per_op"), nil, 16, true},
	}
}

// searches are sections for each size.
func searches(times []column) (sections []section) {
	for _, n := range sizes {
		s := section{title: fmt.Sprintf("SEARCH, SORT and THREAD with %d messages", n), columns: times}
		for _, q := range []struct {
			name   string
			ms     float64 // At most, with 10,000; 0: no goal.
			ratio  float64 // Likewise, to Dovecot's.
			ratio5 float64 // With 100,000.
		}{
			{"UNSEEN", 1, 0, 0},
			{"LARGER+SINCE", 1, 0, 0},
			{"FROM", 0, 0.4, 0},
			{"SUBJECT", 0, 0.4, 0},
			{"HEADER", 0, 0.4, 0},
			{"TEXT rare", 0, 0, 0},
			{"BODY rare", 0, 0, 0},
			{"BODY common", 0, 0, 0},
			{"BODY absent", 0, 0, 0},
			{"SORT DATE", 0, 0, 1},
			{"SORT SUBJECT", 0, 0, 1},
			{"SORT FROM", 0, 0, 1},
			{"SORT ARRIVAL", 0, 0, 1},
			{"THREAD REFERENCES", 0, 0, 1},
			{"THREAD ORDEREDSUBJECT", 0, 0, 1},
		} {
			l := sizedLine(q.name, "imap-search "+q.name, "", n)
			s.lines = append(s.lines, l)
			if q.ms > 0 && n == 10_000 {
				s.goals = append(s.goals, goal{"ms for " + q.name, l, line{}, "", p50, nil, q.ms, true})
			}
			if q.ratio > 0 && n == 10_000 {
				s.goals = append(s.goals, goal{q.name + ", times Dovecot's", l, l, "dovecot", p50, p50, q.ratio, true})
			}
			if q.ratio5 > 0 && n == 100_000 {
				s.goals = append(s.goals, goal{q.name + ", times Dovecot's", l, l, "dovecot", p50, p50, q.ratio5, true})
			}
		}
		sections = append(sections, s)
	}
	return sections
}

// mixed is the section for all kinds of commands at once.
func mixed(times []column) section {
	all := line{"all", "imap mixed", "imap-mixed", ""}
	store := line{"STORE", "imap mixed", "imap-mixed store", ""}
	s := section{
		title: "Commands of 10 connections to one mailbox of 10,000 messages",
		lines: []line{all}, columns: append(times[:2:2], column{"/s", perSec, "%.0f"}, column{"CPU ms", extra("server_cpu_ms_per_op"), "%.3f"}),
		goals: []goal{{"commands, times Dovecot's", all, all, "dovecot", perSec, perSec, 1.5, false}},
	}
	for _, name := range []string{"noop", "body", "envelopes", "store", "append", "search"} {
		l := line{name, "imap mixed", "imap-mixed " + name, ""}
		s.lines = append(s.lines, l)
		s.goals = append(s.goals, goal{"p99 of " + name + ", times Dovecot's of STORE", l, store, "dovecot", p99, p99, 0.3, true})
	}
	return s
}
