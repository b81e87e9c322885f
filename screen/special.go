package screen

import (
	"strconv"
	"strings"
	"time"

	"github.com/mjl-/mox/smtp"
)

// specialWait is how long the special recipient "timeout" lets a sender wait
// before it is refused: longer than any sender does.
const specialWait = time.Hour

// Stage is when a message to or from a special address fails.
type Stage int

// The stages.
const (
	StageNone  Stage = iota
	StageMail        // At MAIL, for the address of a sender.
	StageRcpt        // At RCPT.
	StageData        // When the message was received.
	StageQueue       // When the queue delivers it.
)

// Failure is what the name of a special address asks for.
type Failure struct {
	Stage Stage
	Code  int           // Of the reply; see Evidence.SpecialCode.
	Wait  time.Duration // Before it fails.
}

// ParseFailure returns what a localpart asks for, so that programs that send
// mail can be tried against failures. It ends in one of
//
//	temperror   451
//	permerror   550
//	timeout     451, after an hour
//	[45]dd      that code
//
// and fails when the message was received, or as its begin says: mailfrom,
// rcptto, queue. Of any other localpart ok is false.
func ParseFailure(l smtp.Localpart) (f Failure, ok bool) {
	name := strings.ToLower(string(l))
	switch {
	case strings.HasSuffix(name, "temperror"):
		f.Code = 451
	case strings.HasSuffix(name, "permerror"):
		f.Code = 550
	case strings.HasSuffix(name, "timeout"):
		f.Code, f.Wait = 451, specialWait
	default:
		f.Code = specialCode(name)
	}
	if f.Code == 0 {
		return Failure{}, false
	}
	f.Stage = StageData
	for prefix, at := range map[string]Stage{"mailfrom": StageMail, "rcptto": StageRcpt, "queue": StageQueue} {
		if strings.HasPrefix(name, prefix) {
			f.Stage = at
		}
	}
	return f, true
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
