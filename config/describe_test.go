package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"reflect"
	"testing"
)

var update = flag.Bool("update", false, "write golden files")

// TestGoldenDescriptions compares the annotated examples with those in docs, and
// checks that they are valid together but for what is not supported yet.
func TestGoldenDescriptions(t *testing.T) {
	t.Parallel()
	static, err := DescribeStatic()
	if err != nil {
		t.Fatal(err)
	}
	dynamic, err := DescribeDynamic()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/config-static.txt", static)
	golden(t, "../docs/config-domains.txt", dynamic)
	allSettings(t, static, reflect.TypeFor[Static]())
	allSettings(t, dynamic, reflect.TypeFor[Dynamic]())
	_, err = Load(static, dynamic, nil)
	problems, _ := errors.AsType[Problems](err)
	for _, p := range problems {
		if !errors.Is(p, ErrLater) {
			t.Errorf("the examples are not valid: %v", p)
		}
	}
}

// allSettings checks that each setting in a type appears in an example.
func allSettings(t *testing.T, example []byte, typ reflect.Type) {
	t.Helper()
	switch typ.Kind() {
	case reflect.Map, reflect.Slice, reflect.Pointer:
		allSettings(t, example, typ.Elem())
	case reflect.Struct:
		for f := range typ.Fields() {
			if f.Name == "DefaultMailboxes" {
				continue // Deprecated, and not possible together with InitialMailboxes.
			}
			if !bytes.Contains(example, []byte("\t"+f.Name+":")) && !bytes.Contains(example, []byte("\n"+f.Name+":")) {
				t.Errorf("example has no %s of %s", f.Name, typ)
			}
			allSettings(t, example, f.Type)
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs, run `make gen`; got:\n%s", name, got)
	}
}
