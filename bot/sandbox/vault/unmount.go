package vault

import (
	"maps"
	"slices"
	"strings"
)

// deleteAuthMount ends an auth method together with the tokens that it gave.
func (s *Server) deleteAuthMount(r *request) (*response, error) {
	path := "auth/" + r.vars["path"] + "/"
	if s.mounts[path] == nil {
		return nil, nil
	}
	delete(s.mounts, path)
	for _, t := range s.tokens {
		if strings.HasPrefix(t.path, path) {
			s.endToken(t, "unmounted")
		}
	}
	return nil, nil
}

func (s *Server) listAccessors(*request) (*response, error) {
	return listing(slices.Sorted(maps.Keys(s.accessors)))
}
