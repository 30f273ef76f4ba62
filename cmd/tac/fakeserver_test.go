package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// fakeServer is a tac server, and the GitHub that it signs in with, as far as
// the command line can tell. What becomes of a request depends on its
// resource:
//
//	postgres-prod  allowed     patient  approved at the second look
//	bastion        allowed     stuck    never decided
//	secret         denied      refused  refused at the first look
//	db-glass       allowed where the glass is broken, else reviewed
//
// bob asks for what waits for alice's answer, once somebody looks at it.
type fakeServer struct {
	mu     sync.Mutex
	grants map[string]*fakeGrant
}

type fakeGrant struct {
	id, resource, reason string
	phase                grants.Phase
	looks, issued        int
	holder               string
	brokenGlass          bool
	extends              string
	extensions           []string
	by                   string        // empty: alice
	longer               time.Duration // by extensions
}

// fakeBobs is bob's request, and fakeHead the commit that it is at.
const (
	fakeBobs = "20261122-ffffffffff"
	fakeHead = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
)

var fakeIDs = map[string]string{
	"postgres-prod": "20261122-aaaaaaaaaa", "bastion": "20261122-bbbbbbbbbb", "patient": "20261122-cccccccccc",
	"stuck": "20261122-dddddddddd", "refused": "20261122-eeeeeeeeee", "db-glass": "20261122-gggggggggg",
}

var fakeConnect = map[string]string{
	"postgres-prod": `psql -h db.internal -p 5433 -U "$TAC_USERNAME" payments`,
	"bastion":       "ssh deploy@bastion.internal",
}

type object = map[string]any

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status, body := s.answer(r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func (s *fakeServer) answer(r *http.Request) (int, any) {
	site := "http://" + r.Host
	switch r.URL.Path {
	case "/api/v1/login":
		return 200, object{"client_id": "Iv1.test", "github_url": site}
	case "/login/device/code":
		return 200, object{"device_code": "dc", "user_code": "ABCD-1234", "verification_uri": site + "/login/device", "expires_in": 900, "interval": 1}
	case "/login/oauth/access_token":
		return 200, object{"access_token": "ghu_alice", "expires_in": 28800, "refresh_token": "ghr_alice"}
	}
	if r.Header.Get("Authorization") != "Bearer ghu_alice" {
		return refusal(401, "unauthenticated", "the token is not ours; run `tac login`")
	}
	path := strings.TrimPrefix(r.URL.Path, "/api/v1/")
	switch {
	case path == "whoami":
		return 200, object{"github": "alice", "id": 1001}
	case path == "requests":
		return s.request(r)
	case path == "grants":
		return s.list()
	}
	id, verb, _ := strings.Cut(strings.TrimPrefix(path, "grants/"), "/")
	if id == fakeBobs && s.grants["bob's"] == nil {
		s.keep("bob's", &fakeGrant{id: id, resource: "db-bob", reason: "stuck \x1b[31mjob", phase: grants.PhaseRequested, by: "bob"})
	}
	for _, g := range s.grants {
		if g.id == id {
			return s.about(g, verb, r)
		}
	}
	return refusal(404, "not_found", "there is no grant "+id+" that you may see")
}

func refusal(status int, code, message string) (int, any) {
	return status, object{"code": code, "message": message}
}

func decided(outcome, rule string) object {
	return object{
		"decision": outcome, "rule": rule, "nearest": "", "requester": "alice", "resource": "r", "duration": "2h",
		"reasons":   []object{{"rule": "people/unknown", "condition": "requester", "holds": true, "observed": "@alice", "wanted": "a person in People"}},
		"approvers": object{"required": 0, "roles": []string{}, "people": []string{}}, "policies": []object{}, "needs": []object{},
	}
}

func (s *fakeServer) request(r *http.Request) (int, any) {
	var ask struct {
		Resource, Reason string
		DryRun           bool `json:"dry_run"`
		BreakGlass       bool `json:"break_glass"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return refusal(400, "invalid", err.Error())
	}
	id, known := fakeIDs[ask.Resource]
	switch {
	case !known:
		d := decided("deny", "secret/request.roles")
		d["nearest"] = "only security may ask for it"
		return 403, object{"code": "denied", "message": d["nearest"], "decision": d}
	case ask.DryRun:
		return 200, object{"existing": false, "decision": decided("allow", "db/auto_approve[0]")}
	case len(r.Header.Get("Idempotency-Key")) < 16:
		return refusal(400, "invalid", "send a header Idempotency-Key")
	}
	g := &fakeGrant{id: id, resource: ask.Resource, reason: ask.Reason, phase: grants.PhaseRequested}
	d := decided("review", "db/approval")
	d["needs"] = []object{{"policy": "db", "required": 1, "roles": []string{"team-lead"}, "people": []string{"dana"}}}
	if g.brokenGlass = ask.BreakGlass; g.brokenGlass {
		g.phase, d = grants.PhaseApproved, decided("allow", "db/break_glass")
	}
	if ask.Resource == "postgres-prod" || ask.Resource == "bastion" {
		g.phase, d = grants.PhaseApproved, decided("allow", "db/auto_approve[0]")
	}
	s.keep(ask.Resource, g)
	return 202, object{"id": id, "existing": false, "decision": d}
}

func (s *fakeServer) keep(name string, g *fakeGrant) {
	if s.grants == nil {
		s.grants = map[string]*fakeGrant{}
	}
	s.grants[name] = g
}

func (s *fakeServer) list() (int, any) {
	out := []object{}
	for _, g := range s.grants {
		out = append(out, g.view())
	}
	return 200, object{"grants": out}
}

func (g *fakeGrant) view() object {
	v := object{
		"id": g.id, "phase": g.phase, "resource": g.resource, "requester": "alice", "requester_id": 1001, "duration": "2h",
		"reason": g.reason, "approvers": []string{}, "taken": g.issued > 0, "engine": "database", "connect": fakeConnect[g.resource],
	}
	if g.resource == "bastion" {
		v["engine"] = "ssh"
	}
	if g.by != "" {
		v["requester"], v["requester_id"] = g.by, 1002
	}
	v["break_glass"], v["extends"], v["extensions"] = g.brokenGlass, g.extends, g.extensions
	if g.extends != "" {
		v["total"] = "4h"
	}
	switch g.phase {
	case grants.PhaseRequested:
		v["waiting_for"], v["head"] = []string{"dana"}, fakeHead
		if g.by == "bob" {
			v["waiting_for"], v["may_answer"] = []string{"alice"}, true
		}
	case grants.PhaseRefused:
		v["outcome"], v["why"] = "refused", "the gate says no"
	case grants.PhaseClosed:
		v["outcome"] = "dropped"
	default:
		v["ends_at"] = time.Now().Add(2*time.Hour + 30*time.Second + g.longer)
	}
	return v
}

func (s *fakeServer) about(g *fakeGrant, verb string, r *http.Request) (int, any) {
	switch verb {
	case "":
		if g.looks++; g.looks >= 2 && g.resource == "patient" {
			g.phase = grants.PhaseApproved
		}
		if g.resource == "refused" {
			g.phase = grants.PhaseRefused
		}
	case "explanation":
		return 200, object{"grant": g.view(), "decision": decided("allow", "db/auto_approve[0]"), "ignored": []string{"dana's review is of another head"}}
	case "drop", "revoke":
		g.phase = grants.PhaseClosed
	case "claim":
		return g.claim(r)
	case "approve", "deny":
		return g.answered(verb, r)
	case "extend":
		return s.extend(g, r)
	}
	return 200, g.view()
}

func (g *fakeGrant) answered(verb string, r *http.Request) (int, any) {
	var ask struct{ Head, Duration, Reason string }
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return refusal(400, "invalid", err.Error())
	}
	switch {
	case g.by == "":
		return refusal(403, "denied", "nobody answers their own request")
	case ask.Head != fakeHead:
		return refusal(409, "conflict", "the request has changed since you were shown "+ask.Head[:7])
	case verb == "deny":
		v := g.view()
		v["may_answer"] = false
		return 200, v
	}
	g.phase = grants.PhaseApproved
	v := g.view()
	v["approvers"] = []string{"alice"}
	if ask.Duration != "" {
		v["duration"] = ask.Duration
	}
	return 200, v
}

// extend adds at once what is asked for; 5h are too much.
func (s *fakeServer) extend(g *fakeGrant, r *http.Request) (int, any) {
	var ask struct {
		Duration string
		DryRun   bool `json:"dry_run"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return refusal(400, "invalid", err.Error())
	}
	d := decided("allow", "db/auto_approve[0]")
	by, err := time.ParseDuration(ask.Duration)
	switch {
	case err != nil:
		return refusal(400, "invalid", err.Error())
	case by >= 5*time.Hour:
		d = decided("deny", "db/extensions")
		d["nearest"] = "an extension adds 1h at most"
		return 403, object{"code": "denied", "message": d["nearest"], "decision": d}
	case ask.DryRun:
		return 200, object{"existing": false, "decision": d}
	case len(r.Header.Get("Idempotency-Key")) < 16:
		return refusal(400, "invalid", "send a header Idempotency-Key")
	}
	for _, base := range s.grants { // of an extension, what it extends
		if base.id == g.extends {
			g = base
			break
		}
	}
	e := &fakeGrant{id: "20261122-hhhhhhhhhh", resource: g.resource, reason: g.reason, phase: grants.PhaseActive, extends: g.id}
	g.longer, g.extensions = g.longer+by, append(g.extensions, e.id)
	s.keep(e.id, e)
	return 202, object{"id": e.id, "extends": g.id, "existing": false, "decision": d}
}

func (g *fakeGrant) claim(r *http.Request) (int, any) {
	var ask struct {
		Key       string `json:"key"`
		Replace   bool   `json:"replace"`
		PublicKey string `json:"public_key"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		return refusal(400, "invalid", err.Error())
	}
	switch {
	case g.phase != grants.PhaseApproved && g.phase != grants.PhaseActive:
		return refusal(409, "conflict", "this grant is "+string(g.phase))
	case g.holder != "" && g.holder != ask.Key && !ask.Replace:
		return refusal(409, "conflict", "the credential of this grant was taken already, somewhere else; --replace retires that one and issues anew")
	}
	g.holder, g.phase = ask.Key, grants.PhaseActive
	g.issued++
	c := object{"engine": "database", "username": fmt.Sprintf("v-user%d", g.issued), "password": "pa'ss $HOME:x", "fields": object{}, "until": time.Now().Add(time.Hour)}
	if g.resource == "bastion" {
		c = object{"engine": "ssh", "fields": object{}, "signed_key": "cert of " + ask.PublicKey, "until": time.Now().Add(10 * time.Minute)}
	}
	return 200, object{"grant": g.view(), "credential": c}
}
