package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mjl-/mox/junk"
)

// junkParams returns how the account's filter looks at words, false if it has none.
func (a *Account) junkParams() (junk.Params, bool) {
	if a.dir.opts.JunkParams == nil {
		return junk.Params{}, false
	}
	p, ok := a.dir.opts.JunkParams(a.name)
	return p, ok && p.Grams != 0
}

// JunkScore returns how likely a message is junk by its words, as the account's
// filter knows them. It never waits for training. Where there is no filter, or it
// is being made, the score is not significant, which is no error.
func (a *Account) JunkScore(ctx context.Context, s junk.Source) (junk.Score, error) {
	none := junk.Score{Probability: 0.5}
	params, ok := a.junkParams()
	if !ok {
		return none, nil
	}
	score := none
	err := a.junk.use(ctx, func(db *junkDB) error {
		if db.grams != params.Grams || db.version != junk.Version {
			a.trainSoon() // It makes another filter. Until then this one tells what it knows.
		}
		params.Grams = db.grams
		words, err := junk.ReadWords(s, db.grams)
		if err != nil {
			return err
		}
		return db.read(ctx, func(pages junk.Pages, row junkRow) error {
			score, err = junk.NewFilter(pages, row.state()).Score(words, params)
			score.Significant = score.Significant && row.Built
			return err
		})
	})
	switch {
	case err == nil:
		return score, nil
	case errors.Is(err, fs.ErrNotExist), isJunkDamage(err):
		a.trainSoon()
		return none, nil
	}
	return none, fmt.Errorf("asking junk filter of account %q: %w", a.name, err)
}
