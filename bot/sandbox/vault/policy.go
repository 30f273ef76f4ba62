package vault

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// policy is a parsed ACL policy.
type policy struct {
	name  string
	text  string
	rules []rule
}

// rule is one path block.
type rule struct {
	path         string // without the trailing *
	prefix       bool   // the path ended in *
	segments     []string
	plus         int // number of + segments
	capabilities []string
	minWrap      time.Duration
	maxWrap      time.Duration
}

func newRule(path string) rule {
	r := rule{path: strings.TrimPrefix(path, "/")}
	r.path, r.prefix = strings.CutSuffix(r.path, "*")
	r.segments = strings.Split(r.path, "/")
	for _, seg := range r.segments {
		if seg == "+" {
			r.plus++
		}
	}
	return r
}

func (r rule) matches(path string) bool {
	if r.plus == 0 {
		return r.path == path || r.prefix && strings.HasPrefix(path, r.path)
	}
	have := strings.Split(path, "/")
	if len(have) < len(r.segments) || len(have) > len(r.segments) && !r.prefix {
		return false
	}
	last := len(r.segments) - 1
	for i, want := range r.segments {
		switch {
		case want == "+":
		case i == last && r.prefix:
			if !strings.HasPrefix(have[i], want) {
				return false
			}
		case want != have[i]:
			return false
		}
	}
	return true
}

// wins implements Vault's order of precedence: the later first wildcard, then
// no trailing *, then fewer +, then the longer path.
func (r rule) wins(o rule) bool {
	if a, b := r.firstWildcard(), o.firstWildcard(); a != b {
		return a > b
	}
	if r.prefix != o.prefix {
		return !r.prefix
	}
	if r.plus != o.plus {
		return r.plus < o.plus
	}
	if len(r.path) != len(o.path) {
		return len(r.path) > len(o.path)
	}
	return r.path > o.path
}

func (r rule) firstWildcard() int {
	if r.plus > 0 {
		if at := slices.Index(r.segments, "+"); at > 0 {
			return len(strings.Join(r.segments[:at], "/")) + 1 // with the slash before it
		}
		return 0
	}
	if r.prefix {
		return len(r.path)
	}
	return 1 << 20 // an exact path beats every pattern
}

func (r rule) samePath(o rule) bool { return r.path == o.path && r.prefix == o.prefix }

// allowed reports whether the token's policies let the request pass. Blocks
// on one and the same path add up over all policies; between different paths
// the most specific one alone decides.
func (s *Server) allowed(t *token, rt *route, r *request) bool {
	if slices.Contains(t.policies, "root") {
		return true
	}
	if r.op == opList {
		return s.allowedAt(t, rt, r, r.path+"/") || s.allowedAt(t, rt, r, r.path)
	}
	return s.allowedAt(t, rt, r, r.path)
}

func (s *Server) allowedAt(t *token, rt *route, r *request, path string) bool {
	best := s.rulesOn(t, path)
	has := func(capability string) bool {
		return slices.ContainsFunc(best, func(b rule) bool { return slices.Contains(b.capabilities, capability) })
	}
	if has("deny") || rt != nil && rt.sudo && !has("sudo") || !s.capable(has, rt, r) {
		return false
	}
	for _, b := range best {
		if b.minWrap > 0 && r.wrapTTL < b.minWrap || b.maxWrap > 0 && (r.wrapTTL == 0 || r.wrapTTL > b.maxWrap) {
			return false
		}
	}
	return true
}

func (s *Server) capable(has func(string) bool, rt *route, r *request) bool {
	switch {
	case r.op != opUpdate || rt == nil:
		return has(string(r.op))
	case rt.exists != nil:
		if rt.exists(s, r) {
			return has("update")
		}
		return has("create")
	case rt.upsert:
		return has("update") || has("create")
	}
	return has("update")
}

func (s *Server) listPolicies(*request) (*response, error) {
	return &response{data: map[string]any{"keys": s.policyNames()}}, nil
}

// policyNames has root last, for it is not stored.
func (s *Server) policyNames() []string { return append(slices.Sorted(maps.Keys(s.policies)), "root") }

func (s *Server) readPolicy(r *request) (*response, error) {
	name, text, err := s.policyText(r)
	if err != nil {
		return nil, err
	}
	return &response{data: map[string]any{"name": name, "policy": text}}, nil
}

func (s *Server) policyText(r *request) (name, text string, err error) {
	name = strings.ToLower(r.vars["name"])
	if p := s.policies[name]; p != nil {
		return name, p.text, nil
	}
	if name == "root" {
		return name, "", nil
	}
	return "", "", notFound()
}

// listOldPolicies and readOldPolicy are what the command line's older versions
// ask for.
func (s *Server) listOldPolicies(*request) (*response, error) {
	return &response{data: map[string]any{"keys": s.policyNames(), "policies": s.policyNames()}}, nil
}

func (s *Server) readOldPolicy(r *request) (*response, error) {
	name, text, err := s.policyText(r)
	if err != nil {
		return nil, err
	}
	return &response{data: map[string]any{"name": name, "rules": text}}, nil
}

func (s *Server) writePolicy(r *request) (*response, error) {
	text := r.in.text("policy")
	if r.in.err != nil {
		return nil, r.in.err
	}
	asked := r.vars["name"]
	name := strings.ToLower(asked)
	if text == "" {
		return nil, badRequest("'policy' parameter not supplied or empty")
	}
	if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
		text = string(plain)
	}
	if name == "root" || name == "response-wrapping" {
		return nil, badRequest("cannot update %q policy", name)
	}
	p, err := parsePolicy(name, text)
	if err != nil {
		return nil, badRequest("failed to parse policy: %s", err)
	}
	s.policies[name] = p
	if name != asked {
		return &response{warnings: []string{"policy name was converted to " + name}}, nil
	}
	return nil, nil
}

func (s *Server) deletePolicy(r *request) (*response, error) {
	switch name := strings.ToLower(r.vars["name"]); name {
	case "root", "response-wrapping":
		return nil, badRequest("cannot delete %q policy", name)
	case "default":
		return nil, badRequest("cannot delete default policy")
	default:
		delete(s.policies, name)
	}
	return nil, nil
}

// parsePolicy reads the part of Vault's policy language that tac uses: path
// blocks with capabilities and wrapping TTLs. What it does not model it
// refuses, so that no policy seems to be enforced that is not.
func parsePolicy(name, text string) (*policy, error) {
	p := &policy{name: name, text: text}
	lx := &lexer{rest: text, line: 1}
	for {
		tok, err := lx.next()
		if err != nil {
			return nil, err
		}
		if tok.kind == 0 {
			return p, nil
		}
		if tok.kind != tokWord || tok.text != "path" {
			return nil, fmt.Errorf("line %d: unexpected %q, want a path block", lx.line, tok.text)
		}
		r, err := parsePathBlock(lx)
		if err != nil {
			return nil, err
		}
		p.rules = append(p.rules, r)
	}
}

func parsePathBlock(lx *lexer) (rule, error) {
	path, err := lx.want(tokText, "a quoted path")
	if err != nil {
		return rule{}, err
	}
	r := newRule(path)
	if _, err := lx.want('{', "{"); err != nil {
		return rule{}, err
	}
	for {
		tok, err := lx.next()
		if err != nil {
			return rule{}, err
		}
		if tok.kind == '}' {
			return r, nil
		}
		if tok.kind != tokWord && tok.kind != tokText {
			return rule{}, fmt.Errorf("line %d: unexpected %q in path %q", lx.line, tok.text, path)
		}
		if _, err := lx.want('=', "="); err != nil {
			return rule{}, err
		}
		if err := r.set(lx, tok.text); err != nil {
			return rule{}, err
		}
	}
}

func (r *rule) set(lx *lexer, key string) error {
	switch key {
	case "capabilities":
		list, err := lx.list()
		if err != nil {
			return err
		}
		for _, c := range list {
			if !slices.Contains([]string{"create", "read", "update", "delete", "list", "sudo", "deny", "patch", "subscribe", "recover"}, c) {
				return fmt.Errorf("path %q: invalid capability %q", r.path, c)
			}
		}
		r.capabilities = list
		return nil
	case "min_wrapping_ttl", "max_wrapping_ttl":
		tok, err := lx.next()
		if err != nil {
			return err
		}
		d, err := parseDuration(tok.text)
		if err != nil || tok.kind != tokText && tok.kind != tokWord {
			return fmt.Errorf("line %d: error parsing %s %q", lx.line, key, tok.text)
		}
		if key == "min_wrapping_ttl" {
			r.minWrap = d
		} else {
			r.maxWrap = d
		}
		return nil
	}
	return fmt.Errorf("line %d: path %q: key %q is not modelled by this sandbox", lx.line, r.path, key)
}
