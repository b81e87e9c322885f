package receive

import (
	"context"
	"errors"
	"time"

	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
)

// The stages at which a special recipient fails; the last is that of HandOver.
const (
	stageMail  = screen.StageMail
	stageRcpt  = screen.StageRcpt
	stageData  = screen.StageData
	stageQueue = screen.StageQueue
)

// special is what the name of a special recipient asks for, as a screen.Failure.
type special struct {
	stage screen.Stage
	code  int
	wait  time.Duration // Before it fails.
}

// parseSpecial returns what a localpart asks for.
func parseSpecial(l smtp.Localpart) (s special, ok bool) {
	f, ok := screen.ParseFailure(l)
	return special{f.Stage, f.Code, f.Wait}, ok
}

// special fails if path is that of a special recipient for this stage.
func (r *Receiver) special(ctx context.Context, at screen.Stage, path smtp.Path) error {
	if !r.opts.Specials {
		return nil
	}
	s, ok := parseSpecial(path.Localpart)
	if !ok || s.stage != at {
		return nil
	}
	err := s.fail(ctx)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		r.metrics.decided(refused.Verdict)
	}
	return err
}

// fail waits, and returns the error.
func (s special) fail(ctx context.Context) error {
	if err := sleep(ctx, s.wait); err != nil {
		return err
	}
	return refusal(screen.Decide(screen.Evidence{Recipient: screen.Special, SpecialCode: s.code}))
}
