package demo_test

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
)

// TestAReplicaThatHoldsAccessBackIsNotReadyToGiveIt: /readyz says yes for
// one, since what ends access comes through it too.
func TestAReplicaThatHoldsAccessBackIsNotReadyToGiveIt(t *testing.T) {
	w := newWorld(t, nil)
	r, err := w.NewReplica("one", func(_ *server.Config, o *server.Options) { o.Unchecked = false })
	if err != nil {
		t.Fatal(err)
	}
	w.Vault.Seal()
	w.Run(context.WithoutCancel(t.Context()), r)
	t.Cleanup(func() { w.Stop(r) })
	until(t, "its door is open", func() bool { return doorIsOpen(t, r) })
	if ready, err := r.Ready(t.Context()); ready || err != nil {
		t.Errorf("while access is held back: %t, %v", ready, err)
	}
	w.Vault.Unseal()
	until(t, "it is ready", func() bool {
		ready, err := r.Ready(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ready
	})
}

func doorIsOpen(t *testing.T, r *demo.Replica) bool {
	t.Helper()
	answer, err := http.Get(r.URL() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode == http.StatusOK
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}
