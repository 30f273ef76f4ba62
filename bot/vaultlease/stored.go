package vaultlease

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// The stored forms. They are apart from the domain's own types because they
// outlive them: what an older replica wrote must still be read, and what a
// newer one wrote must be seen to be newer. So a field that is not known here
// is an error, and one that is added must be written only where it is set.

type storedHighWater struct {
	By     string `json:"by"`
	Commit string `json:"commit"`
}

// span is a length of time written as Go does: 2h0m0s.
type span time.Duration

func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = span(d)
	return err
}

type storedPrincipal struct {
	GitHub string `json:"github"`
	ID     int64  `json:"id"`
}

type storedGrant struct {
	ID          string          `json:"id"`
	Resource    string          `json:"resource"`
	Requester   storedPrincipal `json:"requester"`
	Duration    span            `json:"duration"`
	Start       time.Time       `json:"start,omitzero"`
	Reason      string          `json:"reason,omitempty"`
	Ticket      string          `json:"ticket,omitempty"`
	RequestedAt time.Time       `json:"requested_at,omitzero"`
	Via         string          `json:"via,omitempty"`
	Extends     string          `json:"extends,omitempty"`
	BreakGlass  bool            `json:"break_glass,omitempty"`
	Narrows     string          `json:"narrows,omitempty"`
	Attestation string          `json:"attestation,omitempty"`
}

type storedRequest struct {
	By     string      `json:"by"`
	Grant  storedGrant `json:"grant"`
	Key    string      `json:"key,omitempty"`
	Pull   int         `json:"pull,omitempty"`
	Shown  string      `json:"shown,omitempty"`
	Body   string      `json:"body,omitempty"`
	Check  int64       `json:"check,omitempty"`
	Head   string      `json:"head,omitempty"`
	Closed string      `json:"closed,omitempty"`
	Who    string      `json:"closed_by,omitempty"`
	Why    string      `json:"why,omitempty"`
	Chat   storedChat  `json:"chat,omitzero"`

	Unasked   []string        `json:"unasked,omitempty"`
	Asked     []storedAsked   `json:"asked,omitempty"`
	Narrowing storedNarrowing `json:"narrowing,omitzero"`
	Denial    storedDenial    `json:"denial,omitzero"`
}

type storedAsked struct {
	ID       int64     `json:"id"`
	At       time.Time `json:"at"`
	Answered bool      `json:"answered,omitempty"`
}

type storedNarrowing struct {
	Duration span            `json:"duration"`
	By       storedPrincipal `json:"by"`
	Head     string          `json:"head"`
}

type storedDenial struct {
	By  storedPrincipal `json:"by"`
	Why string          `json:"why"`
}

type storedChat struct {
	Channel string `json:"channel,omitempty"`
	Message string `json:"message,omitempty"`
	Posting bool   `json:"posting,omitempty"`
	Said    string `json:"said,omitempty"`
}

type storedTarget struct {
	Engine     string   `json:"engine"`
	Path       string   `json:"path"`
	Policy     string   `json:"policy"`
	Principals []string `json:"principals,omitempty"`
	Slice      span     `json:"slice,omitzero"`
}

type storedApprover struct {
	storedPrincipal
	Review int64  `json:"review"`
	Commit string `json:"commit"`
}

type storedRecord struct {
	By    string      `json:"by"`
	Phase string      `json:"phase"`
	Grant storedGrant `json:"grant"`

	Commit     string            `json:"commit,omitempty"`
	Blob       string            `json:"blob,omitempty"`
	Pull       int               `json:"pull,omitempty"`
	Rule       string            `json:"rule,omitempty"`
	Approvers  []storedApprover  `json:"approvers,omitempty"`
	Target     storedTarget      `json:"target"`
	StartsAt   time.Time         `json:"starts_at,omitzero"`
	EndsAt     time.Time         `json:"ends_at,omitzero"`
	TokenUntil time.Time         `json:"token_until,omitzero"`
	Started    bool              `json:"started,omitempty"`
	Extensions []storedExtension `json:"extensions,omitempty"`
	Carried    bool              `json:"carried,omitempty"`
	Aftermath  storedAftermath   `json:"aftermath,omitzero"`

	Gen          int       `json:"gen"`
	FailedIssues int       `json:"failed_issues,omitempty"`
	Retiring     bool      `json:"retiring,omitempty"`
	ReservedAt   time.Time `json:"reserved_at,omitzero"`
	Nonce        string    `json:"nonce,omitempty"`
	Cluster      string    `json:"cluster,omitempty"`
	Accessor     string    `json:"accessor,omitempty"`
	TokenExpires time.Time `json:"token_expires,omitzero"`
	IssuedAt     time.Time `json:"issued_at,omitzero"`
	LeaseID      string    `json:"lease_id,omitempty"`
	LeaseExpires time.Time `json:"lease_expires,omitzero"`
	LeaseCapped  bool      `json:"lease_capped,omitempty"`
	WrapAccessor string    `json:"wrap_accessor,omitempty"`
	WrapExpires  time.Time `json:"wrap_expires,omitzero"`
	Sent         bool      `json:"sent,omitempty"`
	Username     string    `json:"username,omitempty"`
	Holder       string    `json:"holder,omitempty"`
	NotAfter     time.Time `json:"not_after,omitzero"`
	Warned       bool      `json:"warned,omitempty"`

	Outcome  string    `json:"outcome,omitempty"`
	EndedBy  string    `json:"ended_by,omitempty"`
	EndedWhy string    `json:"ended_why,omitempty"`
	EndedAt  time.Time `json:"ended_at,omitzero"`
}

type storedExtension struct {
	ID string `json:"id"`
	By span   `json:"by"`
}

type storedAftermath struct {
	Due     time.Time `json:"due"`
	Issue   int       `json:"issue,omitempty"`
	Alarmed bool      `json:"alarmed,omitempty"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

func storeGrant(g grants.Grant) storedGrant {
	return storedGrant{
		ID: string(g.ID), Resource: g.Resource, Requester: storedPrincipal(g.Requester),
		Duration: span(g.Duration), Start: utc(g.Start), Reason: g.Reason, Ticket: g.Ticket,
		RequestedAt: utc(g.RequestedAt), Via: string(g.Via), Extends: string(g.Extends),
		BreakGlass: g.BreakGlass, Narrows: g.Narrows, Attestation: g.Attestation,
	}
}

func (g storedGrant) grant() grants.Grant {
	return grants.Grant{
		ID: grants.ID(g.ID), Resource: g.Resource, Requester: grants.Principal(g.Requester),
		Duration: time.Duration(g.Duration), Start: utc(g.Start), Reason: g.Reason, Ticket: g.Ticket,
		RequestedAt: utc(g.RequestedAt), Via: grants.Via(g.Via), Extends: grants.ID(g.Extends),
		BreakGlass: g.BreakGlass, Narrows: g.Narrows, Attestation: g.Attestation,
	}
}

func storeRequest(r *grants.Request, by string) storedRequest {
	s := storedRequest{
		By: by, Grant: storeGrant(r.Grant), Key: r.Key, Pull: r.Pull, Shown: r.Shown, Body: r.Body, Check: r.Check, Head: r.Head,
		Closed: string(r.Closed), Who: r.By, Why: r.Why, Chat: storedChat(r.Chat), Unasked: r.Unasked,
	}
	for _, a := range r.Asked {
		s.Asked = append(s.Asked, storedAsked{a.ID, utc(a.At), a.Answered})
	}
	if n := r.Narrowing; n != nil {
		s.Narrowing = storedNarrowing{span(n.Duration), storedPrincipal(n.By), n.Head}
	}
	if d := r.Denial; d != nil {
		s.Denial = storedDenial{storedPrincipal(d.By), d.Why}
	}
	return s
}

func decodeRequest(doc []byte) (*grants.Request, error) {
	var s storedRequest
	if err := decodeStrictly(doc, &s); err != nil {
		return nil, err
	}
	r := &grants.Request{
		Grant: s.Grant.grant(), Key: s.Key, Pull: s.Pull, Shown: s.Shown, Body: s.Body, Check: s.Check, Head: s.Head,
		Closed: grants.Outcome(s.Closed), By: s.Who, Why: s.Why, Chat: grants.Chat(s.Chat), Unasked: s.Unasked,
	}
	for _, a := range s.Asked {
		r.Asked = append(r.Asked, grants.Asked{ID: a.ID, At: utc(a.At), Answered: a.Answered})
	}
	if n := s.Narrowing; n != (storedNarrowing{}) {
		r.Narrowing = &grants.Narrowing{Duration: time.Duration(n.Duration), By: grants.Principal(n.By), Head: n.Head}
	}
	if d := s.Denial; d != (storedDenial{}) {
		r.Denial = &grants.Denial{By: grants.Principal(d.By), Why: d.Why}
	}
	return r, nil
}

func storeRecord(r *grants.Record, by string) storedRecord {
	s := storedRecord{
		By: by, Phase: string(r.State), Grant: storeGrant(r.Grant),
		Commit: r.Commit, Blob: r.Blob, Pull: r.Pull, Rule: r.Rule,
		Target: storedTarget{
			Engine: r.Target.Engine, Path: r.Target.Path, Policy: r.Target.Policy,
			Principals: r.Target.Principals, Slice: span(r.Target.Slice),
		},
		StartsAt: utc(r.StartsAt), EndsAt: utc(r.EndsAt), TokenUntil: utc(r.TokenUntil), Started: r.Started, Carried: r.Carried,
		Gen: r.Gen, FailedIssues: r.FailedIssues, Retiring: r.Retiring, ReservedAt: utc(r.ReservedAt),
		Nonce: r.Nonce, Cluster: r.Cluster, Accessor: r.Accessor, TokenExpires: utc(r.TokenExpires),
		IssuedAt: utc(r.IssuedAt), LeaseID: r.LeaseID, LeaseExpires: utc(r.LeaseExpires), LeaseCapped: r.LeaseCapped,
		WrapAccessor: r.WrapAccessor, WrapExpires: utc(r.WrapExpires), Sent: r.Sent, Username: r.Username, Holder: r.Holder,
		NotAfter: utc(r.NotAfter), Warned: r.Warned,
		Outcome: string(r.Outcome), EndedBy: r.EndedBy, EndedWhy: r.EndedWhy, EndedAt: utc(r.EndedAt),
		Aftermath: storedAftermath{utc(r.Aftermath.Due), r.Aftermath.Issue, r.Aftermath.Alarmed, r.Aftermath.By, utc(r.Aftermath.At)},
	}
	for _, e := range r.Extensions {
		s.Extensions = append(s.Extensions, storedExtension{string(e.ID), span(e.By)})
	}
	for _, a := range r.Approvers {
		s.Approvers = append(s.Approvers, storedApprover{storedPrincipal(a.Principal), a.Review, a.Commit})
	}
	return s
}

func decodeRecord(doc []byte) (*grants.Record, error) {
	var s storedRecord
	if err := decodeStrictly(doc, &s); err != nil {
		return nil, err
	}
	if !knownState(grants.State(s.Phase)) {
		return nil, fmt.Errorf("its phase %.20q is not known here: a newer version wrote it", s.Phase)
	}
	r := &grants.Record{
		State: grants.State(s.Phase), Grant: s.Grant.grant(),
		Commit: s.Commit, Blob: s.Blob, Pull: s.Pull, Rule: s.Rule,
		Target: grants.Target{
			Engine: s.Target.Engine, Path: s.Target.Path, Policy: s.Target.Policy,
			Principals: s.Target.Principals, Slice: time.Duration(s.Target.Slice),
		},
		StartsAt: utc(s.StartsAt), EndsAt: utc(s.EndsAt), TokenUntil: utc(s.TokenUntil), Started: s.Started, Carried: s.Carried,
		Gen: s.Gen, FailedIssues: s.FailedIssues, Retiring: s.Retiring, ReservedAt: utc(s.ReservedAt),
		Nonce: s.Nonce, Cluster: s.Cluster, Accessor: s.Accessor, TokenExpires: utc(s.TokenExpires),
		IssuedAt: utc(s.IssuedAt), LeaseID: s.LeaseID, LeaseExpires: utc(s.LeaseExpires), LeaseCapped: s.LeaseCapped,
		WrapAccessor: s.WrapAccessor, WrapExpires: utc(s.WrapExpires), Sent: s.Sent, Username: s.Username, Holder: s.Holder,
		NotAfter: utc(s.NotAfter), Warned: s.Warned,
		Outcome: grants.Outcome(s.Outcome), EndedBy: s.EndedBy, EndedWhy: s.EndedWhy, EndedAt: utc(s.EndedAt),
		Aftermath: grants.Aftermath{Due: utc(s.Aftermath.Due), Issue: s.Aftermath.Issue, Alarmed: s.Aftermath.Alarmed, By: s.Aftermath.By, At: utc(s.Aftermath.At)},
	}
	for _, e := range s.Extensions {
		r.Extensions = append(r.Extensions, grants.Extension{ID: grants.ID(e.ID), By: time.Duration(e.By)})
	}
	for _, a := range s.Approvers {
		r.Approvers = append(r.Approvers, grants.Approver{Principal: grants.Principal(a.storedPrincipal), Review: a.Review, Commit: a.Commit})
	}
	return r, nil
}

func knownState(s grants.State) bool {
	switch s {
	case grants.Approved, grants.Reserved, grants.Issued, grants.Delivered,
		grants.Revoking, grants.Retired, grants.Revoked, grants.Failed:
		return true
	}
	return false
}

// utc keeps zero times zero.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// decodeStrictly refuses fields it does not know: who leaves out half of what
// a newer version wrote would write the other half away.
func decodeStrictly(doc []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode: something follows the document")
	}
	return nil
}
