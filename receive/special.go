package receive

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/screen"
	"github.com/mjl-/mox/smtp"
)

// specialWait is how long the special recipient "timeout" lets a sender wait
// before it is refused: longer than any sender does.
const specialWait = time.Hour

// stage is when a special recipient fails.
type stage int

const (
	stageNone  stage = iota
	stageMail        // At MAIL, for the address of a sender.
	stageRcpt        // At RCPT.
	stageData        // When the message was received.
	stageQueue       // When the queue delivers it, which is not here.
)

// special is what the name of a special recipient asks for.
type special struct {
	stage stage
	code  int
	wait  time.Duration // Before it fails.
}

// parseSpecial returns what a localpart asks for, so that programs that send
// mail can be tried against failures. It ends in one of
//
//	temperror   451
//	permerror   550
//	timeout     451, after an hour
//	[45]dd      that code
//
// and fails when the message was received, or as its begin says: mailfrom,
// rcptto, queue.
func parseSpecial(l smtp.Localpart) (s special, ok bool) {
	name := strings.ToLower(string(l))
	switch {
	case strings.HasSuffix(name, "temperror"):
		s.code = 451
	case strings.HasSuffix(name, "permerror"):
		s.code = 550
	case strings.HasSuffix(name, "timeout"):
		s.code, s.wait = 451, specialWait
	default:
		s.code = specialCode(name)
	}
	if s.code == 0 {
		return special{}, false
	}
	s.stage = stageData
	for prefix, at := range map[string]stage{"mailfrom": stageMail, "rcptto": stageRcpt, "queue": stageQueue} {
		if strings.HasPrefix(name, prefix) {
			s.stage = at
		}
	}
	return s, true
}

// specialCode returns the reply code that a name ends in, or 0. More digits
// before it make it a number like any other.
func specialCode(name string) int {
	digits := name[len(strings.TrimRight(name, "0123456789")):]
	if len(digits) != 3 || digits[0] != '4' && digits[0] != '5' {
		return 0
	}
	code, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return code
}

// special fails if path is that of a special recipient for this stage.
func (r *Receiver) special(ctx context.Context, at stage, path smtp.Path) error {
	if !r.opts.Specials {
		return nil
	}
	s, ok := parseSpecial(path.Localpart)
	if !ok || s.stage != at {
		return nil
	}
	return s.fail(ctx)
}

// fail waits, and returns the error.
func (s special) fail(ctx context.Context) error {
	if err := sleep(ctx, s.wait); err != nil {
		return err
	}
	return refusal(screen.Decide(screen.Evidence{Recipient: screen.Special, SpecialCode: s.code}))
}
