package database

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// Description is what a file holds.
type Description struct {
	Kind   string
	Schema int64
	Types  []TypeDescription // By name.
}

// TypeDescription is one type of rows.
type TypeDescription struct {
	Name       string
	Rows       int64
	Definition string // A line for each field and index, indented, so that a change can be seen.
}

// Describe returns what the file at path holds, of whatever kind it is. It reads
// all rows. Nobody may have the file open for writing.
func Describe(path string) (Description, error) {
	id, err := identify(path)
	d := Description{Kind: id.Kind, Schema: id.Version}
	if err == nil {
		err = view(path, func(tx *bolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
				if string(name) == identityBucket {
					return nil
				}
				t, err := describeType(string(name), b)
				d.Types = append(d.Types, t)
				return err
			})
		})
	}
	if err != nil {
		return Description{}, fmt.Errorf("describing database %s: %w", path, err)
	}
	return d, nil
}

// Buckets that bstore makes for a type.
const (
	recordsBucket = "records" // Rows by key.
	typesBucket   = "types"   // Definitions in JSON, by number; the last is that of new rows.
)

func describeType(name string, b *bolt.Bucket) (TypeDescription, error) {
	t := TypeDescription{Name: name}
	records, types := b.Bucket([]byte(recordsBucket)), b.Bucket([]byte(typesBucket))
	if records == nil || types == nil {
		return t, fmt.Errorf("%w: type %q has no rows or no definition", ErrForeign, name)
	}
	t.Rows = int64(records.Inspect().KeyN)
	_, latest := types.Cursor().Last()
	var def definition
	if err := json.Unmarshal(latest, &def); err != nil {
		return t, fmt.Errorf("%w: definition of type %q: %w", ErrForeign, name, err)
	}
	t.Definition = def.String()
	return t, nil
}

// definition is a type as bstore stores it.
type definition struct {
	Noauto  bool
	Fields  []fieldDefinition
	Indices map[string]struct {
		Unique bool
		Fields []fieldDefinition
	}
}

// fieldDefinition is a field of a row or of a struct in it.
type fieldDefinition struct {
	Name       string
	Type       kindDefinition
	Nonzero    bool
	References []string
	Default    string
}

// kindDefinition is the type of a field.
type kindDefinition struct {
	Ptr         bool
	Kind        string
	MapKey      *kindDefinition
	MapValue    *kindDefinition
	List        *kindDefinition
	ArrayLength int
	Fields      []fieldDefinition
}

// String returns a line for each field and index.
func (d definition) String() string {
	var b strings.Builder
	for i, f := range d.Fields {
		f.write(&b, "\t")
		if i == 0 && d.Noauto {
			b.WriteString("\t\tnoauto\n")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Indices)) {
		index, kind := d.Indices[name], "index"
		if index.Unique {
			kind = "unique"
		}
		var fields []string
		for _, f := range index.Fields {
			fields = append(fields, f.Name)
		}
		fmt.Fprintf(&b, "\t%s %s\n", kind, strings.Join(fields, "+"))
	}
	return b.String()
}

// write writes a line for the field, and lines for the fields of structs in it.
func (f fieldDefinition) write(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s%s %s", indent, f.Name, f.Type)
	if f.Nonzero {
		b.WriteString(" nonzero")
	}
	if f.Default != "" {
		fmt.Fprintf(b, " default %q", f.Default)
	}
	for _, r := range f.References {
		b.WriteString(" references " + r)
	}
	b.WriteByte('\n')
	for k := []*kindDefinition{&f.Type}; len(k) > 0; k = k[1:] {
		if k[0] == nil {
			continue
		}
		for _, in := range k[0].Fields {
			in.write(b, indent+"\t")
		}
		k = append(k, k[0].List, k[0].MapKey, k[0].MapValue)
	}
}

// String returns the type as in Go, "struct" for one of several fields.
func (k kindDefinition) String() string {
	text := k.Kind
	switch {
	case k.MapKey != nil && k.MapValue != nil:
		text = fmt.Sprintf("map[%s]%s", k.MapKey, k.MapValue)
	case k.List != nil && k.ArrayLength > 0:
		text = fmt.Sprintf("[%d]%s", k.ArrayLength, k.List)
	case k.List != nil:
		text = "[]" + k.List.String()
	}
	if k.Ptr {
		text = "*" + text
	}
	return text
}
