package vaultclaims

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a thing may take that must happen, in the server's
// time: Vault retries a revocation after 10 s and once more after 20 s, give
// or take half.
const patience = 2 * time.Minute

// longPatience is how long it takes until Vault gives a lease up.
const longPatience = 15 * time.Minute

// callDeadline is in wall time.
const callDeadline = 2 * time.Minute

// Played is what came of a script on one ground.
type Played struct {
	Ground string
	// Checks counts the commands that looked at something and found it so:
	// users in the database, calls that wait.
	Checks int

	script  *Script
	answers map[int][]Answer // by line
	skipped map[int]bool     // lines that this ground cannot show
}

// kept is a value that an answer gave and later calls use.
type kept struct{ name, value string }

// play is one run of a script.
type play struct {
	t      *testing.T
	ground Ground
	script *Script
	client *http.Client
	kept   []kept // newest first, so that a name may be used anew
	flying map[string]chan flown
	out    *Played
}

type flown struct {
	answer Answer
	err    error
}

// Play plays a script on a ground. A call that fails to answer, or a check
// that fails, fails the test; what was answered is for Compare to judge.
func Play(t *testing.T, g Ground, s *Script) *Played {
	t.Helper()
	p := &play{
		t: t, ground: g, script: s, flying: map[string]chan flown{},
		client: &http.Client{
			Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		out: &Played{Ground: g.Name, script: s, answers: map[int][]Answer{}, skipped: map[int]bool{}},
	}
	defer p.client.CloseIdleConnections()
	p.keep("root", g.RootToken)
	if g.Database != nil {
		p.keep("connection_url", g.Database.URL())
		p.keep("admin_password", AdminPassword)
	}
	elsewhere := ""
	for i, l := range s.lines {
		if l.section != elsewhere {
			elsewhere = ""
		}
		switch {
		case elsewhere != "":
			p.out.skipped[i] = true
		case len(l.command) > 1 && (l.command[0] == "only" && l.command[1] != g.Name || l.command[0] == "patiently" && !g.Patient):
			elsewhere = l.section
			p.out.skipped[i] = true
		case len(l.command) > 1 && (l.command[0] == "only" || l.command[0] == "patiently"):
		case len(l.command) > 1 && l.command[0] == "include":
			if err := p.include(l.command[1]); err != nil {
				t.Fatalf("%s, on the %s: %v", s.Name, g.Name, err)
			}
		case l.command != nil:
			if err := p.command(l.command); err != nil {
				t.Fatalf("%s line %d, on the %s, %q: %v", s.Name, l.number, g.Name, l.text, err)
			}
		case l.step != nil:
			if err := p.step(i, l.step); err != nil {
				t.Fatalf("%s line %d, on the %s, %q: %v", s.Name, l.number, g.Name, l.text, err)
			}
		}
	}
	return p.out
}

// include plays a prologue, which must succeed and is not compared.
func (p *play) include(name string) error {
	text, err := files.ReadFile("prologues/" + name + ".txt")
	if err != nil {
		return err
	}
	prologue, err := parseScript(name, string(text))
	if err != nil {
		return err
	}
	aside := &play{
		t: p.t, ground: p.ground, client: p.client, kept: p.kept,
		out: &Played{answers: map[int][]Answer{}},
	}
	for i, l := range prologue.lines {
		if l.step == nil {
			continue
		}
		err := aside.step(i, l.step)
		if err == nil && aside.out.answers[i][0].Status >= 300 {
			err = fmt.Errorf("it was answered %s", aside.out.answers[i][0])
		}
		if err != nil {
			return fmt.Errorf("%s line %d, %q: %w", name, l.number, l.text, err)
		}
	}
	p.kept = aside.kept
	return nil
}

func (p *play) keep(name, value string) {
	p.kept = slices.DeleteFunc(p.kept, func(k kept) bool { return k.name == name })
	p.kept = append([]kept{{name, value}}, p.kept...)
}

func (p *play) value(name string) (string, error) {
	for _, k := range p.kept {
		if k.name == name {
			return k.value, nil
		}
	}
	return "", fmt.Errorf("nothing was kept as %q", name)
}

// fill puts kept values in the place of their {{names}}. Names that nobody
// kept stay: Vault has such forms of its own.
func (p *play) fill(text string) string {
	for _, k := range p.kept {
		text = strings.ReplaceAll(text, "{{"+k.name+"}}", k.value)
	}
	return text
}

func (p *play) step(line int, st *step) error {
	switch {
	case st.start != "":
		done := make(chan flown, 1)
		p.flying[st.start] = done
		call := p.prepare(st)
		go func() {
			a, err := call()
			done <- flown{a, err}
		}()
		return nil
	case st.join != "":
		done := p.flying[st.join]
		if done == nil {
			return errors.New("no such call was started")
		}
		f := <-done
		return p.take(line, st, []Answer{f.answer}, f.err)
	case st.racers > 0:
		answers, err := p.race(st)
		return p.take(line, st, answers, err)
	}
	a, err := p.prepare(st)()
	for waited := time.Duration(0); err == nil && !st.until.met(a); waited += time.Second {
		if waited > patience && (!p.ground.Patient || waited > longPatience) {
			return fmt.Errorf("it never answers so: %s", a)
		}
		p.ground.Wait(time.Second)
		a, err = p.prepare(st)()
	}
	return p.take(line, st, []Answer{a}, err)
}

func (p *play) take(line int, st *step, answers []Answer, err error) error {
	if err != nil {
		return err
	}
	for _, k := range st.keeps {
		value, ok := answers[0].at(k.at)
		if !ok && k.maybe {
			value, ok = "absent", true
		}
		if !ok {
			return fmt.Errorf("the answer has no %s to keep: %s", k.at, answers[0])
		}
		p.keep(k.name, value)
	}
	for i := range answers {
		answers[i] = answers[i].normalise(p.kept)
	}
	if st.racers > 0 {
		answers = tally(answers)
	}
	p.out.answers[line] = answers
	return nil
}

// tally puts equal answers together.
func tally(answers []Answer) []Answer {
	slices.SortFunc(answers, func(a, b Answer) int { return strings.Compare(a.String(), b.String()) })
	var out []Answer
	for _, a := range answers {
		if n := len(out); n > 0 && len(compareAnswers([]Answer{{Status: out[n-1].Status, Text: out[n-1].Text, Body: out[n-1].Body}}, []Answer{a}, nil)) == 0 {
			out[n-1].Count++
			continue
		}
		a.Count = 1
		out = append(out, a)
	}
	return out
}

func (p *play) race(st *step) ([]Answer, error) {
	answers, errs := make([]Answer, st.racers), make([]error, st.racers)
	var wg sync.WaitGroup
	for i := range st.racers {
		call := p.prepare(st)
		wg.Go(func() { answers[i], errs[i] = call() })
	}
	wg.Wait()
	return answers, errors.Join(errs...)
}

// prepare fills in a call and returns it, ready to be made once.
func (p *play) prepare(st *step) func() (Answer, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), callDeadline)
	req, err := http.NewRequestWithContext(ctx, st.method, p.ground.Address+"/v1/"+p.fill(st.path), strings.NewReader(p.fill(st.body)))
	if err == nil {
		err = p.identify(req, st)
	}
	return func() (Answer, error) {
		defer cancel()
		if err != nil {
			return Answer{}, err
		}
		resp, err := p.client.Do(req)
		if err != nil {
			return Answer{}, err
		}
		defer func() { _ = resp.Body.Close() }() // all of it was read, or the error says why not
		return readAnswer(resp)
	}
}

func (p *play) identify(req *http.Request, st *step) error {
	for _, h := range st.headers {
		req.Header.Set(h[0], p.fill(h[1]))
	}
	if st.who == "none" {
		return nil
	}
	token, literal := strings.CutPrefix(st.who, "=")
	if !literal {
		var err error
		if token, err = p.value(st.who); err != nil {
			return err
		}
	}
	req.Header.Set("X-Vault-Token", token)
	return nil
}

// command is what a script does to the ground, or asks of it:
//
//	wait 5s               let time pass
//	database stop         also start, hold, release
//	waiting 1             so many statements wait in the held database
//	users 0               the database has so many logins
//	valid user 305s       the login kept as user is valid for so long from now
//	pending call          a call that was started has not been answered
//	certificate c a=b ... the certificate kept as c is as told: see certificate
//	verifies sig key text offline, with the public key alone; text is base64
//	unseal
//	only sandbox ...      the rest of this claim can be shown there only
//	patiently ...         the rest of this claim takes long: patient grounds only
//	include tac           play a prologue first
func (p *play) command(words []string) error {
	argument := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "wait":
		d, err := parseWait(argument(1))
		if err == nil {
			p.ground.Wait(d)
		}
		return err
	case "unseal":
		return p.ground.Unseal()
	case "database":
		return p.database(argument(1))
	case "pending":
		p.out.Checks++
		select {
		case <-p.flying[argument(1)]:
			return errors.New("it was answered")
		case <-time.After(100 * time.Millisecond): // can only miss a failure, never make one
			return nil
		}
	case "users", "waiting":
		want, err := strconv.Atoi(argument(1))
		if err != nil {
			return err
		}
		return p.untilCount(words[0], want)
	case "valid":
		return p.valid(argument(1), argument(2))
	case "certificate":
		return p.certificate(argument(1), words[2:])
	case "verifies":
		return p.verifies(argument(1), argument(2), argument(3))
	}
	return errors.New("unknown command")
}

func (p *play) database(verb string) error {
	db := p.ground.Database
	switch verb {
	case "stop":
		return db.Stop()
	case "start":
		return db.Start()
	case "hold":
		return db.Hold()
	case "release":
		return db.Release()
	}
	return fmt.Errorf("a database cannot %q", verb)
}

func (p *play) untilCount(what string, want int) error {
	count := func() (int, error) {
		if what == "waiting" {
			return p.ground.Database.Waiting()
		}
		users, err := p.ground.Database.Users()
		return len(users), err
	}
	p.out.Checks++
	for begin, waited := time.Now(), time.Duration(0); ; {
		got, err := count()
		if err != nil || got == want {
			return err
		}
		switch {
		case time.Since(begin) < time.Second:
			// What is under way needs no time but the processor's.
			time.Sleep(5 * time.Millisecond)
		case waited > patience:
			return fmt.Errorf("there are %d", got)
		default:
			p.ground.Wait(time.Second)
			waited += time.Second
		}
	}
}

// valid takes the server's own clock for now.
func (p *play) valid(name, span string) error {
	user, err := p.value(name)
	if err != nil {
		return err
	}
	want, err := parseWait(span)
	if err != nil {
		return err
	}
	users, err := p.ground.Database.Users()
	if err != nil {
		return err
	}
	until, ok := users[user]
	if !ok {
		return fmt.Errorf("there is no user %q", user)
	}
	now, err := p.now()
	if err != nil {
		return err
	}
	if left := until.Sub(now); (left - want).Abs() > slack*time.Second {
		return fmt.Errorf("it is valid for %s", left)
	}
	p.out.Checks++
	return nil
}

func (p *play) now() (time.Time, error) {
	a, err := p.prepare(&step{who: "none", method: http.MethodGet, path: "sys/health"})()
	if err != nil {
		return time.Time{}, err
	}
	text, _ := a.at("server_time_utc")
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	return time.Unix(seconds, 0), nil
}
