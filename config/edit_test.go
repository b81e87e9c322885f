package config

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

const edited = `# Ours, since 2020.

Domains:

	# The family's domain.
	example.org:
		# Plus is for shops.
		LocalpartCatchallSeparator: +
		Aliases:
			# Everybody.
			all:
				Addresses:
					# The one who pays.
					- anna@example.org
					- bert@example.org
				# End of everybody.
			some:
				Addresses:
					- anna@example.org
		# End of the domain.

	# Bought, not used.
	example.net: nil

# ---- People ----

Accounts:
	bert: # Not a comment.
		# Bert's domain.
		Domain: example.org
		Destinations:
			# Old.
			bert@example.org: nil

	# ---- Family ----

	# Anna pays.
	anna:
		Domain: example.org
		Disabled: false
		Destinations:
			anna@example.org:
				Mailbox: Anna
		# Destinations of Anna end.
	# The end of accounts.
# The end.
`

// TestEdit makes one change and compares the text. Cases give what is replaced in
// the text above.
func TestEdit(t *testing.T) {
	t.Parallel()
	// The two lines that no version of the format has had.
	base := strings.NewReplacer("bert: # Not a comment.", "bert:", "\t\tDisabled: false\n", "\t\tNoCustomPassword: false\n").Replace(edited)
	account := func(change func(*Account)) func(*Dynamic) {
		return func(d *Dynamic) {
			a := d.Accounts["anna"]
			change(&a)
			d.Accounts["anna"] = a
		}
	}
	domain := func(name string, change func(*Domain)) func(*Dynamic) {
		return func(d *Dynamic) {
			a := d.Domains[name]
			change(&a)
			d.Domains[name] = a
		}
	}
	for _, test := range []struct {
		name     string
		change   func(*Dynamic)
		old, new string // Pairs, separated by "|".
	}{
		{"nothing", func(*Dynamic) {}, "", ""},
		{"a value changes", account(func(a *Account) { a.Domain = "example.net" }), "anna:\n\t\tDomain: example.org", "anna:\n\t\tDomain: example.net"},
		{"a value is set", account(func(a *Account) { a.FullName = "Anna" }), "anna:\n\t\tDomain: example.org\n", "anna:\n\t\tDomain: example.org\n\t\tFullName: Anna\n"},
		{"a value is set that is first by its kind", account(func(a *Account) { a.LoginDisabled = "no" }), "\t\t# Destinations of Anna end.\n", "\t\tLoginDisabled: no\n\t\t# Destinations of Anna end.\n"},
		{"a value that was explicitly false", account(func(a *Account) { a.NoCustomPassword = true }), "Password: false", "Password: true"},
		{"a value is removed", func(d *Dynamic) { a := d.Accounts["anna"].Destinations; a["anna@example.org"] = Destination{} },
			"anna@example.org:\n\t\t\t\tMailbox: Anna\n", "anna@example.org: nil\n"},
		{"nil gets a value", func(d *Dynamic) { d.Accounts["bert"].Destinations["bert@example.org"] = Destination{Mailbox: "B"} },
			"bert@example.org: nil\n", "bert@example.org:\n\t\t\t\tMailbox: B\n"},
		{"an account is added", func(d *Dynamic) { d.Accounts["carl"] = Account{Domain: "example.net"} },
			"\t# The end of accounts.\n", "\n\tcarl:\n\t\tDomain: example.net\n\t# The end of accounts.\n"},
		{"two addresses are added", account(func(a *Account) {
			a.Destinations["b@example.org"] = Destination{}
			a.Destinations["a@example.org"] = Destination{}
		}),
			"\t\t# Destinations of Anna end.\n", "\t\t\ta@example.org: nil\n\t\t\tb@example.org: nil\n\t\t# Destinations of Anna end.\n"},
		{"an account is removed, with its comments, and not the heading", func(d *Dynamic) { delete(d.Accounts, "anna") },
			"\n\t# Anna pays.\n\tanna:\n\t\tDomain: example.org\n\t\tNoCustomPassword: false\n\t\tDestinations:\n\t\t\tanna@example.org:\n\t\t\t\tMailbox: Anna\n\t\t# Destinations of Anna end.\n", ""},
		{"the first account is removed", func(d *Dynamic) { delete(d.Accounts, "bert") },
			"\tbert:\n\t\t# Bert's domain.\n\t\tDomain: example.org\n\t\tDestinations:\n\t\t\t# Old.\n\t\t\tbert@example.org: nil\n", ""},
		{"a domain is removed", func(d *Dynamic) { delete(d.Domains, "example.net") }, "\n\t# Bought, not used.\n\texample.net: nil\n", ""},
		{"the only address is removed", func(d *Dynamic) { delete(d.Accounts["bert"].Destinations, "bert@example.org") },
			"", "*"},
		{"a domain says something", domain("example.net", func(d *Domain) { d.Disabled = true }), "example.net: nil\n", "example.net:\n\t\tDisabled: true\n"},
		{"members change", domain("example.org", func(d *Domain) {
			d.Aliases["all"] = Alias{Addresses: []string{"bert@example.org", "carl@example.org"}}
		}), "\t\t\t\t\t# The one who pays.\n\t\t\t\t\t- anna@example.org\n\t\t\t\t\t- bert@example.org\n", "\t\t\t\t\t- bert@example.org\n\t\t\t\t\t- carl@example.org\n"},
		{"a member is added in front", domain("example.org", func(d *Domain) {
			d.Aliases["some"] = Alias{Addresses: []string{"bert@example.org", "anna@example.org"}}
		}), "some:\n\t\t\t\tAddresses:\n", "some:\n\t\t\t\tAddresses:\n\t\t\t\t\t- bert@example.org\n"},
		{"a list comes that was not there", func(d *Dynamic) { d.MonitorDNSBLs = []string{"a.example"} }, "# The end.\n", "\nMonitorDNSBLs:\n\t- a.example\n# The end.\n"},
		{"all accounts go", func(d *Dynamic) { d.Accounts = nil }, "", "*"},
	} {
		d, err := ParseDynamic([]byte(base))
		if err != nil {
			t.Fatal(err)
		}
		test.change(&d)
		text, err := EditDynamic([]byte(base), d)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		want := base
		if test.old != "" {
			want = strings.Replace(base, test.old, test.new, 1)
			if want == base {
				t.Errorf("%s: nothing to replace", test.name)
			}
		}
		if test.new == "*" { // Only that it is right, and that comments elsewhere are there.
			want = string(text)
			if !strings.HasPrefix(want, "# Ours, since 2020.\n") || !strings.HasSuffix(want, "# The end.\n") {
				t.Errorf("%s: comments are lost:\n%s", test.name, want)
			}
		}
		if string(text) != want {
			t.Errorf("%s: got:\n%s\nwant:\n%s", test.name, text, want)
		}
		if again, err := ParseDynamic(text); err != nil || !same(reflect.ValueOf(again), reflect.ValueOf(d)) {
			t.Errorf("%s: read again: %v, %+v", test.name, err, again)
		}
	}
}

// TestEditForeign edits texts that can't be edited, or with other line ends.
func TestEditForeign(t *testing.T) {
	t.Parallel()
	d := Dynamic{Domains: map[string]Domain{"a.example": {}}}
	for _, test := range []struct{ name, text, want string }{
		{"an empty file", "", "Domains:\n\ta.example: nil\n"},
		{"only a comment", "# C\n", "Domains:\n\ta.example: nil\n# C\n"},
		{"not a configuration", "x\n", "Domains:\n\ta.example: nil\n"},
		{"no line end", "# C\nDomains:\n\tb.example: nil", "# C\nDomains:\n\ta.example: nil\n"},
		{"line ends of Windows", "# C\r\nDomains:\r\n\tb.example: nil\r\n", "# C\r\nDomains:\r\n\ta.example: nil\r\n"},
	} {
		if got, err := EditDynamic([]byte(test.text), d); err != nil || string(got) != test.want {
			t.Errorf("%s: got %q, %v, want %q", test.name, got, err, test.want)
		}
	}
	d.Domains["a.example"] = Domain{Description: "two\nlines"}
	if got, err := EditDynamic(nil, d); err == nil {
		t.Errorf("a value that does not fit: got %q", got)
	}
}

// mutate changes something in a value.
func mutate(r *rand.Rand, v reflect.Value) {
	words := []string{"", "a", "b.example", "x@b.example", "nil", "- a", "# a", "a: b", "\ta", " a", "550 no"}
	word := words[r.IntN(len(words))]
	switch v.Kind() {
	case reflect.Struct:
		mutate(r, v.Field(r.IntN(v.NumField())))
	case reflect.Pointer:
		if v.IsNil() || r.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			mutate(r, v.Elem())
		} else {
			v.SetZero()
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		key := reflect.ValueOf(word)
		if keys := v.MapKeys(); len(keys) > 0 && r.IntN(3) > 0 {
			key = sortedKeys(v)[r.IntN(len(keys))]
		}
		value := reflect.New(v.Type().Elem()).Elem()
		if old := v.MapIndex(key); old.IsValid() {
			value.Set(old)
		}
		if mutate(r, value); r.IntN(4) == 0 {
			value = reflect.Value{} // Is removed.
		}
		v.SetMapIndex(key, value)
	case reflect.Slice:
		item := reflect.New(v.Type().Elem()).Elem()
		mutate(r, item)
		n := v.Len()
		i := r.IntN(n + 1)
		rest := reflect.MakeSlice(v.Type(), 0, n+1)
		rest = reflect.AppendSlice(rest, v.Slice(0, i))
		if r.IntN(3) > 0 {
			rest = reflect.Append(rest, item)
		} else if i < n {
			i++
		}
		v.Set(reflect.AppendSlice(rest, v.Slice(i, n)))
	case reflect.String:
		v.SetString(word)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Float64:
		v.SetFloat(r.NormFloat64())
	case reflect.Int64:
		v.SetInt(r.Int64N(3) * int64(time.Second+1))
	default:
	}
}

// checkEdit changes what text says at random and checks that the edited text says
// it, in as many steps.
func checkEdit(t *testing.T, text string, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	for range 3 {
		d, _, problems := parse[Dynamic](DynamicName, []byte(text))
		if len(problems) > 0 {
			return
		}
		same1, err := EditDynamic([]byte(text), d)
		if err != nil {
			return // There are names that can't be written, as one that begins with a tab.
		}
		if want := strings.TrimSuffix(text, "\n") + "\n"; text != "" && !strings.Contains(text, "\r") && string(same1) != want {
			t.Fatalf("seed %d: nothing changed in:\n%s\nbut got:\n%s", seed, want, same1)
		}
		for range 1 + r.IntN(3) {
			mutate(r, reflect.ValueOf(&d).Elem())
		}
		edited, err := EditDynamic([]byte(text), d)
		if err != nil {
			if plain, err := FormatDynamic(d); err == nil {
				t.Fatalf("seed %d: editing fails, and there is a text:\n%s", seed, plain)
			}
			return
		}
		again, _, problems := parse[Dynamic](DynamicName, edited)
		if len(problems) > 0 || !same(reflect.ValueOf(again), reflect.ValueOf(d)) {
			t.Fatalf("seed %d: got:\n%s\nwith problems %v, which is not:\n%+v", seed, edited, problems, d)
		}
		text = string(edited)
	}
}

// TestEditRandom makes many changes to files with all settings and with comments.
func TestEditRandom(t *testing.T) {
	t.Parallel()
	described, err := DescribeDynamic()
	if err != nil {
		t.Fatal(err)
	}
	fallbacks := 0
	for seed := range uint64(60) {
		checkEdit(t, string(described), seed)
		r := rand.New(rand.NewPCG(seed, 0))
		d, err := ParseDynamic(described)
		if err != nil {
			t.Fatal(err)
		}
		mutate(r, reflect.ValueOf(&d).Elem())
		if _, err := edit(DynamicName, described, d); err != nil {
			if _, err := FormatDynamic(d); err == nil {
				fallbacks++
			}
		}
	}
	// As when a struct is left with nothing that has to be said.
	if fallbacks > 6 {
		t.Errorf("of 60 changes %d could not be made in the text", fallbacks)
	}
}

// FuzzEdit edits texts of any form at random.
func FuzzEdit(f *testing.F) {
	_, dynamic := examples(f)
	for i, text := range []string{dynamic, testDynamic, edited, "", "\tx\n", "#\n\t# a\nDomains:\n# b\n\tx: nil\n\t\t# c\n\t# d\n", "Accounts:\n\t\ta: nil\n"} {
		f.Add(text, uint64(i))
	}
	f.Fuzz(checkEdit)
}

// TestEntries reads a text as entries and writes it again.
func TestEntries(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "# a\n", edited, testDynamic, testStatic, "\t\t\tx\ny\n\tz\n\n\t\t\t# a\n\n\t# b\n\t\t# c\n", fmt.Sprint(strings.Repeat("\t# a\nb:\n", 3))} {
		if got := parseEntries(text).text(); got != text {
			t.Errorf("got:\n%q\nwant:\n%q", got, text)
		}
	}
}
