package main

import (
	"os"
	"testing"

	"github.com/mjl-/mox/internal/conformance"
)

// TestGoldenConformance compares docs/conformance.md with the comments in tests
// that it is made from.
func TestGoldenConformance(t *testing.T) {
	t.Parallel()
	claims, err := conformance.Collect(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	exempt, open, err := conformance.Lists()
	if err != nil {
		t.Fatal(err)
	}
	got := conformance.Markdown(claims, exempt, open)
	const golden = "docs/conformance.md"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs, run `make gen`", golden)
	}
}
