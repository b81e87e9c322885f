package arc

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/mjl-/mox/dns"
)

// records is a dns.Resolver that has TXT records only.
type records map[string]string

func (r records) LookupTXT(_ context.Context, name string) ([]string, dns.Result, error) {
	res := dns.Result{Name: name, Authentic: true}
	if text, ok := r[strings.TrimSuffix(name, ".")]; ok {
		return []string{text}, res, nil
	}
	return nil, res, &dns.Error{Op: "TXT", Name: name, Err: dns.ErrNotFound}
}

// resolver has the other lookups too, which nobody makes.
type resolver struct {
	dns.Resolver
	records
}

func (r resolver) LookupTXT(ctx context.Context, name string) ([]string, dns.Result, error) {
	return r.records.LookupTXT(ctx, name)
}

// now is when the tests take place.
func now() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func verify(t testing.TB, r dns.Resolver, msg string) Evaluation {
	t.Helper()
	e, err := Verify(t.Context(), r, strings.NewReader(msg), int64(len(msg)), Options{Now: now()})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// scenario is a document of the suite.
type scenario struct {
	Tests   yaml.Node         // By name, of which some are there twice.
	Records map[string]string `yaml:"txt-records"`
}

// suiteCase is a message and its status.
type suiteCase struct {
	Message string
	CV      string `yaml:"cv"`
}

// readSuite reads the published suite, of which this place may have no copy.
func readSuite(t testing.TB) []scenario {
	t.Helper()
	f, err := os.Open("../../shared/testdata/arc-valimail/arc-draft-validation-tests.yml")
	if os.IsNotExist(err) {
		if _, err := fs.Stat(os.DirFS(".."), "go.mod"); err != nil {
			t.Fatal(err)
		}
		t.Skip("skipped: no ../shared/testdata")
	} else if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	var all []scenario
	d := yaml.NewDecoder(f)
	for {
		var s scenario
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
}

// deviations are the cases with another status than the suite's, with the reason.
var deviations = map[string]struct {
	want   Result
	reason string
}{
	// The suite is of a draft, by which a chain that ends in cv=fail had no status.
	"cv_fail_i1_as_cv_fail": {Fail, "RFC 8617, section 5.2, step 2: the status is fail"},
	"cv_fail_i2_as2_fail":   {Fail, "RFC 8617, section 5.2, step 2: the status is fail"},
	"cv_fail_i2_as1_fail":   {Fail, "RFC 8617, section 5.2, step 3, C: the status is fail"},
}

// TestSuite runs the published cases for validation.
func TestSuite(t *testing.T) {
	t.Parallel()
	cases := 0
	for _, s := range readSuite(t) {
		for i := 0; i < len(s.Tests.Content); i += 2 {
			cases++
			name := s.Tests.Content[i].Value
			var c suiteCase
			if err := s.Tests.Content[i+1].Decode(&c); err != nil {
				t.Fatal(err)
			}
			want := Result(strings.ToLower(strings.TrimSpace(c.CV)))
			if want == "" {
				want = None
			}
			if d, ok := deviations[name]; ok {
				want = d.want
			}
			e := verify(t, resolver{records: s.Records}, strings.ReplaceAll(c.Message, "\n", "\r\n"))
			if e.Result != want || (e.Result == Fail) != (e.Err != nil) {
				t.Errorf("%s: got %s (%v), want %s", name, e.Result, e.Err, want)
			}
		}
	}
	if cases != 175 { // Of 171 names.
		t.Errorf("suite has %d cases, want 175", cases)
	}
}
