package vault

import "slices"

// capabilityOrder is the order in which Vault names capabilities: the
// alphabet's.
var capabilityOrder = []string{"create", "delete", "list", "patch", "read", "recover", "subscribe", "sudo", "update"}

// capabilitiesSelf is sys/capabilities-self: what the caller's policies allow
// on each path, whether anything is there or not.
func (s *Server) capabilitiesSelf(r *request) (*response, error) {
	paths := r.in.list("paths")
	if single := r.in.text("path"); len(paths) == 0 && single != "" {
		paths = []string{single}
	}
	if r.in.err != nil {
		return nil, r.in.err
	}
	if len(paths) == 0 {
		return nil, badRequest("paths must be supplied")
	}
	data := map[string]any{}
	for _, path := range paths {
		data[path] = s.capabilities(r.token, path)
	}
	if len(paths) == 1 {
		data["capabilities"] = data[paths[0]]
	}
	return &response{data: data}, nil
}

// capabilities returns what a token may do on a path: what the most specific
// block says, of those on one and the same path all together.
func (s *Server) capabilities(t *token, path string) []string {
	if slices.Contains(t.policies, "root") {
		return []string{"root"}
	}
	best := s.rulesOn(t, path)
	var all []string
	for _, capability := range capabilityOrder {
		if slices.ContainsFunc(best, func(b rule) bool { return slices.Contains(b.capabilities, capability) }) {
			all = append(all, capability)
		}
	}
	denied := slices.ContainsFunc(best, func(b rule) bool { return slices.Contains(b.capabilities, "deny") })
	if denied || len(all) == 0 {
		return []string{"deny"}
	}
	return all
}

// rulesOn returns the blocks that decide on a path, as allowedAt finds them.
func (s *Server) rulesOn(t *token, path string) []rule {
	var best []rule
	for _, name := range t.policies {
		p := s.policies[name]
		if p == nil {
			continue
		}
		for _, candidate := range p.rules {
			switch {
			case !candidate.matches(path):
			case len(best) == 0 || candidate.wins(best[0]) && !candidate.samePath(best[0]):
				best = []rule{candidate}
			case candidate.samePath(best[0]):
				best = append(best, candidate)
			}
		}
	}
	return best
}
