package main

import (
	"os"
	"regexp"
	"testing"
)

// TestDependenciesDocumented compares what go.mod names directly with
// docs/dependencies.md.
func TestDependenciesDocumented(t *testing.T) {
	t.Parallel()
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1) {
		required[m[1]] = true
	}
	if len(required) == 0 {
		t.Error("go.mod: found no modules")
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(string(doc), -1) {
		documented[m[1]] = true
		if !required[m[1]] {
			t.Errorf("docs/dependencies.md has %s, which go.mod hasn't", m[1])
		}
	}
	for path := range required {
		if !documented[path] {
			t.Errorf("docs/dependencies.md has nothing about %s", path)
		}
	}
}
