package conformance

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Claim says that a test shows what an RFC demands.
type Claim struct {
	RFC      int
	Section  string // As in "6.3.2" or "A.1".
	Ordinals []int  // Of the section's sentences, from 1. Never empty.
	Text     string // What the server does, without a period.
	Test     string // As in "imapserver/testdata/select.txt" or "imap.TestDecoder".
	Where    string // File and line, for what is wrong with it.
}

// claimStart is how a comment begins that is meant as a claim. A sentence that
// begins with MUST has no number behind it.
var claimStart = regexp.MustCompile(`^(?://|#) MUST (?:RFC )?[0-9]`)

var claimRegexp = regexp.MustCompile(`^(?://|#) MUST ([0-9]{3,5}) ([0-9A-Za-z.]+)(?: #([0-9]+(?:,[0-9]+)*))?: (\S.*)$`)

// parseClaim takes a whole comment line. It returns false for one that is no claim.
func parseClaim(line string) (Claim, bool, error) {
	if !claimStart.MatchString(line) {
		return Claim{}, false, nil
	}
	m := claimRegexp.FindStringSubmatch(strings.TrimRight(line, " \r\n"))
	if m == nil {
		return Claim{}, false, fmt.Errorf("want MUST rfc section: text, or MUST rfc section #1,2: text, not %q", line)
	}
	rfc, err := strconv.Atoi(m[1])
	if err != nil {
		return Claim{}, false, err
	}
	ordinals, err := parseOrdinals(m[3])
	return Claim{RFC: rfc, Section: m[2], Ordinals: ordinals, Text: strings.TrimRight(m[4], ". ")}, err == nil, err
}

// parseOrdinals parses numbers separated by commas. Nothing stands for the first.
func parseOrdinals(s string) (ordinals []int, err error) {
	if s == "" {
		return []int{1}, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not the number of a sentence", word)
		}
		ordinals = append(ordinals, n)
	}
	return ordinals, nil
}

// Collect returns the claims of all tests of the module that root holds, in the
// order of the RFCs. It leaves out what the go command leaves out, other than the
// transcripts in testdata.
func Collect(root fs.FS) ([]Claim, error) {
	var claims []Claim
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && strings.ContainsAny(d.Name()[:1], "._") {
				return fs.SkipDir
			}
			return nil
		}
		found, err := collectFile(root, name)
		claims = append(claims, found...)
		return err
	})
	slices.SortStableFunc(claims, compareClaims)
	return claims, err
}

func compareClaims(a, b Claim) int {
	return cmp.Or(cmp.Compare(a.RFC, b.RFC), compareSections(a.Section, b.Section), slices.Compare(a.Ordinals, b.Ordinals),
		cmp.Compare(a.Text, b.Text), cmp.Compare(a.Test, b.Test))
}

// compareSections compares numbers by value, and puts appendices last.
func compareSections(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) int {
		x, errA := strconv.Atoi(a)
		y, errB := strconv.Atoi(b)
		if errA == nil && errB == nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a, b)
	})
}

func collectFile(root fs.FS, name string) ([]Claim, error) {
	isTranscript := path.Ext(name) == ".txt" && path.Base(path.Dir(name)) == "testdata"
	if !isTranscript && !strings.HasSuffix(name, "_test.go") {
		return nil, nil
	}
	data, err := fs.ReadFile(root, name)
	if err != nil || !bytes.Contains(data, []byte(" MUST ")) {
		return nil, err
	}
	if isTranscript {
		return transcriptClaims(name, string(data))
	}
	return goClaims(name, data)
}

func transcriptClaims(name, data string) (claims []Claim, err error) {
	n := 0
	for line := range strings.Lines(data) {
		n++
		c, ok, err := parseClaim(strings.TrimRight(line, "\r\n"))
		where := fmt.Sprintf("%s:%d", name, n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		if ok {
			c.Test, c.Where = name, where
			claims = append(claims, c)
		}
	}
	return claims, nil
}

// goClaims returns the claims in a Go file's tests. One elsewhere is an error: no
// test would show it.
func goClaims(name string, data []byte) (claims []Claim, err error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, group := range f.Comments {
		for _, comment := range group.List {
			c, ok, err := parseClaim(comment.Text)
			where := fmt.Sprintf("%s:%d", name, files.Position(comment.Pos()).Line)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", where, err)
			}
			if !ok {
				continue
			}
			test := testAround(f, comment.Pos())
			if test == "" {
				return nil, fmt.Errorf("%s: not within a test", where)
			}
			c.Test, c.Where = strings.TrimPrefix(path.Dir(name)+"."+test, ".."), where
			claims = append(claims, c)
		}
	}
	return claims, nil
}

// testAround returns the name of the test or fuzz target at a position, or "".
func testAround(f *ast.File, pos token.Pos) string {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || pos < fn.Pos() || pos > fn.End() {
			continue
		}
		if strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz") {
			return fn.Name.Name
		}
	}
	return ""
}
