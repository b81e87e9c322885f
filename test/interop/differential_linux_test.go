package interop

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// differentialSteps is the number of random commands of each stream.
var differentialSteps = flag.Int("differential.steps", 400, "random commands of each stream that Dovecot and mox are compared with")

// differentialSeeds are of the streams of random commands.
var differentialSeeds = flag.String("differential.seeds", "1,2,3,4", "seeds of streams of random commands, separated by commas")

// differentialConf is what another Dovecot has that is compared with us.
const differentialConf = `base_dir = DIR/run
log_path = /dev/stderr
protocols = imap
mail_home = DIR/home
mail_location = sdbox:DIR/mail
mail_save_crlf = yes
mail_fsync = never
mail_uid = OWNER
mail_gid = OWNER
ssl = no
mailbox_list_index = yes
protocol imap {
  imap_max_line_length = 64k
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Archive {
    auto = subscribe
    special_use = \Archive
  }
  mailbox Drafts {
    auto = subscribe
    special_use = \Drafts
  }
  mailbox Junk {
    auto = subscribe
    special_use = \Junk
  }
  mailbox Sent {
    auto = subscribe
    special_use = \Sent
  }
  mailbox Trash {
    auto = subscribe
    special_use = \Trash
  }
}
`

// judge compares what both servers answer.
type judge struct {
	t     *testing.T
	used  []bool // Of allowedDifferences.
	count int    // Of commands that were compared.
}

// seat is a session with one of the servers.
type seat struct {
	peer *imapPeer
	former
	marks map[string]string // What a stream has given a name to.
}

// pair is a session with each, that are sent the same.
type pair struct {
	judge        *judge
	ours, theirs *seat
}

func newPair(t *testing.T, j *judge, s *server, d *dovecot) *pair {
	t.Helper()
	return &pair{j, &seat{peer: s.imap(t, ""), marks: map[string]string{}}, &seat{peer: d.imap(t), marks: map[string]string{}}}
}

// close ends both sessions.
func (p *pair) close() {
	for _, s := range []*seat{p.ours, p.theirs} {
		s.peer.cmd("LOGOUT")
		_ = s.peer.conn.Close()
	}
}

// send sends a command to both and compares what they answer. The label stands
// before the command where a difference is told of, or allowed. It returns
// whether both did the same.
func (p *pair) send(label, command string) bool {
	t := p.judge.t
	t.Helper()
	p.judge.count++
	ours, theirs := p.ours.send(t, command), p.theirs.send(t, command)
	key := strings.TrimSpace(label + " " + shown(command))
	return p.judge.compare(key, ours, theirs)
}

// send sends a command and returns the form of its answer.
func (s *seat) send(t *testing.T, command string) []string {
	t.Helper()
	s.peer.t = t
	command = markPattern.ReplaceAllStringFunc(command, func(m string) string { return s.marks[strings.Trim(m, "{}")] })
	word, _, _ := strings.Cut(command, " ")
	if strings.EqualFold(word, "SELECT") || strings.EqualFold(word, "EXAMINE") || strings.EqualFold(word, "CLOSE") || strings.EqualFold(word, "UNSELECT") {
		s.known, s.next = nil, 0
	}
	untagged, tagged := s.peer.cmd("%s", command)
	lines := s.form(untagged, tagged)
	if len(s.known) > 0 {
		count := fmt.Sprintf("%d messages, the last is #%d", len(s.known), s.known[len(s.known)-1])
		lines = append([]string{count}, lines...)
	}
	return lines
}

// markPattern is where a command has what a stream has given a name to.
var markPattern = regexp.MustCompile(`\{[a-z]+\}`)

// compare compares answers, and returns whether they are the same but for what is
// allowed.
func (j *judge) compare(key string, ours, theirs []string) bool {
	j.t.Helper()
	if slices.Equal(ours, theirs) {
		return true
	}
	var applied []int
	o, t := ours, theirs
	for i, d := range allowedDifferences {
		if !d.command.MatchString(key) {
			continue
		}
		o2, t2 := d.rewrite(d.ours, o, t), d.rewrite(d.theirs, t, o)
		if !slices.Equal(o2, o) || !slices.Equal(t2, t) {
			o, t = o2, t2
			applied = append(applied, i)
		}
	}
	if !slices.Equal(o, t) {
		j.t.Errorf("%s\n  ours:   %s\n  theirs: %s", key, strings.Join(only(ours, theirs), "\n          "), strings.Join(only(theirs, ours), "\n          "))
		return false
	}
	for _, i := range applied {
		j.used[i] = true
	}
	return true
}

// only returns the lines of a that b does not have, shortened.
func only(a, b []string) (lines []string) {
	for _, line := range a {
		if !slices.Contains(b, line) {
			lines = append(lines, line[:min(len(line), 1500)])
		}
	}
	return lines
}

// shown is a command as it stands in messages of a test.
func shown(command string) string {
	text := strconv.Quote(command)
	text = text[1 : len(text)-1]
	text = strings.ReplaceAll(strings.ReplaceAll(text, `\"`, `"`), `\\`, `\`)
	return text[:min(len(text), 300)]
}

// difference is one that is allowed. Lines that match are left out, or replaced.
type difference struct {
	reason  string
	command *regexp.Regexp
	ours    *regexp.Regexp // Nil for no line.
	theirs  *regexp.Regexp
	same    string // What stands for both. Empty if the line is left out.
}

// rewrite leaves lines out, or replaces them, if the other does not have them too.
func (d difference) rewrite(re *regexp.Regexp, lines, other []string) (out []string) {
	if re == nil {
		return lines
	}
	for _, line := range lines {
		switch {
		case !re.MatchString(line) || slices.Contains(other, line):
			out = append(out, line)
		case d.same != "":
			out = append(out, d.same)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// stream is a named list of commands, from a file.
type stream struct {
	name     string
	commands []string
}

// streams reads files of streams. Each begins with "== name"; lines that begin
// with "#" are comments.
func streams(t *testing.T, path string) (list []stream) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		name, begins := strings.CutPrefix(line, "== ")
		switch {
		case begins:
			list = append(list, stream{name: name})
		case line == "" || strings.HasPrefix(line, "#"):
		case len(list) == 0:
			t.Fatalf("%s: a command before the name of a stream", path)
		default:
			last := &list[len(list)-1]
			last.commands = append(last.commands, line)
		}
	}
	return list
}

// literalPattern is a literal in a stream: «text», with \r\n and \xff as in Go.
var literalPattern = regexp.MustCompile(`«([^»]*)»`)

// unfold returns a command with its literals.
func unfold(t *testing.T, command string) string {
	t.Helper()
	return literalPattern.ReplaceAllStringFunc(command, func(m string) string {
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(strings.Trim(m, "«»"), `"`, `\"`) + `"`)
		if err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		return fmt.Sprintf("{%d+}\r\n%s", len(text), text)
	})
}

// play sends a stream. A command of a second session, or a third, begins with
// "2:" or "3:"; "@name" keeps the mod-sequence as {name}; {validity} is that of the
// mailbox.
func (j *judge) play(st stream, s *server, d *dovecot) {
	j.t.Helper()
	sessions := map[string]*pair{}
	session := func(name string) *pair {
		if sessions[name] == nil {
			sessions[name] = newPair(j.t, j, s, d)
		}
		return sessions[name]
	}
	for _, line := range st.commands {
		name := "1"
		if len(line) > 2 && line[1] == ':' && line[0] >= '1' && line[0] <= '9' {
			name, line = line[:1], strings.TrimSpace(line[2:])
		}
		p := session(name)
		if mark, ok := strings.CutPrefix(line, "@"); ok {
			for _, seat := range []*seat{p.ours, p.theirs} {
				seat.marks[mark], seat.marks["validity"] = seat.modseq, seat.validity
			}
			continue
		}
		p.send(st.name+":", unfold(j.t, line))
	}
	for _, p := range sessions {
		p.close()
	}
}

// newJudged starts both servers.
func newJudged(t *testing.T) (*judge, *server, *dovecot) {
	t.Helper()
	tool(t, "doveadm")
	s := start(t)
	return &judge{t: t, used: make([]bool, len(allowedDifferences))}, s, newDovecotWith(t, s, differentialConf)
}

// TestDifferential sends the same commands to Dovecot and to us, and compares what
// comes back. What differs stands in allowedDifferences, with the reason.
func TestDifferential(t *testing.T) {
	t.Parallel()
	j, s, d := newJudged(t)
	for _, st := range streams(t, filepath.Join("testdata", "differential.txt")) {
		t.Run(st.name, func(t *testing.T) {
			j.t = t
			j.play(st, s, d)
		})
	}
	for seed := range strings.SplitSeq(*differentialSeeds, ",") {
		t.Run("random "+seed, func(t *testing.T) {
			j.t = t
			n, err := strconv.ParseUint(seed, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			j.random(n, s, d)
		})
	}
	t.Run("odd messages", func(t *testing.T) {
		j.t = t
		p := newPair(t, j, s, d)
		messages := oddMessages(t)
		p.fill("Odd", messages)
		p.sweep(messages)
		for _, st := range streams(t, filepath.Join("testdata", "differentialsearch.txt")) {
			for _, command := range st.commands {
				p.send(st.name+":", unfold(t, command))
			}
		}
		p.close()
	})
	j.t = t
	t.Logf("compared %d commands", j.count)
	for i, used := range j.used {
		if !used {
			t.Errorf("nothing differs any more as allowed for %q: %s", allowedDifferences[i].command, allowedDifferences[i].reason)
		}
	}
}
