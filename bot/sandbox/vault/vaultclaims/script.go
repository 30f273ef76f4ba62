package vaultclaims

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Script is one file of claims: calls in order, each with the answer that the
// real Vault gave. All of it is played against one server, from top to bottom.
type Script struct {
	Name  string // of its file, without the ending
	Kind  Kind   // of server that it wants
	lines []line
}

// Kind is a state in which a server is started for a script.
type Kind string

// The kinds of servers.
const (
	Ready         Kind = "ready"         // initialised, unsealed, active
	Uninitialised Kind = "uninitialised" // nobody has called sys/init
	Standby       Kind = "standby"       // another node is active
)

// line is a line of a script that is not an answer, with what belongs to it.
// Exactly one of step and command may be set; else it is text (a comment, a
// heading, nothing).
type line struct {
	text    string // as in the file, without the answer
	number  int
	section string // the claim that it stands under
	step    *step
	command []string
}

// step is one call, or a number of equal calls at the same moment.
type step struct {
	who     string // none, root, or the name of a kept token
	method  string
	path    string
	body    string
	headers [][2]string
	keeps   []keep
	until   until
	racers  int // how many calls at the same moment; 0: one
	excepts []except
	start   string // the call goes on in the background under this name
	join    string // the step is the answer of a call that was started before
	answers []Answer
}

// keep stores a value of the answer under a name for later steps. Where the
// value may be absent, a word that nothing is called by is stored instead.
type keep struct {
	name, at string
	maybe    bool
}

// until is what an answer must be; with a status of 0 any will do. The call is
// made again until it is so.
type until struct {
	status    int
	at, value string // a value in it, where at is not empty
}

func (u until) met(a Answer) bool {
	if u.status == 0 {
		return true
	}
	value, _ := a.at(u.at)
	return a.Status == u.status && (u.at == "" || value == u.value)
}

// except leaves one place of the answer out of the comparison, because of a
// listed difference. It concerns the sandbox only.
type except struct{ at, difference string }

// parseScript reads a script. Its form:
//
//	# a comment
//	@ server uninitialised           the kind of server, before all else
//	== a claim                       the heading of what follows
//	root POST tac/data/x {"data":1}  who calls what, with which body
//	  header X-Vault-Wrap-TTL: 30s
//	  keep name data.metadata.version, or maybe name ...
//	  until 400                      call again until this status comes,
//	  until 200 data.count=1         or this value
//	  racers 20                      so many calls at once
//	  except data.uuid named-difference
//	< 200 {...}                      the answer
//	! wait 5s                        a command to the ground, see play.go
//	& name root GET x                a call that goes on in the background
//	&& name                          its end
func parseScript(name, text string) (*Script, error) {
	s := &Script{Name: name, Kind: Ready}
	section := ""
	for i, raw := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		l := line{text: raw, number: i + 1, section: section}
		var err error
		switch {
		case strings.HasPrefix(raw, "< "):
			err = s.addAnswer(strings.TrimPrefix(raw, "< "))
			if err == nil {
				continue
			}
		case strings.HasPrefix(raw, "  "):
			err = s.addOption(strings.TrimSpace(raw))
			if err == nil {
				s.lines[len(s.lines)-1].text += "\n" + raw
				continue
			}
		case raw == "" || strings.HasPrefix(raw, "#"):
		case strings.HasPrefix(raw, "@ server "):
			s.Kind = Kind(strings.TrimPrefix(raw, "@ server "))
		case strings.HasPrefix(raw, "== "):
			section = strings.TrimPrefix(raw, "== ")
			l.section = section
		case strings.HasPrefix(raw, "! "):
			l.command = strings.Fields(raw)[1:]
		default:
			l.step, err = parseStep(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, i+1, err)
		}
		s.lines = append(s.lines, l)
	}
	return s, nil
}

func parseStep(raw string) (*step, error) {
	st := &step{}
	if name, ok := strings.CutPrefix(raw, "&& "); ok {
		st.join = strings.TrimSpace(name)
		return st, nil
	}
	if rest, ok := strings.CutPrefix(raw, "& "); ok {
		st.start, raw, _ = strings.Cut(rest, " ")
	}
	parts := strings.SplitN(raw, " ", 4)
	if len(parts) < 3 || strings.ToUpper(parts[1]) != parts[1] {
		return nil, fmt.Errorf("%.60q is not: who METHOD path body", raw)
	}
	st.who, st.method, st.path = parts[0], parts[1], parts[2]
	if len(parts) == 4 {
		st.body = parts[3]
	}
	return st, nil
}

func (s *Script) last() *step {
	if len(s.lines) == 0 {
		return nil
	}
	return s.lines[len(s.lines)-1].step
}

func (s *Script) addAnswer(text string) error {
	st := s.last()
	if st == nil || st.start != "" {
		return fmt.Errorf("an answer without a call")
	}
	a, err := parseAnswer(text)
	st.answers = append(st.answers, a)
	return err
}

func (s *Script) addOption(text string) error {
	st := s.last()
	if st == nil {
		return fmt.Errorf("an option without a call")
	}
	word, rest, _ := strings.Cut(text, " ")
	fields := strings.Fields(rest)
	var err error
	switch {
	case word == "header":
		name, value, _ := strings.Cut(rest, ": ")
		st.headers = append(st.headers, [2]string{name, value})
	case (word == "keep" || word == "maybe") && len(fields) == 2:
		st.keeps = append(st.keeps, keep{fields[0], fields[1], word == "maybe"})
	case word == "until" && (len(fields) == 1 || len(fields) == 2):
		st.until.status, err = strconv.Atoi(fields[0])
		if len(fields) == 2 {
			st.until.at, st.until.value, _ = strings.Cut(fields[1], "=")
		}
	case word == "racers" && len(fields) == 1:
		st.racers, err = strconv.Atoi(fields[0])
	case word == "except" && len(fields) == 2:
		st.excepts = append(st.excepts, except{fields[0], fields[1]})
	default:
		err = fmt.Errorf("unknown option %q", text)
	}
	return err
}

// Format writes the script with the answers of a play in place of those that
// it has; what that play could not show is taken from the other. Where an
// answer agrees with the one that it replaces, that one stays, so that a new
// recording shows only what has changed.
func (s *Script) Format(p, other *Played) string {
	var b strings.Builder
	for i, l := range s.lines {
		b.WriteString(l.text + "\n")
		if l.step == nil || l.step.start != "" {
			continue
		}
		answers := p.answers[i]
		if p.skipped[i] {
			answers = other.answers[i]
		}
		if len(compareAnswers(l.step.answers, answers, nil)) == 0 {
			answers = l.step.answers
		}
		for _, a := range answers {
			b.WriteString("< " + a.String() + "\n")
		}
	}
	return b.String()
}

// Recorded is the play that the script's own answers tell of.
func (s *Script) Recorded() *Played {
	p := &Played{script: s, answers: map[int][]Answer{}}
	for i, l := range s.lines {
		if l.step != nil && l.step.start == "" {
			p.answers[i] = l.step.answers
		}
	}
	return p
}

// differences returns the names of the listed differences that the script
// makes use of.
func (s *Script) differences() []string {
	var out []string
	for _, l := range s.lines {
		if l.step == nil {
			continue
		}
		for _, e := range l.step.excepts {
			out = append(out, e.difference)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func parseWait(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%s is not a time to wait for", text)
	}
	return d, err
}
