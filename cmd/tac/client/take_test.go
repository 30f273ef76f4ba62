package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tigeraccess/tac/grants"
)

const anID = grants.ID("20261122-k3v9q2m4tz")

// vaultlike is a server with one grant until 14:00. It issues user1, user2...
// and knows the claimant who took the last one.
type vaultlike struct {
	engine string
	phase  grants.Phase
	until  time.Time // of the next credential
	holder string
	issued int
	down   bool
	held   bool          // it gives nothing new
	longer time.Duration // by which the grant was extended
}

func (v *vaultlike) grant() map[string]any {
	return map[string]any{
		"id": anID, "phase": v.phase, "resource": "postgres-prod", "requester": "alice", "requester_id": 1001,
		"engine": v.engine, "ends_at": noon.Add(2*time.Hour + v.longer), "approvers": []string{}, "connect": "psql -h db.internal payments",
	}
}

func (v *vaultlike) answer(w http.ResponseWriter, r *http.Request, _ int) {
	switch {
	case v.down:
		refuse(w, 503, "unavailable", "Vault does not answer as it should")
	case v.phase == "":
		refuse(w, 404, "not_found", "there is no such grant")
	case r.Method == http.MethodGet:
		reply(w, 200, v.grant())
	default:
		v.claim(w, r)
	}
}

func (v *vaultlike) claim(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Key       string `json:"key"`
		Replace   bool   `json:"replace"`
		PublicKey string `json:"public_key"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		refuse(w, 400, "invalid", err.Error())
		return
	}
	switch {
	case v.phase == grants.PhaseClosed:
		refuse(w, 409, "conflict", "this grant has ended; ask again")
		return
	case v.holder != "" && v.holder != ask.Key && !ask.Replace:
		refuse(w, 409, "conflict", "it was taken already, somewhere else; --replace retires that one")
		return
	}
	if v.held {
		refuse(w, 503, "held", "the set-up is wrong: the role signs for an hour")
		return
	}
	v.holder, v.phase = ask.Key, grants.PhaseActive
	v.issued++
	c := map[string]any{"engine": v.engine, "until": v.until, "fields": map[string]string{}}
	if v.engine == EngineSSH {
		c["signed_key"] = fmt.Sprintf("ssh-ed25519-cert-v01@openssh.com slice%d of %s", v.issued, ask.PublicKey)
	} else {
		c["username"], c["password"] = fmt.Sprintf("user%d", v.issued), "s'ecret"
	}
	reply(w, 200, map[string]any{"grant": v.grant(), "credential": c})
}

func takeRig(t *testing.T, v *vaultlike) *rig {
	t.Helper()
	return newRig(t, v.answer).loggedIn(t)
}

func TestACredentialIsKeptAndUsedAgainWhileItLives(t *testing.T) {
	v := &vaultlike{engine: "database", phase: grants.PhaseApproved, until: noon.Add(time.Hour)}
	g := takeRig(t, v)
	now := noon
	g.Now = func() time.Time { return now }
	take := func(want string, reused bool) {
		t.Helper()
		got, err := g.Take(t.Context(), anID, false)
		if err != nil || got.Credential.Username != want || got.Reused != reused {
			t.Errorf("took %s (reused %v), error %v; want %s (reused %v)", got.Credential.Username, got.Reused, err, want, reused)
		}
	}
	take("user1", false)
	take("user1", true)
	held, err := g.Store.Held(g.Server, anID)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(held.credentialFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}
	v.down = true
	got, err := g.Take(t.Context(), anID, false)
	if err != nil || got.Credential.Username != "user1" || got.Unsure == nil {
		t.Errorf("with the server down: %+v, %v", got, err)
	}
	v.down = false
	v.phase = grants.PhaseApproved // it was retired meanwhile
	take("user2", false)
	now = noon.Add(90 * time.Minute) // it has ended, the grant has not
	v.until = noon.Add(2 * time.Hour)
	take("user3", false)
	v.phase = grants.PhaseClosed
	if _, err := g.Take(t.Context(), anID, false); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("after the end: %v", err)
	}
	if _, err := os.Stat(held.dir); !os.IsNotExist(err) {
		t.Errorf("after the end something is still kept: %v", err)
	}
}

func TestALostClaimIsClaimedAgainWithTheSameKey(t *testing.T) {
	v := &vaultlike{engine: "database", phase: grants.PhaseApproved, until: noon.Add(time.Hour)}
	g := takeRig(t, v)
	g.HTTP = &afterFirst{lossy{lose: 100}}
	if _, err := g.Take(t.Context(), anID, false); err == nil {
		t.Fatal("no answer came, and yet no error")
	}
	first := v.holder
	g.HTTP = nil // another run, later
	got, err := g.Take(t.Context(), anID, false)
	if err != nil || v.holder != first || got.Credential.Username != fmt.Sprintf("user%d", v.issued) {
		t.Errorf("took %+v, error %v, as %q and then %q", got.Credential, err, first, v.holder)
	}
}

// afterFirst loses all answers but the first.
type afterFirst struct{ lossy }

func (a *afterFirst) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return http.DefaultTransport.RoundTrip(r)
	}
	return a.lossy.RoundTrip(r)
}

func TestAClaimFromElsewhereNeedsReplace(t *testing.T) {
	v := &vaultlike{engine: "database", phase: grants.PhaseActive, until: noon.Add(time.Hour), holder: "the other machine's"}
	g := takeRig(t, v)
	if _, err := g.Take(t.Context(), anID, false); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("without replace: %v", err)
	}
	if got, err := g.Take(t.Context(), anID, true); err != nil || got.Credential.Username != "user1" {
		t.Errorf("with replace: %+v, %v", got, err)
	}
}

func TestAnSSHKeyIsMadeOnceAndItsCertificateFollows(t *testing.T) {
	v := &vaultlike{engine: EngineSSH, phase: grants.PhaseApproved, until: noon.Add(10 * time.Minute)}
	g := takeRig(t, v)
	now := noon
	g.Now = func() time.Time { return now }
	first, err := g.Take(t.Context(), anID, false)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := readPrivate(first.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	public := authorized(signer.PublicKey())
	now = now.Add(10*time.Minute - sliceLeft) // too little is left of the slice
	v.until = now.Add(10 * time.Minute)
	second, err := g.Take(t.Context(), anID, false)
	if err != nil || second.Reused {
		t.Fatalf("the second slice: %+v, %v", second, err)
	}
	for i, want := range []string{"slice1 of " + public, "slice2 of " + public} {
		if got := []Taken{first, second}[i].Credential.SignedKey; !strings.HasSuffix(got, want) {
			t.Errorf("certificate %d is %q, want %q", i+1, got, want)
		}
	}
	if data, err := readPrivate(second.CertFile); err != nil || !strings.Contains(string(data), "slice2") {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if second.CertFile != second.KeyFile+"-cert.pub" {
		t.Errorf("ssh would not find %s", second.CertFile)
	}
}

// TestACertificateStaysInPlaceWhileNothingNewIsGiven: a program that runs with
// the files finds them again, and the next certificate in them, when the hold
// is over.
func TestACertificateStaysInPlaceWhileNothingNewIsGiven(t *testing.T) {
	v := &vaultlike{engine: EngineSSH, phase: grants.PhaseApproved, until: noon.Add(10 * time.Minute)}
	g := takeRig(t, v)
	now := noon
	g.Now = func() time.Time { return now }
	first, err := g.Take(t.Context(), anID, false)
	if err != nil {
		t.Fatal(err)
	}
	holds := func(want string) {
		t.Helper()
		if data, err := readPrivate(first.CertFile); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("the file holds %q, %v; want %s", data, err, want)
		}
	}
	v.held = true
	now = noon.Add(5 * time.Minute)
	if got, err := g.Resign(t.Context(), anID); err != nil || !IsPassing(got.Unsure) {
		t.Errorf("while it is valid: %v, unsure %v", err, got.Unsure)
	}
	now = noon.Add(15 * time.Minute)
	if _, err := g.Resign(t.Context(), anID); !IsPassing(err) {
		t.Errorf("when it has ended: %v", err)
	}
	if err := g.Store.Sweep(now); err != nil {
		t.Error(err)
	}
	holds("slice1")
	v.held, v.until = false, now.Add(10*time.Minute)
	if got, err := g.Resign(t.Context(), anID); err != nil || got.Unsure != nil || got.CertFile != first.CertFile {
		t.Errorf("when the hold is over: %+v, %v", got, err)
	}
	holds("slice2")
	now = noon.Add(2*time.Hour + afterEnd)
	if err := g.Store.Sweep(now); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(first.CertFile); !os.IsNotExist(err) {
		t.Errorf("after the grant it is still there: %v", err)
	}
}

func TestWhatHasEndedIsSweptAway(t *testing.T) {
	v := &vaultlike{engine: "database", phase: grants.PhaseApproved, until: noon.Add(time.Hour)}
	g := takeRig(t, v)
	if _, err := g.Take(t.Context(), anID, false); err != nil {
		t.Fatal(err)
	}
	held, err := g.Store.Held(g.Server, anID)
	if err != nil {
		t.Fatal(err)
	}
	there := func(path string) bool { _, err := os.Stat(path); return err == nil }
	for _, tt := range []struct {
		after             time.Duration
		credential, claim bool
	}{{time.Hour + afterEnd - time.Second, true, true}, {time.Hour + afterEnd, false, true}, {31 * 24 * time.Hour, false, false}} {
		if err := os.Chtimes(held.claimFile(), noon, noon); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := g.Store.Sweep(noon.Add(tt.after)); err != nil {
			t.Fatal(err)
		}
		if there(held.credentialFile()) != tt.credential || there(held.claimFile()) != tt.claim {
			t.Errorf("after %v: credential %v, claim key %v", tt.after, there(held.credentialFile()), there(held.claimFile()))
		}
	}
}

// An extension must not cut a session: the credential that is kept goes on,
// also where nobody here heard of the extension before the old end.
func TestWhatIsKeptLastsAsLongAsAnExtendedGrant(t *testing.T) {
	v := &vaultlike{engine: "database", phase: grants.PhaseApproved, until: noon.Add(2 * time.Hour)}
	g := takeRig(t, v)
	now := noon
	g.Now = func() time.Time { return now }
	first, err := g.Take(t.Context(), anID, false)
	if err != nil {
		t.Fatal(err)
	}
	v.longer = time.Hour
	now = noon.Add(2*time.Hour + time.Minute)
	if err := g.Store.Sweep(now); err != nil {
		t.Fatal(err)
	}
	again, err := g.Take(t.Context(), anID, false)
	if err != nil || !again.Reused || again.Credential.Username != first.Credential.Username || !again.Credential.Until.Equal(noon.Add(3*time.Hour)) {
		t.Errorf("after the old end: %+v, %v", again, err)
	}
	v.longer = 2 * time.Hour
	if got, err := g.Renewed(t.Context(), anID); err != nil || !got.EndsAt.Equal(noon.Add(4*time.Hour)) {
		t.Errorf("renewed: %+v, %v", got, err)
	}
	now = noon.Add(3*time.Hour + time.Minute)
	if again, err = g.Take(t.Context(), anID, false); err != nil || !again.Reused || v.issued != 1 {
		t.Errorf("after the second extension: %+v, %v; %d issued", again, err, v.issued)
	}
	v.phase = grants.PhaseClosed
	if _, err := g.Take(t.Context(), anID, false); err == nil {
		t.Error("a grant that has ended gave a credential")
	}
	if held, err := g.Store.Held(g.Server, anID); err != nil {
		t.Error(err)
	} else if k, err := held.read(); k != nil || err != nil {
		t.Errorf("still kept: %+v, %v", k, err)
	}
}

// What ended before its grant did, as Vault's own limits can have it, ends
// there still.
func TestAnExtensionMakesNoCappedCredentialLonger(t *testing.T) {
	v := &vaultlike{engine: "database", phase: grants.PhaseApproved, until: noon.Add(time.Hour)}
	g := takeRig(t, v)
	if _, err := g.Take(t.Context(), anID, false); err != nil {
		t.Fatal(err)
	}
	v.longer = time.Hour
	if got, err := g.Take(t.Context(), anID, false); err != nil || !got.Credential.Until.Equal(noon.Add(time.Hour)) {
		t.Errorf("it lasts until %v, %v", got.Credential.Until, err)
	}
}

func TestAnIDIsNeverAPath(t *testing.T) {
	for _, id := range []grants.ID{"", "..", "../../x", "20261122-k3v9q2m4tz/.."} {
		if _, err := (Store{Dir: t.TempDir()}).Held("https://tac.acme.test", id); err == nil {
			t.Errorf("%q names a folder", id)
		}
	}
}

func TestForgetDeletesCredentialsToo(t *testing.T) {
	v := &vaultlike{engine: "database", phase: grants.PhaseApproved, until: noon.Add(time.Hour)}
	g := takeRig(t, v)
	if _, err := g.Take(t.Context(), anID, false); err != nil {
		t.Fatal(err)
	}
	if was, err := g.Store.Forget(g.Server); !was || err != nil {
		t.Errorf("forgot %v, %v", was, err)
	}
	if _, err := os.Stat(g.Store.folder(g.Server)); !os.IsNotExist(err) {
		t.Errorf("something is still kept: %v", err)
	}
	if was, err := g.Store.Forget(g.Server); was || err != nil {
		t.Errorf("forgot again: %v, %v", was, err)
	}
}
