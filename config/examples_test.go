package config

import (
	"errors"
	"strings"
	"testing"
)

// TestExamples checks that examples are valid as parts of files, and say so if they
// are not supported yet.
func TestExamples(t *testing.T) {
	t.Parallel()
	exampleStatic, exampleDynamic := examples(t)
	// Without the sections of the examples.
	cut := func(text string, sections ...string) string {
		var b strings.Builder
		skip := false
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, "\t") {
				skip = false
				for _, s := range sections {
					skip = skip || strings.HasPrefix(line, s+":")
				}
			}
			if !skip {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	for _, e := range Examples() {
		static, dynamic := exampleStatic, exampleDynamic
		later := false
		switch e.Name {
		case "transport":
			first, second, ok := strings.Cut(e.Text, "\n# In domains.conf.")
			if !ok {
				t.Fatal("example has no part for domains.conf")
			}
			static = strings.NewReplacer("\trelay:\n", "\tipv4:\n\t\tDirect:\n\t\t\tDisableIPv6: true\n\trelay:\n").Replace(cut(static, "Transports") + first)
			dynamic = cut(dynamic, "Routes") + "#" + second
		case "webhandlers":
			dynamic = cut(dynamic, "WebDomainRedirects", "WebHandlers") + e.Text
		default:
			t.Errorf("example %s is not checked", e.Name)
		}
		_, err := Load([]byte(static), []byte(dynamic), nil)
		if got := others(err); got != "" {
			t.Errorf("%s: %s", e.Name, got)
		}
		problems, _ := errors.AsType[Problems](err)
		for _, p := range problems {
			later = later || e.Name == "webhandlers" && p.Path == "WebHandlers"
		}
		if noted := strings.HasPrefix(e.Text, laterNote); noted != later {
			t.Errorf("%s: says that it is not supported: %v, and it is refused: %v", e.Name, noted, later)
		}
	}
}
