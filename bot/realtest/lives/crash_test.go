package lives

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
)

// point is one call of a life at which the replica that makes it is lost.
type point struct {
	method, path string // the path in its Normal form
	nth          int    // among the calls of this method and path
}

func (p point) String() string { return fmt.Sprintf("%s %s #%d", p.method, p.path, p.nth+1) }

// accident lets something happen at the point, in the stage of a name.
func (p point) accident(stage string, when parts.Moment, do func()) parts.Accident {
	return parts.Accident{
		Method: p.method, Path: strings.ReplaceAll(p.path, "NAME", stage), Skip: p.nth, When: when, Do: do,
	}
}

// mostOfAKind is how many calls of one kind are crash points. Of those that
// change something it is more than a life needs; looking is repeated by sweeps
// as often as they like, and what matters is only what it comes before.
func (p point) mostOfAKind() int {
	switch {
	case !p.looks():
		return 9
	case strings.Contains(p.path, "lookup"):
		return 3 // before the end, in its middle, and as its proof
	}
	return 1
}

// looks reports whether a call changes nothing, so that it leaves nothing
// behind whoever heard of its answer. The creds call is a GET that makes
// something.
func (p point) looks() bool {
	if p.method == http.MethodGet {
		return !strings.Contains(p.path, "/creds/")
	}
	return strings.Contains(p.path, "lookup") || strings.HasPrefix(p.path, "/v1/transit/verify/")
}

// points returns the calls of a calm life in their order.
func points(calls []parts.Call, name string) (all []point) {
	seen := map[point]int{}
	for _, c := range calls {
		p := point{method: c.Method, path: strings.ReplaceAll(parts.Normal(c.Path), name, "NAME")}
		n := seen[p]
		if seen[p]++; n < p.mostOfAKind() {
			p.nth = n
			all = append(all, p)
		}
	}
	return all
}

// crashLife is a life that is played over and over.
type crashLife struct {
	props func(name string) prop
	// holds plays the life up to the credential in somebody's hands; ends
	// plays the rest.
	holds func(s *stage) (id string)
	ends  func(s *stage, id string)
	// between is played between the two. Where it is there, it alone is
	// disturbed.
	between func(s *stage, id string)
}

// calm plays the life undisturbed and returns its crash points.
func (l crashLife) calm(t *testing.T) []point {
	t.Helper()
	s := newStage(t, shared.vault, shared.postgres, l.props)
	r := s.start("one")
	id := l.holds(s)
	from, to := 0, -1
	if l.between != nil {
		from = len(r.wire.Calls())
		l.between(s, id)
		to = len(r.wire.Calls())
	}
	l.ends(s, id)
	s.ended(id, 15*time.Minute, noStray)
	calls := r.wire.Calls()
	if to < 0 {
		to = len(calls)
	}
	return points(calls[from:to], s.name)
}

// crash plays the life with one accident, and reports whether it came to that:
// sweeps make some calls now earlier and now later, or not at all. Where the first replica is killed,
// a second is started in its place: a new process, which knows nothing but
// what Vault and the repository say. Where only an answer is lost both live.
func (l crashLife) crash(t *testing.T, p point, when parts.Moment) bool {
	t.Helper()
	s := newStage(t, shared.vault, shared.postgres, l.props)
	first := s.launch("first")
	var replaced sync.WaitGroup
	accident := p.accident(s.name, when, func() {
		if when != parts.Lost {
			first.Kill()
		}
		replaced.Go(func() { s.start("second") })
	})
	if l.between == nil {
		first.wire.Order(accident)
	}
	s.must(s.front.Another(first.URL))
	id := l.holds(s)
	if l.between != nil {
		first.wire.Order(accident)
		l.between(s, id)
	}
	l.ends(s, id)
	s.ended(id, 15*time.Minute, lazily)
	replaced.Wait()
	if !first.wire.Struck() {
		return false
	}
	if when != parts.Lost && first.Alive() {
		t.Error("the first replica was to be killed")
	}
	tally.crashPoints.Add(1)
	return true
}

// attempts is how many lives are given to one point.
const attempts = 3

func (l crashLife) everyPoint(t *testing.T) {
	all := l.calmly(t)
	if len(all) < 15 {
		t.Fatalf("an undisturbed life made only %d calls worth losing: %v", len(all), all)
	}
	var tried, notMade atomic.Int64
	t.Run("points", func(t *testing.T) {
		for _, p := range all {
			moments := []parts.Moment{parts.Before, parts.After, parts.Lost}
			if p.looks() {
				moments = moments[:1]
			}
			for _, when := range moments {
				t.Run(fmt.Sprintf("%s/%s", when, p), func(t *testing.T) {
					t.Parallel()
					for range attempts {
						if l.crash(t, p, when) {
							tried.Add(1)
							return
						}
					}
					notMade.Add(1)
					t.Logf("in %d lives the call %s was not made", attempts, p)
				})
			}
		}
	})
	// A calm life may write a note more than a disturbed one. Where many
	// calls were never made, the crash points are not what they seem.
	if notMade.Load()*20 > tried.Load() {
		t.Errorf("%d points were tried, and at %d the call was never made", tried.Load(), notMade.Load())
	}
}

// calmly plays two calm lives and returns the calls of both: one that only
// one of them made is a matter of chance.
func (l crashLife) calmly(t *testing.T) []point {
	var lists [2][]point
	t.Run("calm", func(t *testing.T) {
		for i := range lists {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				lists[i] = l.calm(t)
			})
		}
	})
	return slices.DeleteFunc(lists[0], func(p point) bool { return !slices.Contains(lists[1], p) })
}

func TestADatabaseGrantSurvivesTheLossOfAReplicaAtEveryCall(t *testing.T) {
	t.Parallel()
	crashLife{
		props: database(shared.postgres, "payments"),
		holds: func(s *stage) string {
			id := s.asked("postgres-prod", 2*time.Hour)
			if said := s.psql(s.takes(id)); !strings.Contains(said, "(1 row)") {
				s.t.Errorf("the credential does not log in: %s", said)
			}
			return id
		},
		ends: func(s *stage, id string) { s.drops(id) },
	}.everyPoint(t)
}

// drops ends the grant early, again and again until it is heard.
func (s *stage) drops(id string) {
	s.t.Helper()
	s.until("the drop is heard", 2*time.Minute, func() error {
		a := s.as("alice", "access", "drop", id)
		if a.code == 0 || strings.Contains(a.stderr, "has ended") || strings.Contains(a.stderr, "is over") {
			return nil
		}
		return fmt.Errorf("%s", a)
	})
}
