package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants"
)

// TestACertificateIsKeptSignedWhileACommandRuns plays a server on a clock that
// jumps from one pause to the next.
func TestACertificateIsKeptSignedWhileACommandRuns(t *testing.T) {
	start := time.Date(2026, 11, 24, 14, 0, 0, 0, time.UTC)
	down := &client.UnreachableError{Err: errors.New("no route")}
	ended := &client.Error{Code: "conflict", Message: "this grant has ended"}
	held := &client.Error{Status: 503, Code: "held", Message: "the set-up is wrong"}
	type answer struct {
		lasts  time.Duration // from now
		unsure bool
		err    error
		longer time.Duration // by which the grant was extended meanwhile
	}
	for _, tt := range []struct {
		claim   string
		engine  string
		ends    time.Duration
		answers []answer // the first is what the command starts with
		pauses  string   // in seconds, of a certificate of ten minutes
		note    string
	}{
		{"until one lasts to the end", "pki", 25 * time.Minute, []answer{{lasts: 10 * time.Minute}, {lasts: 10 * time.Minute}, {lasts: 10 * time.Minute}, {lasts: 10 * time.Minute}, {lasts: 90 * time.Second}}, "[300 300 300 510]", ""},
		{"one that lasts to the end already", "ssh", 10 * time.Minute, []answer{{lasts: 10 * time.Minute}, {err: ended}}, "[510]", ""},
		{"and in the last minutes is not even asked for", "ssh", 90 * time.Second, []answer{{lasts: 90 * time.Second}}, "[]", ""},
		{"past the end, where the grant was extended", "ssh", 10 * time.Minute, []answer{{lasts: 10 * time.Minute}, {lasts: 10 * time.Minute, longer: 10 * time.Minute},
			{lasts: 10 * time.Minute}, {lasts: 90 * time.Second}}, "[510 300 300]", ""},
		{"never a password", "database", time.Hour, []answer{{lasts: 10 * time.Minute}}, "[]", ""},
		{"not after the end", "pki", time.Hour, []answer{{lasts: 10 * time.Minute}, {err: ended}}, "[300]", "is not signed again: this grant has ended"},
		{"while the server is away, told once", "pki", time.Hour, []answer{{lasts: time.Minute}, {err: down}, {unsure: true, lasts: 15 * time.Second}, {err: down}, {err: down}, {err: down}, {lasts: 2 * time.Hour}, {err: down}}, "[30 15 7.5 5 5 30 3417.5]", "no route"},
		{"while nothing new is given, told once", "pki", time.Hour, []answer{{lasts: 10 * time.Second}, {err: held}, {err: held}, {err: held}, {lasts: 2 * time.Hour}, {err: held}}, "[5 5 30 30 3440]", "the set-up is wrong"},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			now, pauses, notes := start, []float64{}, []string{}
			end := start.Add(tt.ends)
			give := func() (client.Taken, error) {
				if len(tt.answers) == 0 {
					return client.Taken{}, errors.New("asked once too often")
				}
				a := tt.answers[0]
				tt.answers = tt.answers[1:]
				end = end.Add(a.longer)
				until := end
				out := client.Taken{Grant: client.Grant{EndsAt: &until}, Credential: client.Credential{Engine: tt.engine, Until: now.Add(a.lasts)}}
				if a.unsure {
					out.Unsure = down
				}
				return out, a.err
			}
			first, _ := give()
			r := resigner{
				now:    func() time.Time { return now },
				resign: func(context.Context) (client.Taken, error) { return give() },
				note:   func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) },
				pause: func(_ context.Context, d time.Duration) bool {
					pauses, now = append(pauses, d.Seconds()), now.Add(d)
					return true
				},
			}
			r.keep(t.Context(), first)
			if got := fmt.Sprint(pauses); got != tt.pauses {
				t.Errorf("waited %s, want %s", got, tt.pauses)
			}
			if said := strings.Join(notes, "\n"); len(notes) > 1 || (tt.note == "") != (len(notes) == 0) || !strings.Contains(said, tt.note) {
				t.Errorf("said %q, want %q", said, tt.note)
			}
		})
	}
}

func TestSigningEndsWithTheCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := resigner{now: time.Now, pause: pause, note: t.Errorf, resign: func(context.Context) (client.Taken, error) {
		t.Error("signed for nobody")
		return client.Taken{}, nil
	}}
	end := time.Now().Add(2 * time.Hour)
	r.keep(ctx, client.Taken{Grant: client.Grant{EndsAt: &end}, Credential: client.Credential{Engine: grants.EnginePKI, Until: time.Now().Add(time.Hour)}})
}

func TestACertificateStandsInFiles(t *testing.T) {
	got := variables(client.Taken{KeyFile: "/k", CertFile: "/c", CAFile: "/a", Credential: client.Credential{Engine: grants.EnginePKI, Username: "payments.acme.test", SignedKey: "PEM"}})
	if want := []variable{{"TAC_USERNAME", "payments.acme.test"}, {"TAC_CERT_FILE", "/c"}, {"TAC_KEY_FILE", "/k"}, {"TAC_CA_FILE", "/a"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
