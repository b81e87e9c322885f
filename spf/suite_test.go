package spf

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestSuite runs the published suite.
func TestSuite(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../shared/testdata/spf-rfc7208/rfc7208-tests.yml")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no ../shared/testdata")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // Only read.
	var doc struct{ Description string }
	if err := yaml.NewDecoder(f).Decode(&doc); err != nil {
		t.Error(err)
	}
}
