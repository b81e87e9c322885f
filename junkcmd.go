package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/mjl-/mox/junk"
	"github.com/mjl-/mox/store"
)

const junkFlagsHelp = `
	-onegrams, -twograms, -threegrams
	                  words to look at, by default -onegrams
	-threshold, -maxpower, -topwords, -ignorewords, -rarewords number
	                  as in the configuration; by default those of new accounts
`

const junkArgsHelp = `Messages are files with one, mbox files, or directories with such files.
`

const junkTrainHelp = `Train a junk filter in a file with messages.

The file is made if it isn't there. The filter of an account that is not open can be
looked at too, but must not be trained this way. ` + junkArgsHelp + junkFlagsHelp + `	-db file          the filter
`

const junkCheckHelp = `Tell how likely a message is junk, and why.

It prints the probability, and the words that made it, each with the numbers of junk
messages and of others that it was in, and what it says alone.
` + junkFlagsHelp + `	-db file          the filter
`

const junkTestHelp = `Tell how well a junk filter knows messages.

` + junkArgsHelp + junkFlagsHelp + `	-db file          the filter
`

const junkAnalyzeHelp = `Tell how good a junk filter is, by the number of messages it is trained with.

Of both kinds of messages some are kept apart, chosen at random. With the others
filters are trained, in memory, a few and more and more of each kind; and each time
those kept apart are judged. ` + junkArgsHelp + junkFlagsHelp + `	-runs number      filters to train, 5 by default; numbers are of all
	-seed number      of what is random
`

const junkPlayHelp = `Replay messages in the order in which they came.

Each is judged by a filter that was trained with those before, and then the filter
is trained with it, as if its reader had marked it at once. The order is that of the
times in header fields. ` + junkArgsHelp + junkFlagsHelp

// junkFlags are flags of the commands about junk filters.
type junkFlags struct {
	*flag.FlagSet
	db              string
	threshold       float64
	one, two, three bool
	params          junk.Params
}

// junkFlags parses flags, and checks the number of arguments after them.
func (inv *invocation) junkFlags(n int, more func(*flag.FlagSet)) (*junkFlags, error) {
	f := &junkFlags{FlagSet: inv.flagSet()}
	f.StringVar(&f.db, "db", "", "")
	f.BoolVar(&f.one, "onegrams", true, "")
	f.BoolVar(&f.two, "twograms", false, "")
	f.BoolVar(&f.three, "threegrams", false, "")
	f.Float64Var(&f.threshold, "threshold", 0.95, "")
	f.Float64Var(&f.params.MaxPower, "maxpower", 0.01, "")
	f.Float64Var(&f.params.IgnoreWords, "ignorewords", 0.1, "")
	f.IntVar(&f.params.TopWords, "topwords", 10, "")
	f.IntVar(&f.params.RareWords, "rarewords", 2, "")
	more(f.FlagSet)
	if err := inv.parse(f.FlagSet, n); err != nil {
		return nil, err
	}
	for _, g := range []struct {
		set   bool
		grams junk.Grams
	}{{f.one, junk.OneGrams}, {f.two, junk.TwoGrams}, {f.three, junk.ThreeGrams}} {
		if g.set {
			f.params.Grams |= g.grams
		}
	}
	if f.params.Grams == 0 || f.threshold < 0 || f.threshold > 1 || f.params.MaxPower < 0 || f.params.MaxPower > 0.5 || f.params.IgnoreWords < 0 || f.params.IgnoreWords > 0.5 {
		return nil, &usageError{"a number is out of range, or there are no words to look at"}
	}
	return f, nil
}

// noMoreFlags is for commands with only common flags.
func noMoreFlags(*flag.FlagSet) {}

// open opens the filter of -db.
func (f *junkFlags) open(ctx context.Context, grams junk.Grams) (*store.JunkFile, error) {
	if f.db == "" {
		return nil, &usageError{"no -db"}
	}
	file, err := store.OpenJunkFile(ctx, f.db, grams)
	if err == nil {
		f.params.Grams = file.Grams()
	}
	return file, err
}

// bothMails returns the messages of two arguments: those that are not junk, and junk.
func (inv *invocation) bothMails() (not, isJunk []junkMail, err error) {
	if not, err = junkMails(inv.args[0], false); err != nil {
		return nil, nil, err
	}
	isJunk, err = junkMails(inv.args[1], true)
	return not, isJunk, err
}

func runJunkTrain(ctx context.Context, inv *invocation) error {
	f, err := inv.junkFlags(2, noMoreFlags)
	if err != nil {
		return err
	}
	not, isJunk, err := inv.bothMails()
	if err != nil {
		return err
	}
	file, err := f.open(ctx, f.params.Grams)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, list := range [][]junkMail{not, isJunk} {
		if err := f.train(ctx, file, list); err != nil {
			return err
		}
	}
	inv.printf("trained with %s that are not junk, and %d that are\n", count(int64(len(not)), "message"), len(isJunk))
	return nil
}

// junkTrainMax is how many messages are trained in one transaction.
const junkTrainMax = 100

// train trains a filter with messages of one kind.
func (f *junkFlags) train(ctx context.Context, file *store.JunkFile, list []junkMail) error {
	for len(list) > 0 {
		n := min(len(list), junkTrainMax)
		var messages []junk.Words
		for i := range list[:n] {
			words, err := list[i].words(f.params.Grams)
			if err != nil {
				return err
			}
			messages = append(messages, words)
		}
		if err := file.Learn(ctx, messages, list[0].junk); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func runJunkCheck(ctx context.Context, inv *invocation) error {
	f, err := inv.junkFlags(1, noMoreFlags)
	if err != nil {
		return err
	}
	file, err := f.open(ctx, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	list, err := junkMails(inv.args[0], false)
	if err != nil {
		return err
	}
	for i := range list {
		words, err := list[i].words(f.params.Grams)
		if err != nil {
			return err
		}
		s, err := file.Score(ctx, words, f.params)
		if err != nil {
			return err
		}
		inv.printScore(s, f.threshold)
	}
	return nil
}

// printScore prints a score and its words.
func (inv *invocation) printScore(s junk.Score, threshold float64) {
	verdict := "not junk"
	if s.Probability >= threshold {
		verdict = "junk"
	}
	if !s.Significant {
		verdict += fmt.Sprintf(", but the filter was trained with only %d messages that are not junk", s.Trained.NotJunk)
	}
	inv.printf("probability %.4f: %s\n", s.Probability, verdict)
	if s.BadType {
		inv.printf("\ta Content-Type is none\n")
	}
	for _, w := range s.Words {
		inv.printf("\t%.2f %+q, in %d of %d junk messages and %d of %d others\n", w.Junk, w.Text, w.Count.Junk, s.Trained.Junk, w.Count.NotJunk, s.Trained.NotJunk)
	}
}

func runJunkTest(ctx context.Context, inv *invocation) error {
	f, err := inv.junkFlags(2, noMoreFlags)
	if err != nil {
		return err
	}
	not, isJunk, err := inv.bothMails()
	if err != nil {
		return err
	}
	file, err := f.open(ctx, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	var r junkResult
	for _, m := range append(not, isJunk...) {
		words, err := m.words(f.params.Grams)
		if err != nil {
			return err
		}
		s, err := file.Score(ctx, words, f.params)
		if err != nil {
			return err
		}
		r.add(m.junk, s.Probability >= f.threshold)
	}
	inv.printf("%s\n%s\n", junkResultHead, r)
	return nil
}

// junkResult counts messages by what they are, and what they were taken for.
type junkResult struct{ caught, missed, wrong, right int }

func (r *junkResult) add(isJunk, judged bool) {
	switch {
	case isJunk && judged:
		r.caught++
	case isJunk:
		r.missed++
	case judged:
		r.wrong++
	default:
		r.right++
	}
}

// junkResultHead stands above lines of results.
const junkResultHead = "    junk  caught      others  taken for junk    precision  recall"

// String returns a line. Precision is how much of what is taken for junk is junk,
// recall how much of the junk is.
func (r junkResult) String() string {
	junk, others := r.caught+r.missed, r.wrong+r.right
	return fmt.Sprintf("%8d  %6d    %8d  %14d    %9s  %6s", junk, r.caught, others, r.wrong, percent(r.caught, r.caught+r.wrong), percent(r.caught, junk))
}

func percent(n, all int) string {
	if all == 0 {
		return "-"
	}
	return strconv.FormatFloat(100*float64(n)/float64(all), 'f', 2, 64) + "%"
}

// junkSizes are how many messages of each kind filters are trained with.
var junkSizes = []int{10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000}

// junkHeldMax bounds how many messages of each kind are kept apart; it is a third
// of them at most.
const junkHeldMax = 600

func runJunkAnalyze(ctx context.Context, inv *invocation) error {
	var runs int
	var seed uint64
	f, err := inv.junkFlags(2, func(flags *flag.FlagSet) {
		flags.IntVar(&runs, "runs", 5, "")
		flags.Uint64Var(&seed, "seed", 1, "")
	})
	if err != nil {
		return err
	}
	not, isJunk, err := inv.bothMails()
	if err != nil {
		return err
	}
	results := map[int]*junkResult{}
	for run := range runs {
		rng := rand.New(rand.NewPCG(seed, uint64(run)))
		for _, list := range [][]junkMail{not, isJunk} {
			rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		}
		if err := f.curve(ctx, not, isJunk, results); err != nil {
			return err
		}
	}
	inv.printf("of each  %s\n", junkResultHead)
	for _, n := range junkSizes {
		if r := results[n]; r != nil {
			inv.printf("%7d  %s\n", n, *r)
		}
	}
	return nil
}

// curve trains one filter with more and more messages, and adds up how it judges.
func (f *junkFlags) curve(ctx context.Context, not, isJunk []junkMail, results map[int]*junkResult) error {
	heldNot, heldJunk := min(junkHeldMax, len(not)/3), min(junkHeldMax, len(isJunk)/3)
	held := append(append([]junkMail{}, not[:heldNot]...), isJunk[:heldJunk]...)
	not, isJunk = not[heldNot:], isJunk[heldJunk:]
	filter := junk.NewFilter(junk.Memory{}, junk.State{})
	done := 0
	for _, n := range junkSizes {
		if n > min(len(not), len(isJunk)) {
			return nil
		}
		for ; done < n; done++ {
			for _, m := range []junkMail{not[done], isJunk[done]} {
				words, err := m.words(f.params.Grams)
				if err != nil {
					return err
				}
				if err := filter.Train(words, m.junk); err != nil {
					return err
				}
			}
		}
		if results[n] == nil {
			results[n] = &junkResult{}
		}
		if err := f.judge(ctx, filter, held, results[n]); err != nil {
			return err
		}
	}
	return nil
}

// judge adds up how a filter judges messages.
func (f *junkFlags) judge(ctx context.Context, filter *junk.Filter, list []junkMail, r *junkResult) error {
	if err := filter.Flush(); err != nil {
		return err
	}
	for _, m := range list {
		words, err := m.words(f.params.Grams)
		if err != nil {
			return err
		}
		s, err := filter.Score(words, f.params)
		if err != nil {
			return err
		}
		r.add(m.junk, s.Probability >= f.threshold)
	}
	return ctx.Err()
}

func runJunkPlay(ctx context.Context, inv *invocation) error {
	f, err := inv.junkFlags(2, noMoreFlags)
	if err != nil {
		return err
	}
	not, isJunk, err := inv.bothMails()
	if err != nil {
		return err
	}
	all := append(not, isJunk...)
	byTime(all)
	filter := junk.NewFilter(junk.Memory{}, junk.State{})
	var r, total junkResult
	inv.printf("from message  %s\n", junkResultHead)
	from := 0
	for i, m := range all {
		words, err := m.words(f.params.Grams)
		if err != nil {
			return err
		}
		s, err := filter.Score(words, f.params)
		if err != nil {
			return err
		}
		judged := s.Significant && s.Probability >= f.threshold
		r.add(m.junk, judged)
		total.add(m.junk, judged)
		if err := filter.Train(words, m.junk); err != nil {
			return err
		}
		if err := filter.Flush(); err != nil {
			return err
		}
		if n := i + 1; n == len(all) || playStep(n) {
			inv.printf("%12d  %s\n", from, r)
			from, r = n, junkResult{}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	inv.printf("%12s  %s\n", "all", total)
	return nil
}

// playStep tells whether a line is due after n messages: at 1, 2 and 5 times each
// power of ten from 20 on.
func playStep(n int) bool {
	s := strconv.Itoa(n)
	return n >= 20 && strings.Contains("125", s[:1]) && strings.Trim(s[1:], "0") == ""
}
