package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// exampleFiles are of each kind, in order.
var exampleFiles = []File{
	{"config/domains.conf", 12, 0x0abc, KindConfig},
	{"config/mox.conf", 0, 0, KindConfig},
	{"data/accounts/mox/index.db", 1 << 40, 1, KindDatabase},
	{"data/accounts/mox/msg/a/1", 4, 0xffffffff, KindMessage},
	{"data/accounts/mox/msg/a/10", 4, 2, KindMessage},
	{"data/accounts/mox/msg/a/2", 4, 3, KindMessage},
	{"data/accounts/mox.d/index.db", 4, 3, KindDatabase}, // Its directory comes later, though "." is less than "/".
	{"data/journal/1.log", 5, 4, KindJournal},
	{"data/queue/index.db", 5, 4, KindQueue},
	{"moxversion", 7, 5, KindOther},
}

var exampleTrailer = Trailer{Complete: true, Finished: time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC), Head: 17}

// writeManifest returns a manifest of files.
func writeManifest(t testing.TB, files []File, trailer Trailer) string {
	t.Helper()
	var b bytes.Buffer
	w, err := NewManifestWriter(&b, Header{Version: "v1.2.3", Started: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := w.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(trailer); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// readManifest reads to the end.
func readManifest(r io.Reader) (h Header, files []File, trailer Trailer, err error) {
	m, err := NewManifestReader(r)
	if err != nil {
		return h, nil, trailer, err
	}
	for {
		f, err := m.Next()
		if errors.Is(err, io.EOF) {
			return m.Header(), files, m.Trailer(), nil
		} else if err != nil {
			return h, files, trailer, err
		}
		files = append(files, f)
	}
}

// TestManifest reads what was written.
func TestManifest(t *testing.T) {
	t.Parallel()
	for _, trailer := range []Trailer{exampleTrailer, {Problems: []string{"account \"x\": <damaged>\n"}}} {
		text := writeManifest(t, exampleFiles, trailer)
		h, files, got, err := readManifest(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if h.Format != ManifestFormat || h.Version != "v1.2.3" || !reflect.DeepEqual(files, exampleFiles) {
			t.Errorf("got %+v, %+v", h, files)
		}
		trailer.Files, trailer.Bytes, trailer.SHA256 = 10, 1<<40+45, got.SHA256
		if !reflect.DeepEqual(got, trailer) || len(got.SHA256) != 64 {
			t.Errorf("got %+v, want %+v", got, trailer)
		}
	}
}

// TestManifestWriterRefuses shows what can't be in a manifest.
func TestManifestWriterRefuses(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]File{
		"the same again":      exampleFiles[1],
		"one before":          exampleFiles[0],
		"nothing":             {},
		"above":               {Path: "../x"},
		"absolute":            {Path: "/x"},
		"through dots":        {Path: "data/../x"},
		"itself":              {Path: ManifestName},
		"the directory":       {Path: "."},
		"a NUL":               {Path: "x\x00"},
		"no UTF-8":            {Path: "x\xff"},
		"a very long path":    {Path: strings.Repeat("x", manifestPathMax+1)},
		"less than nothing":   {Path: "x", Size: -1},
		"more than can be":    {Path: "x", Size: 1<<63 - 1},
		"its parent, a file":  {Path: "config"},
		"the same, as parent": {Path: "config/mox.conf/"},
	} {
		w, err := NewManifestWriter(io.Discard, Header{})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(File{Path: "config/mox.conf", Size: 1}); err != nil {
			t.Fatal(err)
		}
		if err := w.Add(f); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	w, err := NewManifestWriter(io.Discard, Header{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(Trailer{Problems: []string{strings.Repeat("x", manifestLineMax)}}); !errors.Is(err, ErrManifest) {
		t.Errorf("a line that can't be read: got %v", err)
	}
	if w, err = NewManifestWriter(fullWriter{}, Header{}); err == nil {
		err = w.Finish(Trailer{})
	}
	if !errors.Is(err, errFull) {
		t.Errorf("full disk: got %v", err)
	}
}

var errFull = errors.New("disk full")

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, errFull }

// TestManifestDamaged damages a manifest in each way.
func TestManifestDamaged(t *testing.T) {
	t.Parallel()
	good := writeManifest(t, exampleFiles, exampleTrailer)
	lines := strings.SplitAfter(good, "\n")
	lines = lines[:len(lines)-1]
	without := func(i int) string { return strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "") }
	for name, text := range map[string]string{
		"nothing":                 "",
		"an empty line":           "\n",
		"something else":          "#!/bin/sh\n",
		"no header":               without(0),
		"a file left out":         without(3),
		"no trailer":              without(len(lines) - 1),
		"the last line cut":       good[:len(good)-1],
		"cut within a line":       good[:len(good)/2],
		"another size":            strings.Replace(good, `"size":12`, `"size":13`, 1),
		"another checksum":        strings.Replace(good, "ffffffff", "fffffffe", 1),
		"no checksum":             strings.Replace(good, "ffffffff", "FFFFFFFF", 1),
		"another name":            strings.Replace(good, "moxversion", "moxversioo", 1),
		"a name that goes up":     strings.Replace(good, "config/domains.conf", "config/../.././etc/x", 1),
		"another version":         strings.Replace(good, "v1.2.3", "v1.2.4", 1),
		"no format":               strings.Replace(good, `"format":1`, `"format":0`, 1),
		"another number of files": strings.Replace(good, `"files":10`, `"files":11`, 1),
		"something behind":        good + "\n",
		"half a line behind":      good + "x",
		"twice":                   good + good,
		"a long line":             lines[0] + strings.Repeat(" ", manifestLineMax+1),
	} {
		if text == good {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, _, _, err := readManifest(strings.NewReader(text)); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	newer := strings.Replace(good, `"format":1`, `"format":2`, 1)
	if _, _, _, err := readManifest(strings.NewReader(newer)); !errors.Is(err, ErrManifestNewer) || !strings.Contains(err.Error(), "v1.2.3") {
		t.Errorf("a newer version: got %v", err)
	}
	errBroken := errors.New("broken")
	_, _, _, err := readManifest(io.MultiReader(strings.NewReader(good[:200]), errReader{errBroken}))
	if !errors.Is(err, errBroken) || errors.Is(err, ErrManifest) {
		t.Errorf("an error of the disk: got %v", err)
	}
	m, err := NewManifestReader(strings.NewReader(without(3)))
	for err == nil {
		_, err = m.Next()
	}
	if _, again := m.Next(); again == nil || again.Error() != err.Error() {
		t.Errorf("after an error: got %v, then %v", err, again)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestOpenManifest opens the manifest of a backup, and where there is none.
func TestOpenManifest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := OpenManifest(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(dir, ManifestName)
	if err := os.WriteFile(path, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenManifest(dir); !errors.Is(err, ErrManifest) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte(writeManifest(t, exampleFiles, exampleTrailer)), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := OpenManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := m.Next(); err != nil || f != exampleFiles[0] {
		t.Errorf("got %v, %v", f, err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestComparePaths compares with the order of filepath.WalkDir.
func TestComparePaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"a/b/c", "a/b.c/d", "a.b", "a-b/x", "a0", "a/b-/x", "b", "a/bb", "A", "é/x", "e", "a/b/c.d", "10", "9", "1/x"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var paths []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range paths {
		for j := range paths {
			if c := comparePaths(paths[i], paths[j]); (c < 0) != (i < j) || (c == 0) != (i == j) {
				t.Errorf("%s and %s: got %d, they are %d and %d", paths[i], paths[j], c, i, j)
			}
		}
	}
}

// FuzzManifest checks that what reads as a manifest is the same when it is written
// and read again, and that no path in it leads out of a backup.
func FuzzManifest(f *testing.F) {
	good := writeManifest(f, exampleFiles, exampleTrailer)
	f.Add([]byte(good))
	f.Add([]byte(writeManifest(f, nil, Trailer{Problems: []string{"x"}})))
	f.Add([]byte(good[:300]))
	f.Add([]byte("{}\n{}\n"))
	f.Add([]byte(`{"format":1}` + "\n" + `{"path":"x","trailer":null}` + "\n" + `{"trailer":{}}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := NewManifestReader(bytes.NewReader(text))
		var files []File
		for err == nil {
			var file File
			if file, err = m.Next(); err == nil {
				files = append(files, file)
				if !filepath.IsLocal(filepath.FromSlash(file.Path)) {
					t.Fatalf("path %q", file.Path)
				}
			}
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, ErrManifest) && !errors.Is(err, ErrManifestNewer) {
			t.Fatalf("error of another kind: %v", err)
		}
		written := writeManifest(t, files, exampleTrailer)
		_, again, trailer, err := readManifest(strings.NewReader(written))
		if err != nil || !reflect.DeepEqual(files, again) || trailer.Files != int64(len(files)) {
			t.Fatalf("%v, then %v, %+v, %v", files, again, trailer, err)
		}
	})
}

// BenchmarkManifest reads a manifest of messages.
func BenchmarkManifest(b *testing.B) {
	var files []File
	for i := range 1000 {
		files = append(files, File{fmt.Sprintf("data/accounts/mox/msg/a/%04d", i), 5000, 1 << 31, KindMessage})
	}
	text := writeManifest(b, files, Trailer{})
	b.ReportAllocs()
	for b.Loop() {
		if _, got, _, err := readManifest(strings.NewReader(text)); err != nil || len(got) != 1000 {
			b.Fatal(err)
		}
	}
}
