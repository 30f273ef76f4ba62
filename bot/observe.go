package bot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// sight is everything gathered about one grant at one moment: what the state
// machine needs, and what the steps and the words need besides.
type sight struct {
	grants.Observed
	grant     grants.Grant // as far as anything tells
	main      *mainSight   // nil: the forge's git cannot be read now
	path      string       // where the file stands on main; empty: nowhere
	landed    world.Commit
	pull      *world.Pull
	judgement *judgement
	claim     *claimAsk
	moved     bool // the latest step was lost to somebody else
}

// claimAsk is a claim as it came in.
type claimAsk struct {
	holder    string // hash of the claimant's own key
	replace   bool
	publicKey string
	csr       string
	forChat   bool // the bot claims on the requester's behalf
}

// requestTTL is how long an unanswered request stays open where no policy
// says otherwise (design.md 3.1).
const requestTTL = 24 * time.Hour

func (b *Bot) observe(ctx context.Context, id grants.ID, claim *claimAsk) (*sight, error) {
	s := &sight{claim: claim}
	var err error
	if s.Clocks, err = b.clocks(ctx); err != nil {
		return nil, err
	}
	record := func() (err error) { s.Record, err = b.Vault.Record(ctx, id); return err }
	if err := record(); err != nil {
		b.unreadable(ctx, id, record)
		return nil, fmt.Errorf("read the record: %w", err)
	}
	if s.Request, err = b.requestOf(ctx, id); err != nil && s.Record == nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if r := s.Record; r != nil && endsAnyway(r, s.Clocks.Latest) {
		s.grant = r.Grant
		b.observeBase(ctx, s, r)
		return s, nil
	}
	var mainErr error
	if s.main, mainErr = b.mainNow(ctx); mainErr == nil {
		s.Frozen = s.main.frozen
		s.path = s.main.path(id)
	}
	if s.Record != nil {
		// From here on Vault alone must do: whatever the forge could
		// not tell stays unknown and delays no end.
		if mainErr != nil {
			b.Log.Warn("the default branch cannot be read", "grant", id, "error", mainErr)
		}
		return s, b.observeRecord(ctx, s, s.Record)
	}
	if mainErr != nil {
		return nil, mainErr
	}
	return s, b.observeRequest(ctx, id, s)
}

// endsAnyway reports that a grant ends whatever the default branch says: then
// nobody waits for GitHub to say it.
func endsAnyway(r *grants.Record, now time.Time) bool {
	if r.State == grants.Revoking && !r.Retiring {
		return true
	}
	return r.State != grants.Revoked && !r.Carried && !now.Before(r.EndsAt)
}

// unreadable wakes somebody where Vault answers, yet not with what it must
// hold: only an administrator can have taken that away (threats.md C15).
func (b *Bot) unreadable(ctx context.Context, id grants.ID, read func() error) {
	if _, down := b.Vault.Time(ctx); down != nil || ctx.Err() != nil {
		return
	}
	if err := read(); err != nil {
		b.Alert(id, "Vault answers, but what tac keeps there cannot be read: "+err.Error())
	}
}

// clocks asks every clock there is (threats.md D4).
func (b *Bot) clocks(ctx context.Context) (grants.Clocks, error) {
	vault, err := b.Vault.Time(ctx)
	if err != nil {
		return grants.Clocks{}, fmt.Errorf("read Vault's clock: %w", err)
	}
	own := b.Now()
	c := grants.Clocks{Earliest: own, Latest: own}
	readings := []time.Time{vault}
	if ahead, known := b.Forge.Skew(); known {
		readings = append(readings, own.Add(ahead))
	}
	for _, t := range readings {
		// Clocks that tick in seconds lag by up to one: that much is no
		// disagreement.
		if t.Before(c.Earliest.Add(-time.Second)) {
			c.Earliest = t
		}
		if t.After(c.Latest.Add(time.Second)) {
			c.Latest = t
		}
	}
	return c, nil
}

// requestOf returns the stored request of exactly this id.
func (b *Bot) requestOf(ctx context.Context, id grants.ID) (*grants.Request, error) {
	r, err := b.Vault.Request(ctx, id.Key())
	if err != nil || r == nil || r.Grant.ID != id {
		return nil, err
	}
	return r, nil
}

func (b *Bot) observeRecord(ctx context.Context, s *sight, r *grants.Record) (err error) {
	s.grant = r.Grant
	if s.main != nil {
		s.File = fileState(s.main, r)
	}
	b.observeBase(ctx, s, r)
	b.observeExtensions(ctx, s, r)
	if r.Aftermath.Pending() && r.Aftermath.Alarmed {
		s.Reviewed = b.reviewedBy(ctx, s)
	}
	if r.State == grants.Revoked || r.State == grants.Revoking && !r.Retiring {
		return nil
	}
	if s.File == grants.FileAbsent || s.File == grants.FileOther {
		b.lookAgain(ctx, s, r)
	}
	s.Holder = b.judgeHolder(ctx, s.main, r)
	if !s.Clocks.Latest.Before(r.EndsAt) {
		return nil // it ends whatever else is true: nothing may keep it
	}
	if r.State == grants.Issued && r.WrapAccessor != "" {
		s.Taken = b.taken(ctx, r)
	}
	starting := !r.Grant.Start.IsZero() && !r.Started && !s.Clocks.Earliest.Before(r.StartsAt)
	if starting && s.main != nil {
		if s.Verdict, err = b.judgeStart(ctx, r); err != nil {
			s.Verdict = grants.Verdict{Why: "policy could not be asked: " + err.Error()}
		}
	}
	if s.claim == nil && b.claimsForChat(s, r) {
		s.claim = &claimAsk{holder: chatHolder, forChat: true}
	}
	if s.claim != nil {
		s.Claim = &grants.Claim{Holder: s.claim.holder, Replace: s.claim.replace}
		if s.Claim.Verdict, err = b.judgeClaim(ctx, s.main, r); err != nil {
			s.Claim.Verdict = grants.Verdict{Why: "the approvals cannot be checked now: GitHub does not answer"}
			b.Log.Warn("a claim could not be checked", "grant", r.Grant.ID, "error", err)
		}
	}
	return nil
}

// observeExtensions finds an extension that has ended though it still moves
// the grant's end: it was taken back at the very moment at which another
// replica put it in. One that cannot be read keeps nothing else from ending.
func (b *Bot) observeExtensions(ctx context.Context, s *sight, r *grants.Record) {
	for _, e := range r.Extensions {
		if r.Ending() {
			return
		}
		extension, err := b.Vault.Record(ctx, e.ID)
		switch {
		case err != nil:
			b.Alert(r.Grant.ID, "the record of "+string(e.ID)+", which extends this, cannot be read: "+err.Error())
		case extension == nil || extension.Ending():
			s.Withdrawn = e.ID
		}
	}
}

// observeBase reads the record of the grant that this one extends. Where it
// cannot be read, what it carries neither gives nor ends anything.
func (b *Bot) observeBase(ctx context.Context, s *sight, r *grants.Record) {
	if r.Grant.Extends == "" || r.State == grants.Revoked {
		return
	}
	base, err := b.Vault.Record(ctx, r.Grant.Extends)
	if err != nil {
		b.Alert(r.Grant.ID, "the record of "+string(r.Grant.Extends)+", which this extends, cannot be read: "+err.Error())
		return
	}
	s.Base = base
}

// lookAgain makes sure of what would end the grant: the look at main may be
// older than the record, so that a file which another replica has just merged
// seems to be gone.
func (b *Bot) lookAgain(ctx context.Context, s *sight, r *grants.Record) {
	b.main.expire()
	main, err := b.mainNow(ctx)
	if err != nil {
		b.Log.Warn("the default branch cannot be read", "grant", r.Grant.ID, "error", err)
		s.main, s.path, s.File = nil, "", grants.FileUnknown
		return
	}
	s.main, s.Frozen, s.File = main, main.frozen, fileState(main, r)
	s.path = main.path(r.Grant.ID)
	if s.File != grants.FileAbsent || main.frozen {
		return
	}
	// A replica of the forge that lags may not have the merge yet: a file
	// is absent only from a branch that once held it.
	if _, err := b.Repository.History(ctx, r.Commit, main.tip); err != nil {
		b.Log.Warn("the default branch does not contain the merge", "grant", r.Grant.ID, "error", err)
		s.File = grants.FileUnknown
	}
}

// taken asks Vault whether the wrapped credential was opened. Not being able
// to ask is no answer, and keeps nothing else from being done.
func (b *Bot) taken(ctx context.Context, r *grants.Record) grants.Ruling {
	opened, err := b.Vault.Taken(ctx, r)
	switch {
	case err != nil:
		b.Log.Warn("it cannot be seen whether the credential was taken", "grant", r.Grant.ID, "error", err)
		return grants.Unknown
	case opened:
		return grants.Yes
	}
	return grants.No
}

// fileState is what main holds of a grant. One grant has one file: another of
// its id, for another resource, is as good as a changed one.
func fileState(m *mainSight, r *grants.Record) grants.FileState {
	entry, paths := m.files[r.Grant.Path()], m.paths[r.Grant.ID]
	switch {
	case len(paths) == 0:
		return grants.FileAbsent
	case len(paths) == 1 && entry.Blob == r.Blob && entry.Mode == world.PlainFile:
		return grants.FileSame
	}
	return grants.FileOther
}

// chatHolder is the claimant's key where the bot claims for somebody who
// asked in chat.
const chatHolder = "chat"

// mostForChat is how many generations are issued on somebody's behalf: the
// second is for a crash before the message went out. After that they claim
// by themselves, so that a chat that is down issues nothing over and over.
const mostForChat = 2

// claimsForChat reports whether the bot claims on the requester's behalf: at
// the merge of what was asked for in chat, where the engine gives a secret
// that can be wrapped, until one was sent, to somebody who can be written to.
func (b *Bot) claimsForChat(s *sight, r *grants.Record) bool {
	return b.Chat != nil && r.Grant.Via == grants.ViaSlack && r.Grant.Start.IsZero() && r.Target.Slice == 0 && !r.Carried &&
		!r.Sent && r.Gen < mostForChat && b.chatUser(s) != "" &&
		(r.State == grants.Approved || r.State == grants.Retired) && r.FailedIssues < grants.MostFailures
}

// chatUser returns the requester's chat account; empty where there is none.
func (b *Bot) chatUser(s *sight) string {
	if s.main == nil {
		return ""
	}
	p, _ := s.main.set.Person(s.grant.Requester.ID)
	return p.Slack
}

// observeRequest is a grant that the gate has not seen yet.
func (b *Bot) observeRequest(ctx context.Context, id grants.ID, s *sight) error {
	if s.Request != nil {
		s.grant = s.Request.Grant
	}
	if c, ok := s.main.landed[id]; ok {
		return b.observeLanding(ctx, id, s, c)
	}
	if s.path != "" {
		// The record was read before main: by now another replica may
		// have written it and moved the high-water mark on.
		var err error
		if s.Record, err = b.Vault.Record(ctx, id); err != nil {
			return fmt.Errorf("read the record: %w", err)
		}
		if s.Record != nil {
			return b.observeRecord(ctx, s, s.Record)
		}
		return b.observeUnrecorded(ctx, id, s)
	}
	if s.Request != nil && s.Request.Closed != "" {
		if p, _, ok := b.pulls.get(s.Request.Pull, b.Now()); ok && p.Open {
			s.pull, s.Pull = &p, &grants.Pull{Number: p.Number, Head: p.Head, Open: true}
		}
		return nil
	}
	s.LapsesAt = b.lapsesAt(s, nil)
	pull, own, err := b.pullOf(ctx, id, s.Request)
	if err != nil || pull == nil {
		return err
	}
	if err := b.observePull(ctx, s, *pull, own, factFresh); err != nil {
		return err
	}
	if s.Verdict.Ruling == grants.Yes && s.Shown && !own {
		// About to merge on what may be a minute old: read it again
		// (threats.md A8, A12, B7).
		fresh, err := b.readPull(ctx, pull.Number)
		if err != nil {
			return err
		}
		return b.observePull(ctx, s, fresh, false, 0)
	}
	return nil
}

func (b *Bot) observePull(ctx context.Context, s *sight, pull world.Pull, own bool, fresh time.Duration) error {
	s.pull = &pull
	// Merged into another branch is closed: it never comes to ours.
	merged := pull.Merged && pull.Base == b.Branch
	s.Pull = &grants.Pull{Number: pull.Number, Head: pull.Head, Open: pull.Open, Merged: merged}
	if !pull.Open {
		return nil
	}
	j, err := b.judgeHead(ctx, s.main, pull, own, fresh)
	if err != nil {
		return fmt.Errorf("judge pull request %d: %w", pull.Number, err)
	}
	if j.grant.ID != "" && s.grant.ID != "" && j.grant.ID != s.grant.ID {
		// It proposes another grant now, which is judged under its own
		// id; for this one nothing is open any more.
		s.Pull.Open = false
		return nil
	}
	s.judgement, s.Verdict = j, j.verdict
	if s.Request == nil || j.theirs && j.grant.Narrows != "" {
		s.grant = j.grant
	}
	s.LapsesAt = b.lapsesAt(s, j)
	s.EscalatesAt = nextEscalation(j.decision, b.Now())
	s.Shown = s.Request != nil && s.Request.Shown == j.digest()
	if s.Request != nil && s.Request.Narrowing == nil && !own {
		if s.Request.Narrowing, err = b.suggested(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bot) lapsesAt(s *sight, j *judgement) time.Time {
	ttl := requestTTL
	if j != nil && j.decision.RequestTTL > 0 {
		ttl = j.decision.RequestTTL
	}
	asked := s.grant.RequestedAt
	if s.pull != nil && s.pull.CreatedAt.After(asked) {
		asked = s.pull.CreatedAt
	}
	if asked.IsZero() {
		return time.Time{}
	}
	return asked.Add(ttl)
}

// pullOf finds the pull request of a grant; own reports that this very
// process opened it a moment ago, so that nobody can have reviewed it yet.
func (b *Bot) pullOf(ctx context.Context, id grants.ID, r *grants.Request) (pull *world.Pull, own bool, err error) {
	number := 0
	if r != nil {
		number = r.Pull
	}
	if number == 0 {
		number = b.pulls.byBranch(grants.BranchPrefix + string(id))
	}
	if number == 0 {
		return nil, false, nil
	}
	if p, own, ok := b.pulls.get(number, b.Now()); ok {
		return &p, own, nil
	}
	p, err := b.readPull(ctx, number)
	return &p, false, err
}

func (b *Bot) readPull(ctx context.Context, number int) (world.Pull, error) {
	p, err := b.Forge.Pull(ctx, number)
	if err != nil {
		return world.Pull{}, fmt.Errorf("read pull request %d: %w", number, err)
	}
	b.pulls.put(p, false, b.Now())
	return p, nil
}

func (b *Bot) observeLanding(ctx context.Context, id grants.ID, s *sight, c world.Commit) error {
	s.landed = c
	s.Landing = &grants.Landing{Commit: c.Hash, LandedAt: c.Time}
	if s.Request != nil && s.Request.By != "" {
		return nil // it was taken back: whatever the judgement were, it is refused
	}
	j, err := b.judgeLanding(ctx, id, s.main, c)
	if err != nil {
		if b.Now().Sub(c.Time).Abs() >= alertAfter {
			b.Alert(id, "the merge "+c.Hash+" cannot be judged: "+err.Error())
		}
		return fmt.Errorf("judge the merge %s: %w", c.Hash, err)
	}
	s.judgement, s.Verdict = j, j.verdict
	if j.grant.ID == id {
		s.grant = j.grant
	}
	s.grant.ID = id
	return nil
}

// observeUnrecorded is a file on main that was dealt with before, yet has no
// record (threats.md C15).
func (b *Bot) observeUnrecorded(ctx context.Context, id grants.ID, s *sight) error {
	s.grant = grants.Grant{ID: id}
	s.grant.Resource, _, _ = grants.ParsePath(s.path)
	s.Landing = &grants.Landing{Unrecorded: true, EndsBy: s.Clocks.Latest.Add(grants.LongestDuration)}
	if s.main.frozen {
		s.Landing.Unrecorded = false // whether it was dealt with cannot be told
		return nil
	}
	all, err := b.Repository.History(ctx, "", s.main.tip)
	if err != nil {
		return fmt.Errorf("find the commit that brought %s: %w", s.path, err)
	}
	for _, c := range all {
		for _, brought := range added(c) {
			if brought == id {
				s.landed = c
			}
		}
	}
	blob, err := b.Repository.Blob(ctx, s.main.files[s.path].Blob)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.path, err)
	}
	lasts := grants.LongestDuration
	if g, err := grants.Parse(s.path, blob); err == nil {
		s.grant = g
		lasts = g.Duration
	}
	from := s.landed.Time
	if s.grant.Start.After(from) {
		from = s.grant.Start
	}
	s.Landing.EndsBy = from.Add(lasts + grants.StrayLife)
	s.Landing.Commit = s.landed.Hash
	return nil
}

// everything lists the grants that may need something: those on main, those
// that landed lately, and those that Vault knows and that are not over.
func (b *Bot) everything(ctx context.Context) ([]grants.ID, error) {
	ids := map[grants.ID]bool{}
	main, mainErr := b.mainNow(ctx)
	if mainErr == nil {
		for _, id := range main.touched() {
			ids[id] = true
		}
	}
	records, err := b.Vault.Records(ctx)
	if err != nil {
		return sorted(ids), err
	}
	known := map[string]bool{}
	for _, id := range records {
		known[id.Key()] = true
		if !b.index.isOver(id) {
			ids[id] = true
		}
	}
	keys, err := b.Vault.Requests(ctx)
	if err != nil {
		return sorted(ids), err
	}
	problems := []error{mainErr}
	for _, key := range keys {
		if known[key] || b.index.isOverKey(key) {
			continue
		}
		r, err := b.Vault.Request(ctx, key)
		if err != nil {
			problems = append(problems, err) // one that was tampered with holds nobody else up
			continue
		}
		if r != nil && strings.HasSuffix(string(r.Grant.ID), key) {
			ids[r.Grant.ID] = true
		}
	}
	return sorted(ids), errors.Join(problems...)
}
