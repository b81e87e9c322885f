package admin

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mjl-/mox/config"
)

// dynamic is a configuration with something of everything that calls can find.
const dynamic = `Domains:
	example.org:
		LocalpartCatchallSeparator: +
		Aliases:
			team:
				Addresses:
					- anna@example.org
					- Bert@example.org
				PostPublic: true
			solo:
				Addresses:
					- bert@example.org
	bücher.example:
		Disabled: true
	free.example: nil
Accounts:
	anna:
		Domain: example.org
		Destinations:
			anna@example.org: nil
			jürgen@bücher.example: nil
	bert:
		Domain: example.org
		Destinations:
			Bert@example.org: nil
			@bücher.example: nil
			other@example.org:
				Mailbox: Other
`

// use puts a configuration in place of the one there is.
func (w *world) use(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(w.configFile("domains.conf"), []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := w.live.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// text returns the configuration as it is on disk.
func (w *world) text(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(w.configFile("domains.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// call is a call in a test, and what it answers: JSON, or an error.
type call struct {
	name  string
	run   func() (any, error)
	want  string // JSON of the result, if there is no error.
	code  Code
	words string // Of the error.
}

// calls makes calls one after the other. One that fails changes nothing.
func (w *world) calls(t *testing.T, list []call) {
	t.Helper()
	for _, c := range list {
		before := w.text(t)
		res, err := c.run()
		wantError(t, c.name, err, c.code, c.words)
		if err != nil {
			if after := w.text(t); after != before {
				t.Errorf("%s: changed the configuration to\n%s", c.name, after)
			}
			continue
		}
		if got, err := json.Marshal(res); err != nil || string(got) != c.want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", c.name, got, err, c.want)
		}
	}
	if _, err := config.ParseDynamic([]byte(w.text(t))); err != nil {
		t.Errorf("at the end: %v", err)
	}
}

// result makes the results of all calls alike.
func result[T any](v T, err error) (any, error) { return v, err }

// TestAddress adds, removes and looks up addresses.
func TestAddress(t *testing.T) {
	t.Parallel()
	q := openQueue(t)
	w := newWorld(t, q)
	w.use(t, dynamic)
	ctx := t.Context()
	id := add(t, q, "bert", "other@example.org", "x@remote.example")[0]
	w.addKey(t, "Jürgen@bücher.example")
	addTo := func(address, account string) func() (any, error) {
		return func() (any, error) { return result(w.AddressAdd(ctx, AddressAddRequest{address, account})) }
	}
	remove := func(address string) func() (any, error) {
		return func() (any, error) { return result(w.AddressRemove(ctx, AddressRequest{address})) }
	}
	owner := func(address string) func() (any, error) {
		return func() (any, error) { return result(w.AddressAccount(ctx, AddressRequest{address})) }
	}
	w.calls(t, []call{
		{"one more", addTo("new@example.org", "anna"), `{"address":"new@example.org","account":"anna"}`, "", ""},
		{"at the domain in ASCII", addTo("new@xn--bcher-kva.example", "anna"), `{"address":"new@bücher.example","account":"anna"}`, "", ""},
		{"a catchall", addTo("@free.example", "anna"), `{"address":"@free.example","account":"anna"}`, "", ""},
		{"again", addTo("new@example.org", "anna"), "", User, `new@example.org is an address of account "anna" already, written as new@example.org`},
		{"another's in another spelling", addTo("BERT@example.org", "anna"), "", User, `account "bert" already, written as Bert@example.org`},
		{"with a separator, of another's", addTo("bert+x@example.org", "anna"), "", User, `account "bert" already`},
		{"with a separator", addTo("nobody+x@example.org", "anna"), "", User, "must not have a catchall separator"},
		{"another's catchall", addTo("@bücher.example", "anna"), "", User, `account "bert" already, written as @bücher.example`},
		{"an alias", addTo("team@example.org", "anna"), "", User, "Aliases.team: address is that of team@example.org in account"},
		{"at another's domain", addTo("new@other.example", "anna"), "", NotFound, `no domain "other.example"`},
		{"of no account", addTo("more@example.org", "carl"), "", NotFound, `no account "carl"`},
		{"not an address", addTo("more", "anna"), "", User, `"more" is not an address`},
		{"not a domain", addTo("@", "anna"), "", User, `"@" is not an address`},

		{"owner", owner("anna@example.org"), `{"address":"anna@example.org","account":"anna","mailbox":"Inbox"}`, "", ""},
		{"owner, with a separator", owner("OTHER+x@example.org"), `{"address":"other@example.org","account":"bert","mailbox":"Other"}`, "", ""},
		{"owner, by the catchall of a disabled domain", owner("any@bücher.example"), `{"address":"any@bücher.example","account":"bert","mailbox":"Inbox","catchAll":true}`, "", ""},
		{"owner of a catchall", owner("@bücher.example"), `{"address":"@bücher.example","account":"bert","mailbox":"Inbox"}`, "", ""},
		{"owner of an alias", owner("team@example.org"), `{"address":"team@example.org","members":["anna@example.org","bert@example.org"]}`, "", ""},
		{"owner of a postmaster", owner("postmaster@example.org"), `{"address":"postmaster@example.org","account":"anna","mailbox":"Inbox","postmaster":true}`, "", ""},
		{"owner of nothing", owner("nobody@example.org"), "", NotFound, "nobody@example.org is not an address here"},
		{"owner elsewhere", owner("nobody@other.example"), "", NotFound, `no domain "other.example"`},
		{"owner of no address", owner("a b"), "", User, `"a b" is not an address`},

		{"removed, in another spelling", remove("NEW+x@example.org"), `{"address":"new@example.org","account":"anna"}`, "", ""},
		{"removed again", remove("new@example.org"), "", NotFound, "new@example.org is not an address of an account"},
		{"removed, a catchall", remove("@free.example"), `{"address":"@free.example","account":"anna"}`, "", ""},
		{"of an alias, not its last", remove("anna@example.org"), `{"address":"anna@example.org","account":"anna","aliases":["team@example.org"]}`, "", ""},
		{"of an alias, its last", remove("bert@example.org"), "", User, "alias solo@example.org would have no members"},
		{"with which somebody logs in", remove("jürgen@bücher.example"), "", User, `of account "anna" logs in with jürgen@bücher.example`},
		{"from which a message is queued", remove("other@example.org"), "", User, fmt.Sprintf("message %d from other@example.org is in the queue", id)},
		{"removed, not an address", remove("x"), "", User, `"x" is not an address`},
	})
	if !strings.Contains(w.log.String(), `m="address removed" pkg=admin address=anna@example.org account=anna`) {
		t.Errorf("log: %s", w.log)
	}
}

// TestDomain adds, removes and disables domains. Their keys are in TestDKIMKeys.
func TestDomain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.opts.ConfigDir = ""
	w.use(t, dynamic)
	ctx := t.Context()
	domainAdd := func(domain, account, localpart string, disabled bool) func() (any, error) {
		return func() (any, error) {
			return result(w.DomainAdd(ctx, DomainAddRequest{domain, account, localpart, disabled}))
		}
	}
	of := func(fn func(DomainRequest) (Domain, error), domain string) func() (any, error) {
		return func() (any, error) { return result(fn(DomainRequest{domain})) }
	}
	remove := func(r DomainRequest) (Domain, error) { return w.DomainRemove(ctx, r) }
	disable := func(r DomainRequest) (Domain, error) { return w.DomainDisable(ctx, r) }
	enable := func(r DomainRequest) (Domain, error) { return w.DomainEnable(ctx, r) }
	w.calls(t, []call{
		{"for an account", domainAdd("new.example", "bert", "", false), `{"domain":"new.example","disabled":false,"account":"bert","address":"postmaster@new.example","created":false}`, "", ""},
		{"for the postmaster", domainAdd("GRÜN.Example", "anna", "", true), `{"domain":"grün.example","disabled":true,"account":"anna","created":false}`, "", ""},
		{"for a new account", domainAdd("carl.example", "carl", "Carl", false), `{"domain":"carl.example","disabled":false,"account":"carl","address":"Carl@carl.example","created":true}`, "", ""},
		{"again", domainAdd("carl.example", "bert", "", false), "", User, `domain "carl.example" exists`},
		{"again, for a new account", domainAdd("carl.example", "dora", "dora", false), "", User, `domain "carl.example" exists`},
		{"a localpart for an account that exists", domainAdd("more.example", "bert", "bert", false), "", User, `account "bert" exists`},
		{"no localpart for a new account", domainAdd("more.example", "dora", "", false), "", User, `no account "dora": for a new account a localpart is needed`},
		{"not a localpart", domainAdd("more.example", "dora", "a b", false), "", User, `"a b" is not a localpart`},
		{"with a separator", domainAdd("more.example", "dora", "a+b", false), "", User, "must not have a catchall separator"},
		{"not the name of an account", domainAdd("more.example", "Dora", "dora", false), "", User, `account name "Dora"`},
		{"not a domain", domainAdd("more_example", "bert", "", false), "", User, `"more_example" is not a domain`},

		{"disabled", of(disable, "CARL.example"), `{"domain":"carl.example","disabled":true}`, "", ""},
		{"disabled again", of(disable, "carl.example"), `{"domain":"carl.example","disabled":true}`, "", ""},
		{"enabled", of(enable, "carl.example"), `{"domain":"carl.example","disabled":false}`, "", ""},
		{"enabled, no such domain", of(enable, "nope.example"), "", NotFound, `no domain "nope.example"`},
		{"disabled, not a domain", of(disable, "a b"), "", User, `"a b" is not a domain`},

		{"removed, of an account", of(remove, "carl.example"), "", User, `Carl@carl.example is an address of account "carl": remove that first`},
		{"removed, with a catchall", of(remove, "bücher.example"), "", User, `jürgen@bücher.example is an address of account "anna"`},
		{"removed", of(remove, "xn--grn-ioa.example"), `{"domain":"grün.example","disabled":false}`, "", ""},
		{"removed again", of(remove, "grün.example"), "", NotFound, `no domain "grün.example"`},
	})
	if !strings.Contains(w.text(t), "\tcarl.example:\n\t\tLocalpartCatchallSeparator: +\n") {
		t.Errorf("configuration:\n%s", w.text(t))
	}
	a, err := w.accounts.Account(ctx, "carl")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	w.use(t, "Domains:\n\texample.org: nil\n\tlast.example: nil\nAccounts:\n\tanna:\n\t\tDomain: last.example\n")
	_, err = w.DomainRemove(ctx, DomainRequest{"last.example"})
	wantError(t, "the domain of an account without addresses", err, User, `last.example is the domain of account "anna"`)
}

// TestAlias adds, changes, lists and removes aliases.
func TestAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.use(t, dynamic)
	ctx := t.Context()
	type change func(AliasAddressesRequest) (Alias, error)
	with := func(fn change, alias string, addresses ...string) func() (any, error) {
		return func() (any, error) { return result(fn(AliasAddressesRequest{alias, addresses})) }
	}
	of := func(fn func(AliasRequest) (Alias, error), alias string) func() (any, error) {
		return func() (any, error) { return result(fn(AliasRequest{alias})) }
	}
	list := func(domain string) func() (any, error) {
		return func() (any, error) { return result(w.AliasList(ctx, DomainRequest{domain})) }
	}
	yes, no := true, false
	update := func(alias string, public, from *bool) func() (any, error) {
		return func() (any, error) { return result(w.AliasUpdate(ctx, AliasUpdateRequest{alias, public, from})) }
	}
	add := func(r AliasAddressesRequest) (Alias, error) { return w.AliasAdd(ctx, r) }
	addTo := func(r AliasAddressesRequest) (Alias, error) { return w.AliasAddAddresses(ctx, r) }
	removeFrom := func(r AliasAddressesRequest) (Alias, error) { return w.AliasRemoveAddresses(ctx, r) }
	get := func(r AliasRequest) (Alias, error) { return w.AliasGet(ctx, r) }
	remove := func(r AliasRequest) (Alias, error) { return w.AliasRemove(ctx, r) }
	const team = `{"alias":"team@example.org","addresses":["anna@example.org","Bert@example.org"],"postPublic":true,"allowMsgFrom":false}`
	const solo = `{"alias":"solo@example.org","addresses":["bert@example.org"],"postPublic":false,"allowMsgFrom":false}`
	const fresh = `{"alias":"fresh@free.example","addresses":["Bert@example.org"],"postPublic":true,"allowMsgFrom":false}`
	w.calls(t, []call{
		{"list", list("Example.org"), `{"aliases":[` + solo + `,` + team + `]}`, "", ""},
		{"list of nothing", list("free.example"), `{"aliases":[]}`, "", ""},
		{"list of no domain", list("nope.example"), "", NotFound, `no domain "nope.example"`},
		{"list of not a domain", list("a b"), "", User, `"a b" is not a domain`},
		{"one", of(get, "TEAM+x@example.org"), team, "", ""},
		{"none", of(get, "nope@example.org"), "", NotFound, "no alias nope@example.org"},
		{"none there", of(get, "team@nope.example"), "", NotFound, `no domain "nope.example"`},
		{"not an address", of(get, "team"), "", User, `"team" is not an address`},
		{"a catchall", of(get, "@example.org"), "", User, "is a catchall address"},

		{"added", with(add, "fresh@free.example", "BERT+x@example.org"), fresh, "", ""},
		{"added again", with(add, "fresh@free.example", "anna@example.org"), "", User, "alias fresh@free.example exists"},
		{"added without members", with(add, "more@free.example"), "", User, "at least one address is needed"},
		{"added with one twice", with(add, "more@free.example", "anna@example.org", "Anna@example.org"), "", User, "anna@example.org is a member already"},
		{"added with a catchall", with(add, "more@free.example", "@bücher.example"), "", User, "is a catchall address"},
		{"added with an alias", with(add, "more@free.example", "team@example.org"), "", NotFound, "team@example.org is not an address of an account"},
		{"added with somebody else", with(add, "more@free.example", "x@other.example"), "", NotFound, "x@other.example is not an address of an account"},
		{"added at another's domain", with(add, "more@other.example", "anna@example.org"), "", NotFound, `no domain "other.example"`},
		{"added in place of an account's", with(add, "anna@example.org", "anna@example.org"), "", User, `address is that of anna@example.org in account "anna" too`},
		{"added with a separator", with(add, "a+b@example.org", "anna@example.org"), "", User, "must not have a catchall separator"},

		{"updated with nothing", update("fresh@free.example", nil, nil), fresh, "", ""},
		{"updated with all", update("fresh@free.example", &no, &yes), `{"alias":"fresh@free.example","addresses":["Bert@example.org"],"postPublic":false,"allowMsgFrom":true}`, "", ""},
		{"updated, no alias", update("nope@free.example", &yes, nil), "", NotFound, "no alias nope@free.example"},

		{"member added", with(addTo, "fresh@free.example", "anna@example.org", "other@example.org"),
			`{"alias":"fresh@free.example","addresses":["Bert@example.org","anna@example.org","other@example.org"],"postPublic":false,"allowMsgFrom":true}`, "", ""},
		{"member added again", with(addTo, "fresh@free.example", "bert@example.org"), "", User, "Bert@example.org is a member already"},
		{"no member added", with(addTo, "fresh@free.example"), "", User, "at least one address"},
		{"members removed", with(removeFrom, "fresh@free.example", "bert@example.org", "ANNA@example.org"),
			`{"alias":"fresh@free.example","addresses":["other@example.org"],"postPublic":false,"allowMsgFrom":true}`, "", ""},
		{"member removed that isn't", with(removeFrom, "fresh@free.example", "bert@example.org"), "", NotFound, "bert@example.org is not a member"},
		{"last member removed", with(removeFrom, "fresh@free.example", "other@example.org"), "", User, "an alias has at least one member"},
		{"no member removed", with(removeFrom, "fresh@free.example"), "", User, "at least one address"},
		{"not an address removed", with(removeFrom, "fresh@free.example", "x"), "", User, `"x" is not an address`},

		{"removed", of(remove, "solo@example.org"), solo, "", ""},
		{"removed again", of(remove, "solo@example.org"), "", NotFound, "no alias solo@example.org"},
	})
}

// TestEdited shows a change while the file has another that nobody has loaded.
func TestEdited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if err := os.WriteFile(w.configFile("domains.conf"), []byte("nonsense"), 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := w.DomainDisable(t.Context(), DomainRequest{"example.org"})
	wantError(t, "a file that is not understood", err, User, "domains.conf")
}
