// Package imapmodel tests package imapserver with a model. Sessions do things at random
// with one account, and every answer is compared with what a simple model of the
// account says: what must be told, what may be told, and what may not. Clients in the
// test believe what they are told and no more, so what they believe must be true.
package imapmodel

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

var (
	modelSeed  = flag.Uint64("model.seed", 0, "seed of the model test; 0 takes a new one")
	modelSteps = flag.Int("model.steps", 10_000, "steps of the model test; one with a seed given has at most 1000")
	modelTime  = flag.Duration("model.time", time.Hour, "time after which the model test does no more steps")
)

// worldSteps is the number of steps in one world: after them there are so many
// messages that each takes long.
const worldSteps = 1000

// workers is how many worlds there are at a time.
const workers = 2

func TestModel(t *testing.T) {
	t.Parallel()
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	until := time.Now().Add(*modelTime)
	for worker := range workers {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			r := &runner{t: t, dir: t.TempDir()}
			for at := worker * worldSteps; at < *modelSteps && time.Now().Before(until); at += workers * worldSteps {
				n := min(worldSteps, *modelSteps-at)
				seed := seed + uint64(at/worldSteps)
				f := r.try(newSteps(seed, n))
				if f != nil {
					t.Fatalf("run with -args -model.seed=%d -model.steps=%d: %v", seed, n, r.shrink(f))
				}
			}
			t.Logf("%d times up to %d steps", r.runs, worldSteps)
		})
	}
}
