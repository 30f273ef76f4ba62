package server

import (
	"errors"
	"testing"

	"github.com/tigeraccess/tac/grants"
)

// TestTheZeroValueHoldsEverything: whoever forgets to look gives nothing.
func TestTheZeroValueHoldsEverything(t *testing.T) {
	var h holding
	for what, target := range map[string]grants.Target{
		"a target":                      {Engine: grants.EngineDatabase, Path: "database/creds/postgres-prod", Policy: "tac-postgres-prod"},
		"a target that nobody can tell": {},
	} {
		if err := h.on("postgres-prod", target); !errors.Is(err, errNotChecked) {
			t.Errorf("%s: held by %v", what, err)
		}
	}
	if err := h.why(); !errors.Is(err, errNotChecked) {
		t.Errorf("whoever watches is told %v", err)
	}
}
