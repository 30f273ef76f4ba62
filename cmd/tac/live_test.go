package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants/world"
)

// TestLive runs the sessions in testdata/live through the real command line,
// the real bot and the sandbox's servers. alice, bob, carol, dana, eve and
// mallory are signed in, each in a folder of that name. What a session has
// below policies/ stands in its grants repository. Beside the commands of
// TestScripts there are
//
//	be LOGIN                      the next commands are this person's
//	id                            remember the id that the last command printed, as $ID
//	review LOGIN EVENT            review the pull request of $ID on GitHub
//	pass DURATION                 move the clock
//	login works|refused           try the credential that `get --format env` printed last
//	handshake works|expired|gone  connect with the certificate that `get` named last
//	timed ARGUMENTS               run tac on the clock that pass moves
//	enter LOGIN                   enter the code that stands in said.txt, as that person
//	tokens LOGIN N                GitHub takes N tokens of this person
//	stale LOGIN                   end this person's access tokens, as eight hours do
//	linkcode USER                 $CODE is the code that /tac link shows to this Slack account
//	phase PHASE                   wait until $ID is there
//
// and those in livepeople_test.go.
func TestLive(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/live",
		RequireExplicitExec: true,
		Setup:               setUpLive,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "json": jsonHolds, "be": liveBe, "id": liveID, "review": liveReview,
			"pass": livePass, "login": liveLogin, "enter": liveEnter, "phase": livePhase,
			"tokens": liveTokens, "stale": liveStale, "linkcode": liveLinkCode, "handshake": liveHandshake, "timed": liveTimed,
			"remember": liveRemember, "until": liveUntil, "leave": liveLeave, "close": liveClose, "admin": liveAdmin,
			"settle": liveSettle, "looked": liveLooked,
			"type": liveType, "press": livePress, "write": liveWrite, "told": liveTold,
		},
	})
}

type live struct {
	*demo.World
	replica  *demo.Replica
	payments *payments
	held     map[string]string // the variables that `get` printed last
}

func setUpLive(env *testscript.Env) error {
	files := map[string]string{"policies/payments-api.yaml": paymentsAPI, "policies/ledger.yaml": ledger}
	own, err := filepath.Glob(filepath.Join(env.WorkDir, "policies", "*.yaml"))
	if err != nil {
		return err
	}
	for _, name := range own {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files["policies/"+filepath.Base(name)] = string(text)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w, err := demo.NewWorld(ctx, demo.Setting{
		Clock: sandbox.NewStillClock(demo.Start), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Files: files,
	})
	if err != nil {
		cancel()
		return err
	}
	env.Defer(func() { w.Close(); cancel() })
	tlsServer, err := newPayments(ctx, w)
	if err != nil {
		return err
	}
	env.Defer(tlsServer.close)
	r, err := w.NewReplica("live")
	if err != nil {
		return err
	}
	w.Run(ctx, r)
	w.GitHub.SetPolling(time.Second)
	env.Values["live"] = &live{World: w, replica: r, payments: tlsServer}
	env.Setenv("TAC_SERVER", r.URL())
	env.Setenv("TAC_KEYRING", "file") // no test writes to the keyring of whoever runs it
	env.Setenv("CLONE", w.GitHub.CloneURL(demo.Repository))
	env.Setenv("HOME", env.WorkDir)
	server, err := client.ParseServer(r.URL())
	if err != nil {
		return err
	}
	for _, login := range []string{"alice", "bob", "carol", "dana", "eve", "mallory"} {
		token, err := w.GitHub.UserToken(login, w.App)
		if err != nil {
			return err
		}
		store := client.Store{Dir: filepath.Join(env.WorkDir, login)}
		if err := store.Save(client.Login{Server: server, ClientID: w.App.ClientID, GitHubURL: w.GitHub.URL(), Access: world.NewSecret(token)}); err != nil {
			return err
		}
	}
	return nil
}

func of(ts *testscript.TestScript) *live { return ts.Value("live").(*live) }

func one(ts *testscript.TestScript, neg bool, args []string, usage string, n int) {
	if neg || len(args) != n {
		ts.Fatalf("usage: %s", usage)
	}
}

func liveBe(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "be LOGIN", 1)
	ts.Setenv("TAC_CONFIG_DIR", ts.MkAbs(args[0]))
}

var printedID = regexp.MustCompile(`[0-9]{8}-[0-9a-z]{10}`)

func liveID(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "id", 0)
	id := printedID.FindString(ts.ReadFile("stdout"))
	if id == "" {
		ts.Fatalf("the last command printed no id")
	}
	ts.Setenv("ID", id)
}

func (l *live) view(ts *testscript.TestScript) (phase string, pull int) {
	for _, login := range []string{"alice", "bob", "carol", "eve"} {
		p, err := l.Person(login)
		ts.Check(err)
		views, err := p.List(context.Background(), l.replica)
		ts.Check(err)
		for _, v := range views {
			if string(v.ID) == ts.Getenv("ID") {
				return string(v.Phase), v.PullRequest
			}
		}
	}
	return "", 0
}

func (l *live) until(ts *testscript.TestScript, what string, holds func() bool) {
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	ts.Fatalf("waited in vain until %s", what)
}

func liveReview(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "review LOGIN EVENT", 2)
	l := of(ts)
	pull := 0
	l.until(ts, "there is a pull request", func() bool { _, pull = l.view(ts); return pull != 0 })
	_, err := l.GitHub.Review(demo.Repository, pull, args[0], args[1], "")
	ts.Check(err)
	ts.Check(l.GitHub.Drain(context.Background()))
}

func livePass(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "pass DURATION", 1)
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	of(ts).Clock.Advance(d)
}

func livePhase(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "phase PHASE", 1)
	l := of(ts)
	l.until(ts, "the grant is "+args[0], func() bool { phase, _ := l.view(ts); return phase == args[0] })
}

var exported = regexp.MustCompile(`([A-Z_]+)=('[^']*'|\S+)`)

// remember takes note of the variables that the last command printed, if any.
func (l *live) remember(ts *testscript.TestScript) {
	if found := exported.FindAllStringSubmatch(ts.ReadFile("stdout"), -1); len(found) > 1 {
		l.held = map[string]string{}
		for _, m := range found {
			l.held[m[1]] = strings.Trim(m[2], "'")
		}
	}
}

func liveLogin(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "login works|refused", 1)
	l := of(ts)
	l.remember(ts)
	if l.held["PGUSER"] == "" {
		ts.Fatalf("no credential was printed")
	}
	conn, err := pgx.Connect(context.Background(), "postgres://"+l.held["PGUSER"]+":"+l.held["PGPASSWORD"]+"@"+l.Postgres.Addr()+"/payments?sslmode=disable")
	if err == nil {
		ts.Check(conn.Close(context.Background()))
	}
	if (err == nil) != (args[0] == "works") {
		ts.Fatalf("the login: %v; want that it %s", err, args[0])
	}
}

var userCode = regexp.MustCompile(`[A-Z0-9]{4}-[A-Z0-9]{4}`)

// liveEnter plays the person at the browser beside a `tac login` that runs in
// the background and says what it has to say in said.txt.
func liveEnter(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "enter LOGIN", 1)
	l := of(ts)
	l.until(ts, "the code is shown", func() bool {
		said, err := os.ReadFile(ts.MkAbs("said.txt"))
		code := userCode.Find(said)
		return err == nil && code != nil && l.GitHub.AuthorizeDevice(string(code), args[0]) == nil
	})
}

func liveTokens(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "tokens LOGIN N", 2)
	if n := of(ts).GitHub.LiveUserTokens(args[0]); strconv.Itoa(n) != args[1] {
		ts.Fatalf("GitHub takes %d tokens of %s, want %s", n, args[0], args[1])
	}
}

func liveStale(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "stale LOGIN", 1)
	of(ts).GitHub.ExpireUserTokens(args[0])
}

func liveLinkCode(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "linkcode USER", 1)
	code, _, err := of(ts).replica.Bot.LinkCode(context.Background(), slack.TeamID, args[0])
	ts.Check(err)
	ts.Setenv("CODE", code)
}
