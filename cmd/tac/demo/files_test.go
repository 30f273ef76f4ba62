package demo

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/starter"
	"github.com/tigeraccess/tac/policies"
)

// The demo changes a few words of what `tac init` writes. However those files
// come to be written, the changes must arrive.
func TestWhatTheDemoChangesInTheStarterArrives(t *testing.T) {
	start := time.Date(2027, 3, 9, 12, 0, 0, 0, time.UTC)
	g := &guest{name: "tac-demo-x7k2q9"}
	all, err := starter.Files()
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, g.files(all))
	maps.Copy(all, rulesFrom(start))
	var files []policies.File
	for path, content := range all {
		if strings.HasPrefix(path, "policies/") {
			files = append(files, policies.File{Path: path, Data: []byte(content)})
		}
	}
	set, findings := policies.Load(files, time.LoadLocation)
	if set.Err() != nil {
		t.Fatal(findings)
	}
	for i, name := range []string{"postgres-prod", "bastion"} {
		r, _ := set.Resource(name)
		if want := g.targets()[i]; !reflect.DeepEqual(r.Vault, want) {
			t.Errorf("%s is at %+v, not at %+v", name, r.Vault, want)
		}
	}
	alice, _ := set.PersonByLogin("alice")
	if set.Holds("on-call", alice.Principal, policies.Facts{At: start}) != policies.Yes {
		t.Error("alice is not on call when the demo begins")
	}
	bob, _ := set.PersonByLogin("bob")
	d := set.Evaluate(policies.Request{
		Requester: bob.Principal, Resource: "postgres-prod", Duration: time.Hour, Reason: "payments are down", Ticket: "INC-1", BreakGlass: true,
	}, policies.Facts{At: start, Overdue: &policies.Overdue{ReadAt: start}})
	if d.Outcome != policies.Allow {
		t.Errorf("bob cannot break the glass: %s", d.Nearest)
	}
}
