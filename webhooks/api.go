package webhooks

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

//go:embed openapi.json
var openapi []byte

func description(c *gin.Context) {
	c.Data(http.StatusOK, "application/json; charset=utf-8", openapi)
}

// personal is a handler for somebody whose token was proved.
type personal func(c *gin.Context, who grants.Principal)

const loginHint = "; run `tac login`"

// as proves at every call whose token it is, then lets h answer them.
func (e *edge) as(h personal) gin.HandlerFunc { return e.proved(h, false) }

// ending is as, for what takes access away: there, while GitHub does not
// answer, a proof of a short while ago will do.
func (e *edge) ending(h personal) gin.HandlerFunc { return e.proved(h, true) }

func (e *edge) proved(h personal, ending bool) gin.HandlerFunc {
	return func(c *gin.Context) {
		token, ok := bearer(c.Request.Header)
		if !ok {
			e.unauthenticated(c, "this needs a token, as Authorization: Bearer"+loginHint)
			return
		}
		who, err := e.Identity.User(c.Request.Context(), token)
		if err != nil && ending && !e.IsRefused(err) {
			if recent, ok := e.Identity.Recent(token); ok {
				who, err = recent, nil
			}
		}
		switch {
		case err != nil && e.IsRefused(err):
			e.unauthenticated(c, "the token is not one that our own GitHub App issued, or it has expired"+loginHint)
		case err != nil:
			e.fail(c, &bot.Error{Code: bot.CodeUnavailable, Cause: err,
				Message: "GitHub does not say whose token this is; nothing was done, please try again"})
		case who.ID <= 0 || who.GitHub == "":
			// Nobody is never somebody.
			e.fail(c, fmt.Errorf("prove a token: the answer names nobody"))
		default:
			h(c, who)
		}
	}
}

func (e *edge) unauthenticated(c *gin.Context, sentence string) {
	c.Header("WWW-Authenticate", `Bearer realm="tac"`)
	e.refuse(c, codeUnauthenticated, sentence)
}

// bearer returns the token of a request that carries exactly one.
func bearer(h http.Header) (world.Secret, bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return world.Secret{}, false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t") {
		return world.Secret{}, false
	}
	return world.NewSecret(token), true
}

func (e *edge) login(c *gin.Context) {
	answer(c, http.StatusOK, struct {
		ClientID  string `json:"client_id"`
		GitHubURL string `json:"github_url"`
	}{e.ClientID, e.GitHubURL})
}

func (e *edge) whoami(c *gin.Context, who grants.Principal) {
	answer(c, http.StatusOK, struct {
		GitHub string `json:"github"`
		ID     int64  `json:"id"`
	}{who.GitHub, who.ID})
}

// requestAnswer is what came of a request.
type requestAnswer struct {
	ID       grants.ID `json:"id,omitempty"`
	Extends  grants.ID `json:"extends,omitempty"` // of an extension: the grant that it makes longer
	Existing bool      `json:"existing"`
	// Decision is missing where the request was known already: it was made
	// then, and the grant's explanation tells it.
	Decision *policies.Decision `json:"decision,omitempty"`
}

func (e *edge) request(c *gin.Context, who grants.Principal) {
	ask, err := readAsk(c.Request)
	if err != nil {
		e.fail(c, err)
		return
	}
	ask.Requester, ask.Via = who, grants.ViaCLI
	got, err := e.Bot.Request(c.Request.Context(), ask)
	if err != nil {
		e.fail(c, err)
		return
	}
	accepted(c, got, ask.DryRun)
}

// accepted answers with what came of a request or an extension.
func accepted(c *gin.Context, got bot.Answer, dryRun bool) {
	out := requestAnswer{ID: got.ID, Extends: got.Extends, Existing: got.Existing}
	if !got.Existing || got.Decision.Rule != "" {
		out.Decision = &got.Decision
	}
	if dryRun {
		answer(c, http.StatusOK, out)
		return
	}
	c.Header("Location", apiPath+"/grants/"+string(got.ID))
	answer(c, http.StatusAccepted, out)
}

var keyForm = regexp.MustCompile(`^[!-~]{1,200}$`)

// readAsk reads what is asked for. Who asks comes from the token, never from
// the body.
func readAsk(r *http.Request) (bot.Ask, error) {
	var ask bot.Ask
	var duration, start string
	err := readBody(r.Body, map[string]any{
		"resource": &ask.Resource, "duration": &duration, "reason": &ask.Reason,
		"ticket": &ask.Ticket, "start": &start, "dry_run": &ask.DryRun, "break_glass": &ask.BreakGlass,
	})
	if err != nil {
		return ask, err
	}
	if ask.Duration, err = grants.ParseDuration(duration); err != nil {
		return ask, invalid("duration: %v", err)
	}
	if start != "" {
		if ask.Start, err = time.Parse(time.RFC3339, start); err != nil {
			return ask, invalid("start: %s is not a time; write 2026-11-22T18:00:00Z", strictyaml.Quote(start))
		}
		ask.Start = ask.Start.UTC()
	}
	ask.Key, err = readKey(r.Header, ask.DryRun)
	return ask, err
}

// readKey returns what makes a request the same however often it is sent.
func readKey(h http.Header, dryRun bool) (string, error) {
	key := h.Get("Idempotency-Key")
	if !dryRun && !keyForm.MatchString(key) {
		return key, invalid("send a header Idempotency-Key of 1 to 200 random characters without blanks; with the same one again, a repetition is the same request")
	}
	return key, nil
}

// overPhases are those in which nothing is alive and nothing is to be done.
var overPhases = []grants.Phase{grants.PhaseClosed, grants.PhaseDenied, grants.PhaseLapsed, grants.PhaseWithdrawn}

func isOpen(v bot.View) bool { return !slices.Contains(overPhases, v.Phase) }

func (e *edge) list(c *gin.Context, who grants.Principal) {
	state, resource := c.DefaultQuery("state", "open"), c.Query("resource")
	if state != "open" && state != "all" {
		e.fail(c, invalid("state is open or all"))
		return
	}
	views, err := e.Bot.List(c.Request.Context(), who)
	if err != nil {
		e.fail(c, err)
		return
	}
	out := struct {
		Grants []bot.View `json:"grants"`
	}{[]bot.View{}}
	for _, v := range views {
		if (state == "all" || isOpen(v)) && (resource == "" || v.Resource == resource) {
			out.Grants = append(out.Grants, v)
		}
	}
	answer(c, http.StatusOK, out)
}

// grantOf returns the id in the path; where there is none it has answered.
func (e *edge) grantOf(c *gin.Context) (grants.ID, bool) {
	id, err := grants.ParseID(c.Param("id"))
	if err != nil {
		e.fail(c, invalid("%v", err))
		return "", false
	}
	return id, true
}

// say answers with v, or with what err is.
func (e *edge) say(c *gin.Context, v any, err error) {
	if err != nil {
		e.fail(c, err)
		return
	}
	answer(c, http.StatusOK, v)
}

func (e *edge) show(c *gin.Context, who grants.Principal) {
	if id, ok := e.grantOf(c); ok {
		v, err := e.Bot.Show(c.Request.Context(), who, id)
		e.say(c, v, err)
	}
}

func (e *edge) explain(c *gin.Context, who grants.Principal) {
	if id, ok := e.grantOf(c); ok {
		v, err := e.Bot.Explain(c.Request.Context(), who, id)
		e.say(c, v, err)
	}
}

// mostWork bounds what is done for one call that changes something.
const mostWork = 90 * time.Second

// settled is for calls that change something in Vault: they go on when the
// client goes away. Cut off half way, a claim leaves a credential that has to
// be retired, and nobody who wants access revoked wants it half revoked.
func settled(c *gin.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.Request.Context()), mostWork)
}

// credential is what a claimant gets.
type credential struct {
	Engine    string            `json:"engine"`
	Username  string            `json:"username,omitempty"`
	Password  string            `json:"password,omitempty"`
	Fields    map[string]string `json:"fields"`
	SignedKey string            `json:"signed_key,omitempty"`
	Until     time.Time         `json:"until"`
}

// revealed is the only place of the edge where an issued secret becomes text:
// in the answer to the one who was proved to be its holder.
func revealed(c *world.Credential) credential {
	out := credential{
		Engine: c.Engine, Username: c.Username, Password: c.Password.Reveal(),
		Fields: map[string]string{}, SignedKey: c.SignedKey, Until: c.Until.UTC(),
	}
	for name, value := range c.Fields {
		out.Fields[name] = value.Reveal()
	}
	return out
}

func (e *edge) claim(c *gin.Context, who grants.Principal) {
	id, ok := e.grantOf(c)
	if !ok {
		return
	}
	var ask bot.ClaimAsk
	if err := readBody(c.Request.Body, map[string]any{"key": &ask.Key, "replace": &ask.Replace, "public_key": &ask.PublicKey, "csr": &ask.CSR}); err != nil {
		e.fail(c, err)
		return
	}
	ctx, cancel := settled(c)
	defer cancel()
	got, view, err := e.Bot.Claim(ctx, who, id, ask)
	if err == nil && got == nil {
		err = fmt.Errorf("claim %s: neither a credential nor an error", id)
	}
	if err != nil {
		e.fail(c, err)
		return
	}
	answer(c, http.StatusOK, struct {
		Grant      bot.View   `json:"grant"`
		Credential credential `json:"credential"`
	}{view, revealed(got)})
}

func (e *edge) drop(c *gin.Context, who grants.Principal) {
	id, ok := e.grantOf(c)
	if !ok {
		return
	}
	if err := readBody(c.Request.Body, map[string]any{}); err != nil {
		e.fail(c, err)
		return
	}
	ctx, cancel := settled(c)
	defer cancel()
	v, err := e.Bot.Drop(ctx, who, id)
	e.say(c, v, err)
}

func (e *edge) revoke(c *gin.Context, who grants.Principal) {
	id, ok := e.grantOf(c)
	if !ok {
		return
	}
	var reason string
	if err := readBody(c.Request.Body, map[string]any{"reason": &reason}); err != nil {
		e.fail(c, err)
		return
	}
	ctx, cancel := settled(c)
	defer cancel()
	v, err := e.Bot.Revoke(ctx, who, id, reason)
	e.say(c, v, err)
}
