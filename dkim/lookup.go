package dkim

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mjl-/mox/dns"
)

// lookupsMax bounds the lookups for one message at a time.
const lookupsMax = 10

// Key is what a lookup found.
type Key struct {
	Record    *Record // Nil if there is an error.
	Text      string  // The record as it is published, if there is one.
	Authentic bool    // The answer is protected by DNSSEC, also one that there is no key.

	// Err is ErrNoRecord, ErrRecords, ErrRecord or ErrKeySize, or an error of the
	// Resolver such as dns.ErrTemporary.
	Err error
}

// Lookup looks up the key of a selector, as ParseSelector returns it.
func Lookup(ctx context.Context, resolver dns.Resolver, selector string, domain dns.Domain) Key {
	texts, res, err := resolver.LookupTXT(ctx, selector+"._domainkey."+domain.Absolute())
	key := Key{Authentic: res.Authentic}
	if dns.IsNone(err) {
		err = fmt.Errorf("%w: %w", ErrNoRecord, err)
	}
	if err != nil {
		key.Err = err
		return key
	}
	have := false
	for _, text := range texts {
		rec, err := ParseRecord(text)
		if errors.Is(err, errNoRecord) {
			continue // Of another version, or of another standard.
		}
		if have {
			return Key{Authentic: res.Authentic, Err: ErrRecords}
		}
		have = true
		key.Record, key.Text, key.Err = rec, text, err
	}
	if !have {
		key.Err = fmt.Errorf("%w: none of this version", ErrNoRecord)
	}
	return key
}

// keyName is where a key is found.
type keyName struct {
	selector string
	domain   dns.Domain
}

// LookupKeys looks up the keys of signatures, each once, several at a time.
func LookupKeys(ctx context.Context, resolver dns.Resolver, signatures []*Signature) map[*Signature]Key {
	found := map[keyName]*Key{}
	var wg sync.WaitGroup
	slots := make(chan struct{}, lookupsMax)
	for _, s := range signatures {
		name := keyName{s.Selector, s.Domain}
		if found[name] != nil {
			continue
		}
		key := &Key{}
		found[name] = key
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			*key = Lookup(ctx, resolver, name.selector, name.domain)
		})
	}
	wg.Wait()
	keys := map[*Signature]Key{}
	for _, s := range signatures {
		keys[s] = *found[keyName{s.Selector, s.Domain}]
	}
	return keys
}
