package policies

import (
	"testing"
	"time"
)

func TestLongestIsTheLeastOfAllCeilings(t *testing.T) {
	set, findings := Load([]File{{Path: "policies/all.yaml", Data: []byte(`kind: Resource
metadata: {name: orders}
spec: {owners: [dba], max_duration: 6h, vault: {engine: database, path: database/creds/orders, policy: tac-orders}}
---
kind: Resource
metadata: {name: alone}
spec: {owners: [dba], vault: {engine: database, path: database/creds/alone, policy: tac-alone}}
---
kind: AccessPolicy
metadata: {name: one}
spec: {resource: orders, max_duration: 12h, approval: {required_approvers: 1, approver_roles: [dba]}}
---
kind: AccessPolicy
metadata: {name: two}
spec: {resource: orders, max_duration: 4h, approval: {required_approvers: 1, approver_roles: [dba]}}
---
kind: Role
metadata: {name: dba}
spec: {members: [carol]}
---
kind: People
metadata: {name: all}
spec: {people: [{github: carol, id: 1003}]}
`)}}, time.LoadLocation)
	if set.Err() != nil {
		t.Fatal(set.Err(), findings)
	}
	for name, want := range map[string]time.Duration{"orders": 4 * time.Hour, "alone": 0, "nowhere": 0} {
		if got := set.Longest(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
