package database

import (
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// described has fields of all sorts.
type described struct {
	ID     int64 `bstore:"noauto"`
	Name   string
	Box    int64 `bstore:"nonzero,unique Box+Name,index"`
	When   *time.Time
	Inner  []inner
	ByName map[string]inner
	Level  int32 `bstore:"default 3"`
	RowID  int64 `bstore:"ref row"`
	Sum    []byte
}

type inner struct {
	A int
	B []string
}

const describedDefinition = `	ID int64
		noauto
	Name string
	Box int64 nonzero
	When *time
	Inner []struct
		A int
		B []string
	ByName map[string]struct
	Level int32 default "3"
	RowID int64 references row
	Sum bytes
	index Box
	unique Box+Name
	index RowID
`

func TestDescribe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	db, err := Open(path, "test", 3, row{}, described{})
	if err != nil {
		t.Fatal(err)
	}
	insert(t, db, 500)
	if err := db.Insert(t.Context(), &described{ID: 1, Box: 1, RowID: 1}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Describe(path)
	if err != nil || d.Kind != "test" || d.Schema != 3 || len(d.Types) != 2 {
		t.Fatalf("got %+v, %v", d, err)
	}
	if got := d.Types[0]; got.Name != "described" || got.Rows != 1 || got.Definition != describedDefinition {
		t.Errorf("got %s of %d rows:\n%s\nwant\n%s", got.Name, got.Rows, got.Definition, describedDefinition)
	}
	if got := d.Types[1]; got.Name != "row" || got.Rows != 500 {
		t.Errorf("got %s of %d rows", got.Name, got.Rows)
	}
}

func TestDescribeForeign(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		buckets map[string]string
	}{
		{"not ours", map[string]string{"other": ""}},
		{"a bucket that is not of a type", map[string]string{identityBucket: `{"kind":"test"}`, "other": ""}},
	} {
		path := filepath.Join(t.TempDir(), "test.db")
		boltFile(t, path, test.buckets)
		if d, err := Describe(path); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: got %+v, %v", test.name, d, err)
		}
	}
}
