package demo_test

import (
	"strings"
	"testing"

	"github.com/tigeraccess/tac/cmd/tac/demo"
)

func TestEveryClaimOfTheDemoHolds(t *testing.T) {
	var out strings.Builder
	err := demo.Run(t.Context(), demo.Options{Once: true, Out: &out, Log: testWriter{t}})
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
}
