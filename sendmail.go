package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mjl-/mox/config"
	"github.com/mjl-/mox/smtp"
)

const sendmailHelp = `Submit a message to a mail server, as the sendmail of other systems.

The message is read from standard input, and submitted as /etc/moxsubmit.conf
says; see "mox config describe-sendmail". The program behaves as this command if
it is called by the name sendmail, so that a link in the place of
/usr/sbin/sendmail is all that is needed for cron and others to send mail. No
server has to run on this host, and nothing is queued.

From is replaced by the configured address, which mail is also sent from. Date,
Message-ID and To are added if they are missing, and Bcc is removed. Lines may end
as they like. Text with lines that are too long for mail is encoded. A recipient
without @ is the configured DefaultDestination.

	-t          also send to the addresses in To, Cc and Bcc
	-i, -oi     a line with a single dot does not end the message
	-F name     full name of the sender
	-f address  ignored; but -f '' or '<>' asks for no notification of failures
	-r address  the same
	-N events   notifications wanted: never, or some of success, failure and delay,
	            with commas between them
	-R what     full or hdrs: notifications of failures return the whole message, or
	            its header
	-V id       notifications have this id, printable ASCII
	-v          show the conversation with the server
	-C file     another configuration

What -N, -R and -V ask for is passed on to a server that has the extension DSN, and
otherwise left out. Other flags of sendmail are accepted and ignored, but for those that ask for
something else than sending a message: -bp says that the queue is empty, -bi, -bh,
-I and -q do nothing, since there is no queue and there are no aliases, and -bs,
-bd, -bt and -bv are refused. Flags end at --.

If the message can't be submitted, or not to all of its recipients, it is stored in
the directory moxsubmit.failures in the user's home directory, with the reason and
the recipients that it did not get to in its first lines. It is not tried again.

The exit code is 0 if the server has taken the message for all recipients, 1 if
not, and 2 for flags that are refused, when no message is read. There are no codes
that ask the caller to try again, as 75 of sysexits.
`

const (
	// sendmailSizeMax bounds a message in bytes. It is held in memory.
	sendmailSizeMax = 100 << 20

	// sendmailRcptsMax bounds the recipients.
	sendmailRcptsMax = 1000

	// sendmailDialTimeout and sendmailTimeout bound connecting, and submitting as a
	// whole: the caller waits.
	sendmailDialTimeout = 30 * time.Second
	sendmailTimeout     = 3 * time.Minute
)

// submitConfPath is where the configuration is.
const submitConfPath = "/etc/moxsubmit.conf"

// submitFailures is the directory for messages that failed, in the user's home.
const submitFailures = "moxsubmit.failures"

// sendmailEnv is what the sendmail command finds on its host. Tests have others.
type sendmailEnv struct {
	config string         // Path. Empty: submitConfPath.
	home   string         // Empty: the user's.
	roots  *x509.CertPool // Nil: the system's.
	setgid bool           // The program can read files that its user can't.
}

// errSetgid means the program is installed so that it can read the configuration
// of sendmail when its user can't. No other command may do anything then.
var errSetgid = errors.New("this program has the rights of another group, and can only be used as sendmail")

// commandArgs returns the arguments of a program that was called as argv: if it was
// by the name sendmail, it is the sendmail command.
func commandArgs(argv []string, setgid bool) ([]string, error) {
	if len(argv) == 0 {
		return nil, nil
	}
	args := argv[1:]
	name := strings.TrimSuffix(filepath.Base(argv[0]), ".exe")
	if name == "sendmail" {
		return append([]string{"sendmail"}, args...), nil
	}
	if setgid && (len(args) == 0 || args[0] != "sendmail") {
		return nil, errSetgid
	}
	return args, nil
}

// isSetgid returns whether the program has the rights of another group than its
// user. Windows has no such thing, and gives the same number for both.
func isSetgid() bool { return os.Getgid() != os.Getegid() }

// sendmailFlags is what the arguments of sendmail say.
type sendmailFlags struct {
	fromHeader bool         // -t
	dots       bool         // -i: a dot is a line as others.
	nullSender bool         // -f ''
	verbose    bool         // -v
	name       string       // -F
	config     string       // -C
	notify     smtp.Notify  // -N
	dsn        smtp.MailDSN // -R, -V
	nothing    bool         // There is nothing to do without recipients.
	other      bool         // Something else is asked for than sending, and there is nothing to do.
	queue      bool         // -bp, of the above.
	to         []string
}

// Flags with a value, which may be in the next argument, and with one that can
// only follow directly. These are all that sendmails have had.
const (
	sendmailValues   = "ABCFLMNOQRVXbefhopr"
	sendmailAttached = "dq"
)

// parseSendmail parses the arguments. Any error is a usageError.
func parseSendmail(args []string) (sendmailFlags, error) {
	var f sendmailFlags
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			f.to = append(f.to, args...)
			args = nil
		case len(arg) > 1 && arg[0] == '-':
			var err error
			if args, err = f.parse(arg[1:], args); err != nil {
				return sendmailFlags{}, err
			}
		default:
			f.to = append(f.to, arg)
		}
	}
	if !f.sends() && !f.nothing && !f.other {
		return sendmailFlags{}, &usageError{"no recipients, and no -t"}
	}
	return f, nil
}

// sends returns whether a message is to be sent.
func (f *sendmailFlags) sends() bool { return !f.other && (len(f.to) > 0 || f.fromHeader) }

// parse parses the flags in one argument, with values from args, and returns what
// is left of those.
func (f *sendmailFlags) parse(letters string, args []string) (rest []string, err error) {
	for i := range len(letters) {
		letter, value := letters[i], letters[i+1:]
		switch {
		case strings.IndexByte(sendmailAttached, letter) >= 0:
			f.nothing = f.nothing || letter == 'q'
			return args, nil
		case strings.IndexByte(sendmailValues, letter) < 0:
			f.set(letter)
			continue
		case value == "" && len(args) == 0:
			return nil, &usageError{fmt.Sprintf("-%c needs a value", letter)}
		case value == "":
			value, args = args[0], args[1:]
		}
		return args, f.setValue(letter, value)
	}
	return args, nil
}

func (f *sendmailFlags) set(letter byte) {
	switch letter {
	case 't':
		f.fromHeader = true
	case 'i':
		f.dots = true
	case 'v':
		f.verbose = true
	case 'I':
		f.nothing = true
	}
}

func (f *sendmailFlags) setValue(letter byte, value string) error {
	switch letter {
	case 'o':
		f.dots = f.dots || value == "i"
	case 'f', 'r':
		f.nullSender = value == "" || value == "<>"
	case 'F':
		f.name = value
	case 'C':
		f.config = value
	case 'b':
		return f.setMode(value)
	case 'N', 'R', 'V':
		if !f.setNotify(letter, value) {
			return &usageError{fmt.Sprintf("-%c can't have the value %q", letter, value)}
		}
	}
	return nil
}

// setNotify takes what is asked for about notifications. It returns false for what
// could not be asked of a server.
func (f *sendmailFlags) setNotify(letter byte, value string) (ok bool) {
	switch letter {
	case 'N':
		f.notify, ok = smtp.ParseNotify(value)
	case 'R':
		f.dsn.Return = strings.ToUpper(value)
		ok = f.dsn.Return == "FULL" || f.dsn.Return == "HDRS"
	case 'V':
		f.dsn.EnvelopeID = value
		_, err := smtp.ParseMailFrom("FROM:<>"+f.dsn.Params(), smtp.ParseOptions{Extensions: smtp.Extensions{DSN: true}})
		ok = err == nil && value != ""
	}
	return ok
}

// setMode takes what -b asks for.
func (f *sendmailFlags) setMode(mode string) error {
	switch mode {
	case "m":
	case "p", "i", "h", "H":
		f.other, f.queue = true, mode == "p"
	default:
		return &usageError{fmt.Sprintf("-b%s is not possible: this program only submits messages", mode)}
	}
	return nil
}

func runSendmail(ctx context.Context, inv *invocation) error {
	f, err := parseSendmail(inv.args)
	if err != nil {
		return err
	}
	if inv.sendmail.setgid && f.config != "" {
		// It could name any file that only our group can read.
		return &usageError{"-C is not possible for a program with the rights of another group"}
	}
	if !f.sends() {
		if f.queue {
			inv.printf("Mail queue is empty\n") // Programs that watch over it look for this.
		}
		return nil
	}
	if inv.sendmail.setgid {
		// The user must not choose who to trust with a password that isn't theirs.
		if err := errors.Join(os.Unsetenv("SSL_CERT_FILE"), os.Unsetenv("SSL_CERT_DIR")); err != nil {
			return err
		}
	}
	raw, err := readSendmail(inv.stdin, f.dots)
	if err != nil {
		return fmt.Errorf("reading message: %w", err)
	}
	m := &submission{flags: f, raw: raw}
	if err := inv.submit(ctx, m); err != nil {
		// Also when interrupted: what was read is here only.
		return inv.keepFailed(m, err)
	}
	return nil
}

// submission is a message on its way.
type submission struct {
	flags sendmailFlags
	raw   []byte           // As it was read.
	mail  *composedMessage // Nil if it could not be composed.
	open  []string         // Recipients that have not got it.
}

// submit submits the message to all its recipients.
func (inv *invocation) submit(ctx context.Context, m *submission) error {
	m.open = slices.Clone(m.flags.to)
	path := inv.submitConf(m.flags)
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	c, err := config.LoadSubmit(text)
	if err != nil {
		return fmt.Errorf("reading configuration: %w", err)
	}
	if m.mail, err = composeSendmail(c, m.flags, m.raw, time.Now()); err != nil {
		return err
	}
	m.open = nil
	for _, p := range m.mail.to {
		m.open = append(m.open, p.String())
	}
	ctx, cancel := context.WithTimeout(ctx, sendmailTimeout)
	defer cancel()
	s := &submitter{inv: inv, config: c, dir: filepath.Dir(path), verbose: m.flags.verbose}
	m.open, err = s.send(ctx, m.mail)
	return err
}

// submitConf returns the path of the configuration.
func (inv *invocation) submitConf(f sendmailFlags) string {
	switch {
	case f.config != "":
		return f.config
	case inv.sendmail.config != "":
		return inv.sendmail.config
	}
	return submitConfPath
}

// errSendmailSize means the message is too large to be read.
var errSendmailSize = fmt.Errorf("larger than %d bytes", sendmailSizeMax)

// readSendmail reads a message, to the end or, unless dots is set, to a line with
// nothing but a dot.
func readSendmail(r io.Reader, dots bool) ([]byte, error) {
	in := bufio.NewReader(r)
	var raw []byte
	start := 0 // Of the line being read.
	for {
		piece, err := in.ReadSlice('\n')
		raw = append(raw, piece...)
		if len(raw) > sendmailSizeMax {
			return nil, errSendmailSize
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if line := raw[start:]; !dots && len(line) <= len(".\r\n") && strings.TrimRight(string(line), "\r\n") == "." {
			return raw[:start], nil
		}
		if err != nil {
			return raw, nil
		}
		start = len(raw)
	}
}
