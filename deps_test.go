package main

import (
	"errors"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers is the architecture: every package of the module, lowest layer first.
// A package may import packages of lower layers, and of its own layer only
// along an edge in sideways. It is a statement of policy: to make a build pass
// by editing it needs the same review as the design change that it is.
//
// A package may be named here before it exists.
var layers = []layer{
	{
		name: "formats",
		packages: "cid dns smtp message imap sasl mbox maildir spf dkim dmarc arc iprev dnsbl mtasts dane" +
			" dsn tlsrpt dmarcrpt junk screen webapi webhook config",
		ordered: true,
		forbid:  "os os/... net net/http crypto/rand log log/slog math/rand math/rand/v2 github.com/prometheus/...",
	},
	{
		name: "parts",
		packages: "internal/fault logfmt lineio deflate atomicfile loop ratelimit resolver dnstest policyhost smtpclient imapclient" +
			" autotls rdap sandbox journal internal/transcript internal/conformance",
		ordered: true,
		forbid:  "log log/slog github.com/prometheus/...",
	},
	{
		name:     "stores",
		packages: "database authdb store queue trace mtastsdb tlsrptdb dmarcdb config/live",
		ordered:  true,
		forbid:   "net net/http log github.com/prometheus/...",
	},
	{
		name: "servers",
		packages: "auth submit receive delivery hooks reports backup mailimport admin smtpserver imapserver webauth" +
			" webadmin webaccount webmail webapisrv metrics http",
		forbid: "log",
	},
	{name: "system", packages: "system internal/specimen internal/sim internal/crashtest", forbid: "log"},
	{name: "program", packages: ".", forbid: "log"},
	{name: "tests", packages: "test/..."},
}

type layer struct {
	name     string
	packages string // Separated by spaces; "a/..." stands for all packages below a.
	ordered  bool   // A package may also import those of the layer listed before it.
	forbid   string // Imports no package of the layer may have, in the same notation.
}

// sideways holds the allowed imports within one layer, each with its reason.
var sideways = map[string]string{
	"smtpserver auth":    "AUTH asks it",
	"smtpserver receive": "incoming mail is analysed and delivered there",
	"smtpserver submit":  "submission is one of its faces",
	"imapserver auth":    "LOGIN and AUTHENTICATE ask it",
	"webauth auth":       "web logins are logins",
	"delivery receive":   "local recipients of the queue go the way of incoming mail",
	"reports submit":     "reports are sent as mail of ours",
	"admin auth":         "it sets passwords and ends sessions",
	"admin backup":       "an administrator's operation",
	"admin mailimport":   "an administrator's operation",

	"webadmin admin":     "its pages are views of these operations",
	"webadmin webauth":   "each of its requests belongs to a session",
	"webaccount admin":   "account settings are the same operations, for one account",
	"webaccount webauth": "each of its requests belongs to a session",
	"webmail submit":     "composed mail goes this way",
	"webmail admin":      "rulesets are account settings",
	"webmail webauth":    "each of its requests belongs to a session",
	"webapisrv submit":   "its send call goes this way",
	"webapisrv webauth":  "it takes the same logins",

	"internal/sim system":       "it runs whole systems",
	"internal/crashtest system": "it runs and kills whole systems",
}

// exceptions lift a layer's forbid for one package, each with its reason.
var exceptions = map[string]string{
	"logfmt log/slog": "it is the handler",
}

// onlyIn names the packages that alone may import something, so that a
// dependency can be replaced, or set up, in one place.
var onlyIn = map[string]string{
	"go.etcd.io/bbolt":      "database",
	"github.com/miekg/dns":  "resolver dnstest",
	"github.com/mjl-/sconf": "config",
}

// testOnly are modules that no program carries.
var testOnly = "github.com/emersion/... github.com/google/go-cmp/... github.com/xdg-go/... go.uber.org/goleak gopkg.in/yaml.v3 pgregory.net/rapid testing testing/..."

// testOnlyExceptions are packages that exist for tests and may import the
// above in files that are not named _test.go.
var testOnlyExceptions = "internal/transcript internal/crashtest internal/sim dnstest test/..."

// testImports holds what test files may import beyond what their package may.
// Tests need not keep the order within their layer, nor the forbid list.
var testImports = map[string]string{
	"formats": "internal/transcript dnstest",
	"parts":   "",
	"stores":  "",
	"servers": "dnstest",
	"system":  ". test/...",
	"program": "test/...",
	"tests":   "",
}

const module = "github.com/mjl-/mox"

// pkgImports is one package of the module with what it imports.
type pkgImports struct {
	name    string
	imports []string
	tests   []string // Of both kinds of test files.
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			for _, p := range listPackages(t, goos) {
				for _, problem := range checkImports(p) {
					t.Error(problem)
				}
			}
		})
	}
}

// TestImportRules shows that each rule refuses something.
func TestImportRules(t *testing.T) {
	t.Parallel()
	own := func(names ...string) (paths []string) {
		for _, name := range names {
			paths = append(paths, module+"/"+name)
		}
		return paths
	}
	for _, test := range []struct {
		name string
		pkg  pkgImports
		want string // Part of the first problem, empty for none.
	}{
		{"a package of no layer", pkgImports{name: "util"}, "is in no layer"},
		{"a lower layer", pkgImports{name: "store", imports: own("message", "journal")}, ""},
		{"a higher layer", pkgImports{name: "message", imports: own("store")}, "message (formats) imports store (stores)"},
		{"one before it in an ordered layer", pkgImports{name: "smtp", imports: own("dns")}, ""},
		{"one behind it in an ordered layer", pkgImports{name: "dns", imports: own("smtp")}, "dns (formats) imports smtp"},
		{"an allowed sideways edge", pkgImports{name: "smtpserver", imports: own("auth")}, ""},
		{"another sideways edge", pkgImports{name: "auth", imports: own("smtpserver")}, "auth (servers) imports smtpserver"},
		{"the program", pkgImports{name: "system", imports: []string{module}}, "system (system) imports . (program)"},
		{"a forbidden import", pkgImports{name: "imap", imports: []string{"log/slog"}}, "forbidden in layer formats"},
		{"below a forbidden tree", pkgImports{name: "journal", imports: []string{"github.com/prometheus/client_golang/prometheus"}}, "forbidden in layer parts"},
		{"the exception", pkgImports{name: "logfmt", imports: []string{"log/slog"}}, ""},
		{"a dependency of another package", pkgImports{name: "store", imports: []string{"go.etcd.io/bbolt"}}, "only database may"},
		{"a test module outside tests", pkgImports{name: "store", imports: []string{"pgregory.net/rapid"}}, "is for tests"},
		{"a test module in tests", pkgImports{name: "store", tests: []string{"pgregory.net/rapid"}}, ""},
		{"a higher layer in tests", pkgImports{name: "smtp", tests: own("system")}, "tests of smtp (formats) import system"},
		{"a higher layer that tests may use", pkgImports{name: "smtp", tests: own("internal/transcript")}, ""},
		{"a wildcard layer", pkgImports{name: "test/interop", imports: own("system", "imapserver")}, ""},
	} {
		problems := checkImports(test.pkg)
		switch {
		case test.want == "" && len(problems) > 0:
			t.Errorf("%s: got %q, want no problem", test.name, problems)
		case test.want != "" && (len(problems) == 0 || !strings.Contains(problems[0], test.want)):
			t.Errorf("%s: got %q, want %q", test.name, problems, test.want)
		}
	}
}

// listPackages reads the packages as they are for goos. It reads the files
// itself, and doesn't ask the go command, so that go test knows when a cached
// result no longer holds.
func listPackages(t *testing.T, goos string) (pkgs []pkgImports) {
	t.Helper()
	system := build.Default
	system.GOOS, system.GOARCH, system.CgoEnabled = goos, "amd64", false
	err := filepath.WalkDir(".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if dir != "." && skipDir(dir, d.Name()) {
			return filepath.SkipDir
		}
		p, err := system.ImportDir(dir, 0)
		if _, ok := errors.AsType[*build.NoGoError](err); ok {
			return nil
		} else if err != nil {
			return err
		}
		pkgs = append(pkgs, pkgImports{filepath.ToSlash(dir), p.Imports, slices.Concat(p.TestImports, p.XTestImports)})
		return nil
	})
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	return pkgs
}

// skipDir tells whether the go command leaves out a directory, as it does for
// names with these beginnings and for other modules.
func skipDir(dir, name string) bool {
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// checkImports returns what is wrong with the imports of one package.
func checkImports(p pkgImports) (problems []string) {
	at, _ := find(p.name)
	if at < 0 {
		return []string{"package " + p.name + " is in no layer"}
	}
	from := layers[at]
	for _, path := range p.imports {
		if problem := checkImport(p.name, from, path); problem != "" {
			problems = append(problems, problem)
		}
	}
	for _, path := range p.tests {
		imp := relative(path)
		to, _ := find(imp)
		if isOurs(path) && to > at && !matches(testImports[from.name], imp) {
			problems = append(problems, "tests of "+p.name+" ("+from.name+") import "+imp+" ("+layerName(to)+")")
		}
	}
	return problems
}

// checkImport returns what is wrong with one import outside test files.
func checkImport(name string, from layer, path string) string {
	if matches(from.forbid, path) && exceptions[name+" "+path] == "" {
		return name + " imports " + path + ", forbidden in layer " + from.name
	}
	if only, ok := onlyIn[path]; ok && !matches(only, name) {
		return name + " imports " + path + ", which only " + only + " may"
	}
	if matches(testOnly, path) && !matches(testOnlyExceptions, name) {
		return name + " imports " + path + ", which is for tests"
	}
	if !isOurs(path) {
		return ""
	}
	imp := relative(path)
	at, place := find(name)
	to, toPlace := find(imp)
	before := from.ordered && toPlace < place
	if to > at || to == at && !before && !strings.HasPrefix(name, "test/") && sideways[name+" "+imp] == "" {
		return name + " (" + from.name + ") imports " + imp + " (" + layerName(to) + ")"
	}
	return ""
}

// find returns the layer of a package and its place in it, -1 for no layer.
func find(name string) (at, place int) {
	for i, l := range layers {
		for j, p := range strings.Fields(l.packages) {
			if matches(p, name) {
				return i, j
			}
		}
	}
	return -1, -1
}

func layerName(at int) string {
	if at < 0 {
		return "no layer"
	}
	return layers[at].name
}

// matches tells whether one of the space-separated patterns is path, or ends
// in "/..." and has path at or below it.
func matches(patterns, path string) bool {
	return slices.ContainsFunc(strings.Fields(patterns), func(pattern string) bool {
		tree, ok := strings.CutSuffix(pattern, "/...")
		return pattern == path || ok && (path == tree || strings.HasPrefix(path, tree+"/"))
	})
}

func isOurs(path string) bool {
	return path == module || strings.HasPrefix(path, module+"/")
}

// relative returns path without the module prefix; "." is the module itself.
func relative(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}
