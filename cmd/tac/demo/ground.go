package demo

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/cmd/tac/server"
)

// ground is what the stories stand on: a Vault, and time. The stories and
// their claims are the same on every ground.
type ground interface {
	// vault is an administrator's client, with which claims are checked.
	vault() *api.Client
	places() places
	tempo() tempo
	// dress changes a replica's configuration before it starts.
	dress(*server.Config)
	// loseAnswer has Vault's next answer to a replica's request for a
	// database credential get lost. struck is called when Vault has done what
	// it was asked.
	loseAnswer(struck func())
	// pass lets time go by.
	pass(context.Context, time.Duration) error
	// sideBySide says that stories which wait do so together, since time
	// cannot be hurried.
	sideBySide() bool
}

// places are the paths in Vault that the stories look at.
type places struct {
	records string // mount of the bot's records
	creds   string // from where database credentials come
	ssh     string // mount of the SSH engine
}

// tempo is how long things last, and how that is told.
type tempo struct {
	grant      time.Duration // of the first story
	grantOver  string
	slice      string // the life of a certificate
	afterSlice time.Duration
	sliceOver  string
	stamp      string // how a moment is written
	longer     longer
}

// longer is how the story of an extension takes its time.
type longer struct {
	first, more        time.Duration // the grant, and what is added to it
	begun              time.Duration // from the start of the grant to the wish for more; 0: at once
	pastFirst          time.Duration // from there to after the first end
	pastAll            time.Duration // from there to after the end of all
	toldBegun          string
	toldFirst, toldAll string
}

// playground is the sandbox's own Vault, and a clock that can be moved.
type playground struct {
	w     *World
	admin *api.Client
}

func newPlayground(w *World) (*playground, error) {
	admin, err := w.VaultAdmin()
	return &playground{w: w, admin: admin}, err
}

func (p *playground) vault() *api.Client   { return p.admin }
func (p *playground) dress(*server.Config) {}
func (p *playground) sideBySide() bool     { return false }

func (p *playground) places() places {
	return places{records: vaultlease.DefaultMount, creds: Targets[0].Path, ssh: "ssh"}
}

func (p *playground) tempo() tempo {
	return tempo{
		grant: 2 * time.Hour, grantOver: "two hours pass",
		slice: "ten minutes", afterSlice: 11 * time.Minute, sliceOver: "eleven minutes pass",
		stamp: "15:04",
		longer: longer{
			first: time.Hour, more: time.Hour, begun: 50 * time.Minute, toldBegun: "fifty minutes pass, and she is not done",
			pastFirst: 20 * time.Minute, toldFirst: "twenty minutes pass; the first end is among them",
			pastAll: 51 * time.Minute, toldAll: "51 minutes pass; the new end is among them",
		},
	}
}

func (p *playground) loseAnswer(struck func()) {
	p.w.Vault.Order(lostAnswer(p.places().creds, struck))
}

func lostAnswer(path string, struck func()) sandbox.Fault {
	return sandbox.Fault{Path: path, When: sandbox.LostReply, Do: func(*http.Request) { struck() }}
}

func (p *playground) pass(_ context.Context, d time.Duration) error {
	p.w.Clock.Advance(d)
	return nil
}
