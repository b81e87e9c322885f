package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// syncCalls are the system calls that wait for the disk.
var syncCalls = []string{"fdatasync", "fsync", "sync_file_range", "msync", "syncfs", "sync"}

// syncLine tells which synchronous call a line of strace -f -y begins, and the
// path of its file. A call that strace shows in two lines counts at its first.
func syncLine(line string) (call, path string, ok bool) {
	_, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	for _, call := range syncCalls {
		args, ok := strings.CutPrefix(rest, call+"(")
		if !ok {
			continue
		}
		_, path, _ := strings.Cut(args, "<")
		path, _, _ = strings.Cut(path, ">")
		return call, path, true
	}
	return "", "", false
}

var (
	writeCall  = regexp.MustCompile(`^\d+\s+(?:[\d.]+\s+)?(?:write|pwrite64)\(\d+<(/[^>]*)>, "(?:[^"\\]|\\.)*"(?:\.\.\.)?, (\d+)(?:, \d+)?(?:\) |\s*<unf)`)
	writevCall = regexp.MustCompile(`^\d+\s+(?:[\d.]+\s+)?p?writev2?\(\d+<(/[^>]*)>`)
	vectorLen  = regexp.MustCompile(`iov_len=(\d+)`)
)

// writeLine tells how many bytes a call that writes to a file asks for.
func writeLine(line string) (path string, n float64, ok bool) {
	if m := writeCall.FindStringSubmatch(line); m != nil {
		n, err := strconv.ParseFloat(m[2], 64)
		return m[1], n, err == nil
	}
	m := writevCall.FindStringSubmatch(line)
	if m == nil {
		return "", 0, false
	}
	for _, v := range vectorLen.FindAllStringSubmatch(line, -1) {
		size, _ := strconv.ParseFloat(v[1], 64)
		n += size
	}
	return m[1], n, true
}

// syncKind sorts paths: files of the journal, databases, and the rest.
func syncKind(path string) string {
	switch {
	case strings.Contains(path, "/journal/") || strings.HasSuffix(path, "/journal"):
		return "journal"
	case strings.HasSuffix(path, ".db"):
		return "database"
	}
	return "other"
}

// countSyncs counts by call ("fdatasync", and "fsync" for all others) and kind,
// and sums what is written to files, in KiB.
func countSyncs(r io.Reader) (map[string]float64, error) {
	n := map[string]float64{}
	for _, call := range []string{"fdatasync", "fsync"} {
		for _, kind := range []string{"journal", "database", "other"} {
			n[call+"_"+kind] = 0
		}
	}
	for _, kind := range []string{"journal", "database", "other"} {
		n["kib_"+kind] = 0
	}
	n["all"], n["kib_all"] = 0, 0
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if path, bytes, ok := writeLine(sc.Text()); ok {
			n["kib_"+syncKind(path)] += bytes / 1024
			n["kib_all"] += bytes / 1024
		}
		call, path, ok := syncLine(sc.Text())
		if !ok {
			continue
		}
		if call != "fdatasync" {
			call = "fsync"
		}
		n[call+"_"+syncKind(path)]++
		n["all"]++
	}
	return n, sc.Err()
}

func benchSyncs(c *Config) ([]Result, error) {
	r := Result{Bench: "syncs", Ops: c.N, Params: fmt.Sprintf("n=%d", c.N), Extra: map[string]float64{}}
	for _, name := range c.Args {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		counts, err := countSyncs(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		for k, v := range counts {
			r.Extra[k] += v / float64(c.N)
		}
	}
	return []Result{r}, nil
}

// benchNote makes a row of figures that something else measured.
func benchNote(c *Config) ([]Result, error) {
	r := Result{Bench: "note", Ops: 1, Extra: map[string]float64{}}
	for _, arg := range c.Args {
		name, value, _ := strings.Cut(arg, "=")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not name=number: %w", arg, err)
		}
		r.Extra[name] = n
	}
	return []Result{r}, nil
}
