//go:build unix

package crashtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mjl-/mox/admin"
	"github.com/mjl-/mox/journal"
	"github.com/mjl-/mox/queue"
	"github.com/mjl-/mox/store"
)

// TestAllPointsAreListed finds fault points in the sources that Points does not
// list, so that no test comes by them.
func TestAllPointsAreListed(t *testing.T) {
	t.Parallel()
	for dir, points := range map[string][]string{"journal": journal.Points(), "store": store.Points(), "queue": queue.Points(), "admin": admin.Points()} {
		files, err := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		declared := 0
		for _, path := range files {
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok || !strings.HasPrefix(spec.Names[0].Name, "Fault") {
					return true
				}
				for _, v := range spec.Values {
					declared++
					point, err := strconv.Unquote(v.(*ast.BasicLit).Value)
					if err != nil || !slices.Contains(points, point) {
						t.Errorf("%s: %s is not in Points of %s", path, spec.Names[0].Name, dir)
					}
				}
				return true
			})
		}
		if declared != len(points) {
			t.Errorf("%s has %d points, and declares %d", dir, len(points), declared)
		}
	}
}
