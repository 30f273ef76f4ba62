package vaultlease_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// fill sets every field below v to something of its own, so that a field that
// the stored form forgets is found.
func fill(t *testing.T, v reflect.Value, n *int64) {
	t.Helper()
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(start.Add(time.Duration(*n) * time.Millisecond)))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n)
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0), n)
		fill(t, v.Index(1), n)
	case v.Kind() == reflect.String:
		v.SetString(strings.Repeat("x", int(*n)))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(*n * 1_000_000_007)
	default:
		t.Fatalf("cannot fill a %s", v.Type())
	}
}

func TestEveryFieldSurvivesStoring(t *testing.T) {
	s := newScene(t)
	a, ctx := s.replica("a"), t.Context()
	var n int64
	rec, req := &grants.Record{}, &grants.Request{}
	fill(t, reflect.ValueOf(rec).Elem(), &n)
	fill(t, reflect.ValueOf(req).Elem(), &n)
	rec.Version, rec.Grant.ID, rec.State = 0, grantID, grants.Issued
	req.Version, req.Grant.ID = 0, grantID
	s.must(a.PutRecord(ctx, rec))
	s.must(a.PutRequest(ctx, req))
	gotRec, err := a.Record(ctx, grantID)
	s.must(err)
	same(t, "record", *gotRec, *rec)
	gotReq, err := a.Request(ctx, grantID.Key())
	s.must(err)
	same(t, "request", *gotReq, *req)
	empty := &grants.Record{State: grants.Approved, Grant: grants.Grant{ID: "20261122-0000000000"}}
	s.must(a.PutRecord(ctx, empty))
	got, err := a.Record(ctx, "20261122-0000000000")
	s.must(err)
	same(t, "empty record", *got, *empty)
}

// same names the fields that differ.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range w.NumField() {
		if !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s, field %s: got %+v, want %+v", what, w.Type().Field(i).Name, g.Field(i), w.Field(i))
		}
	}
}

func TestAbsenceIsAValueAndDeletionIsTampering(t *testing.T) {
	s := newScene(t)
	a, ctx := s.replica("a"), t.Context()
	rec, err := a.Record(ctx, grantID)
	if rec != nil || err != nil {
		t.Fatalf("never written: %v, %v", rec, err)
	}
	if ids, err := a.Records(ctx); len(ids) != 0 || err != nil {
		t.Fatalf("never written: %v, %v", ids, err)
	}
	if h, err := a.HighWater(ctx); h != nil || err != nil {
		t.Fatalf("never written: %v, %v", h, err)
	}
	s.consent(a, database)
	ids, err := a.Records(ctx)
	if !slices.Equal(ids, []grants.ID{grantID}) || err != nil {
		t.Fatalf("listed %v, %v", ids, err)
	}
	_, err = s.admin.Logical().DeleteWithContext(ctx, "tac/data/grants/"+string(grantID))
	s.must(err)
	if rec, err := a.Record(ctx, grantID); err == nil || rec != nil || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("deleted: %v, %v", rec, err)
	}
	wants(t, a.PutRecord(ctx, s.approved(database)), world.ErrLost)
}

func TestAnErrorTeachesNothing(t *testing.T) {
	for name, fault := range map[string]sandbox.Fault{
		"no such engine":    {Status: 404, Body: `{"errors":["no handler for route \"tac/data/x\". route entry not found."]}`},
		"404 of a proxy":    {Status: 404, Body: "<html>not found</html>"},
		"sealed":            {Status: 503, Body: `{"errors":["Vault is sealed"]}`},
		"permission denied": {Status: 403, Body: `{"errors":["permission denied"]}`},
		"an empty 200":      {Status: 200, Body: `{}`},
		"a 200 without it":  {Status: 200, Body: `{"data":{"data":null,"metadata":{"version":3}}}`},
		"not JSON":          {Status: 200, Body: `<html>`},
		"a newer writer":    {Status: 200, Body: `{"data":{"data":{"by":"x","phase":"ISSUED","colour":"red","grant":{"id":"` + string(grantID) + `"}},"metadata":{"version":3}}}`},
		"a newer phase":     {Status: 200, Body: `{"data":{"data":{"by":"x","phase":"PAUSED","grant":{"id":"` + string(grantID) + `"}},"metadata":{"version":3}}}`},
		"another's record":  {Status: 200, Body: `{"data":{"data":{"by":"x","phase":"ISSUED","grant":{"id":"20261122-0000000000"}},"metadata":{"version":3}}}`},
		"a standby":         {Status: 307, Header: http.Header{"Location": {"http://127.0.0.1:1/v1/tac/data/x"}}},
		"a lost connection": {When: sandbox.Before},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			s.consent(a, database)
			fault.Path, fault.Times = "tac/data/", -1
			if fault.When == 0 {
				fault.When = sandbox.Answer
			}
			s.vault.Order(fault)
			if rec, err := a.Record(t.Context(), grantID); err == nil || rec != nil {
				t.Errorf("got %+v, %v", rec, err)
			}
		})
	}
}

func TestAWriteWhoseAnswerIsLostIsNeitherRepeatedNorTakenForLost(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   sandbox.Fault
		want    error
		version int
	}{
		"answer lost":               {sandbox.Fault{When: sandbox.LostReply}, nil, 2},
		"502 after it was done":     {sandbox.Fault{When: sandbox.AnswerAfter, Status: 502, Body: "<html>"}, nil, 2},
		"500 after it was done":     {sandbox.Fault{When: sandbox.AnswerAfter, Status: 500, Body: `{"errors":["internal error"]}`}, nil, 2},
		"an odd answer":             {sandbox.Fault{When: sandbox.AnswerAfter, Status: 200, Body: `{}`}, nil, 2},
		"sent twice by a proxy":     {sandbox.Fault{When: sandbox.AnswerAfter, Status: 400, Body: `{"errors":["check-and-set parameter did not match the current version"]}`}, nil, 2},
		"never sent":                {sandbox.Fault{When: sandbox.Before}, world.ErrAmbiguous, 1},
		"redirect":                  {sandbox.Fault{When: sandbox.Answer, Status: 307, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, world.ErrAmbiguous, 1},
		"sealed":                    {sandbox.Fault{When: sandbox.Answer, Status: 503, Body: `{"errors":["Vault is sealed"]}`}, world.ErrAmbiguous, 1},
		"refused, and by us it was": {sandbox.Fault{When: sandbox.Answer, Status: 400, Body: `{"errors":["check-and-set parameter did not match the current version"]}`}, world.ErrLost, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			rec := s.consent(a, database)
			rec.Started = true
			tt.fault.Method, tt.fault.Path = "PUT", "tac/data/"
			s.vault.Order(tt.fault)
			s.vault.ResetCalls()
			err := a.PutRecord(t.Context(), rec)
			if !errors.Is(err, tt.want) || rec.Version != tt.version {
				t.Errorf("got %v at version %d, want %v at %d", err, rec.Version, tt.want, tt.version)
			}
			writes := 0
			for _, c := range s.vault.Calls() {
				if c.Method == "PUT" {
					writes++
				}
			}
			if writes != 1 {
				t.Errorf("%d writes", writes)
			}
		})
	}
}

func TestAWriteOverSomethingNewerIsLostEvenWithItsAnswer(t *testing.T) {
	s := newScene(t)
	a, b := s.replica("a"), s.replica("b")
	s.consent(a, database)
	stale := s.record(b)
	fresh := s.record(a)
	fresh.Started = true
	s.must(a.PutRecord(t.Context(), fresh))
	wants(t, b.PutRecord(t.Context(), stale), world.ErrLost)
	if stale.Version != 1 {
		t.Errorf("version %d", stale.Version)
	}
	s.vault.Order(sandbox.Fault{Method: "PUT", Path: "tac/data/", When: sandbox.LostReply})
	wants(t, b.PutRecord(t.Context(), stale), world.ErrLost)
	h := &world.HighWater{Commit: "c1"}
	s.must(a.PutHighWater(t.Context(), h))
	wants(t, b.PutHighWater(t.Context(), &world.HighWater{Commit: "c2"}), world.ErrLost)
	got, err := b.HighWater(t.Context())
	if err != nil || *got != (world.HighWater{Version: 1, Commit: "c1"}) {
		t.Errorf("high water %+v, %v", got, err)
	}
}

func TestKeysThatCouldLeaveTheirFolderAreRefused(t *testing.T) {
	s := newScene(t)
	a, ctx := s.replica("a"), t.Context()
	s.vault.ResetCalls()
	for _, key := range []string{"", "..", "../grants/x", "k3v9q2m4tz/x", "K3V9Q2M4TZ"} {
		if _, err := a.Request(ctx, key); err == nil {
			t.Errorf("request %q was asked for", key)
		}
		if _, err := a.Record(ctx, grants.ID(key)); err == nil {
			t.Errorf("record %q was asked for", key)
		}
		if err := a.PutRecord(ctx, &grants.Record{Grant: grants.Grant{ID: grants.ID(key)}}); err == nil {
			t.Errorf("record %q was written", key)
		}
	}
	if calls := s.vault.Calls(); len(calls) != 0 {
		t.Errorf("vault was asked: %v", calls)
	}
}

func TestStrangersInAFolderAreLeftOut(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	s.must(a.PutRequest(t.Context(), &grants.Request{Grant: grants.Grant{ID: grantID}}))
	s.write("tac/data/intents/readme", values{"data": values{"x": "y"}, "options": values{"cas": 0}})
	s.write("tac/data/intents/more/k3v9q2m4tz", values{"data": values{"x": "y"}, "options": values{"cas": 0}})
	keys, err := a.Requests(t.Context())
	if err != nil || !slices.Equal(keys, []string{grantID.Key()}) || !strings.Contains(s.logs.String(), "readme") {
		t.Errorf("keys %v, %v", keys, err)
	}
}

func TestACancelledCallIsAnError(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec := s.consent(a, database)
	ctx, cancel := context.WithCancel(t.Context())
	s.vault.Order(sandbox.Fault{Method: "PUT", Path: "tac/data/", When: sandbox.LostReply, Do: func(*http.Request) { cancel() }})
	wants(t, a.PutRecord(ctx, rec), world.ErrAmbiguous)
}

// Where the configured mount lies below a KV v2 engine, or on none, Vault says
// 404 to everything. That is not the absence of records: taken for it, a grant
// that lives would look like one that never began.
func TestALookInTheWrongPlaceProvesNoAbsence(t *testing.T) {
	for name, body := range map[string]string{
		"below an engine": `{"data":null,"warnings":["Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use."]}`,
		"on its root":     `{"data":null,"warnings":["Non-listing operations on the root of a K/V v2 mount are not supported."]}`,
		"on no engine":    `{"errors":["no handler for route \"tac/data/x\". route entry not found."]}`,
	} {
		s := newScene(t)
		a := s.replica("a")
		s.vault.Order(sandbox.Fault{Method: "GET", Path: "tac/", When: sandbox.Answer, Times: -1, Status: 404, Body: body})
		if r, err := a.Record(t.Context(), grantID); err == nil {
			t.Errorf("%s: the record is said to be absent (%v)", name, r)
		}
		if keys, err := a.Records(t.Context()); err == nil {
			t.Errorf("%s: there are said to be no records (%v)", name, keys)
		}
	}
}
