package live

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mjl-/mox/config"
)

// TestOnChange shows who is told of what becomes current, and that nobody is of
// what does not.
func TestOnChange(t *testing.T) {
	t.Parallel()
	c, path := open(t)
	var told []string
	c.OnChange(func(next *config.Config) {
		if next != c.Current() {
			t.Error("told of a configuration that isn't current")
		}
		told = append(told, strings.Join(next.Accounts(), " "))
	})
	if err := c.Update(t.Context(), add("b")); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), func(*config.Dynamic) error { return errors.New("no") }); err == nil {
		t.Error("a change that fails: got no error")
	}
	dynamicPath := filepath.Join(filepath.Dir(path), "domains.conf")
	put(t, dynamicPath, "nonsense\n")
	if err := c.Reload(t.Context()); err == nil {
		t.Error("a bad file: got no error")
	}
	put(t, dynamicPath, dynamic+"\tc:\n\t\tDomain: example.org\n")
	if err := c.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.OnChange(nil)
	if err := c.Update(t.Context(), add("d")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a b", "a c"}; !slices.Equal(told, want) {
		t.Errorf("got %q, want %q", told, want)
	}
}
