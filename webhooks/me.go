package webhooks

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Personal is what the bot does with people's own tokens and accounts. Who
// speaks was proved by a token before any of it is called.
type Personal interface {
	// EndLogin revokes the token that the call was made with.
	EndLogin(ctx context.Context, who grants.Principal, token world.Secret) error
	// KeepToken keeps a token of theirs, for presses in chat; ForgetToken
	// revokes it, and reports whether there was one.
	KeepToken(ctx context.Context, who grants.Principal, t world.UserToken) error
	ForgetToken(ctx context.Context, who grants.Principal) (was bool, err error)
	// CheckLink says what Link would do with a code that was shown in chat.
	CheckLink(ctx context.Context, who grants.Principal, code string) (bot.LinkAnswer, error)
	Link(ctx context.Context, who grants.Principal, code string) (bot.LinkAnswer, error)
}

// aboutMe adds what people do about themselves. None of it is ending: where
// GitHub does not say whose token it is, it revokes none either.
func (e *edge) aboutMe(api gin.IRoutes) {
	api.DELETE("/me/login", e.as(e.endLogin))
	api.PUT("/me/token", e.as(e.keepToken))
	api.DELETE("/me/token", e.as(e.forgetToken))
	api.POST("/me/link", e.as(e.link))
}

// endLogin revokes exactly the token of this call, and no other sign-in of
// the same person.
func (e *edge) endLogin(c *gin.Context, who grants.Principal) {
	if err := readBody(c.Request.Body, map[string]any{}); err != nil {
		e.fail(c, err)
		return
	}
	token, _ := bearer(c.Request.Header) // proved a moment ago
	ctx, cancel := settled(c)
	defer cancel()
	if err := e.Bot.EndLogin(ctx, who, token); err != nil {
		e.fail(c, err)
		return
	}
	answer(c, http.StatusOK, struct {
		Revoked bool `json:"revoked"`
	}{true})
}

func (e *edge) keepToken(c *gin.Context, who grants.Principal) {
	var access, accessUntil, refresh, refreshUntil string
	err := readBody(c.Request.Body, map[string]any{
		"access_token": &access, "access_until": &accessUntil, "refresh_token": &refresh, "refresh_until": &refreshUntil,
	})
	t := world.UserToken{Person: who, Access: world.NewSecret(access), Refresh: world.NewSecret(refresh)}
	if err == nil && access == "" {
		err = invalid("access_token is missing")
	}
	if err == nil {
		t.AccessUntil, err = readMoment("access_until", accessUntil)
	}
	if err == nil {
		t.RefreshUntil, err = readMoment("refresh_until", refreshUntil)
	}
	if err != nil {
		e.fail(c, err)
		return
	}
	ctx, cancel := settled(c)
	defer cancel()
	if err := e.Bot.KeepToken(ctx, who, t); err != nil {
		e.fail(c, err)
		return
	}
	answer(c, http.StatusOK, struct {
		Kept bool `json:"kept"`
	}{true})
}

// readMoment reads a time; empty: there is none.
func readMoment(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		// Not quoted: beside it stand tokens, and people mix fields up.
		return time.Time{}, invalid("%s is not a time; write 2026-11-22T18:00:00Z", field)
	}
	return t.UTC(), nil
}

func (e *edge) forgetToken(c *gin.Context, who grants.Principal) {
	if err := readBody(c.Request.Body, map[string]any{}); err != nil {
		e.fail(c, err)
		return
	}
	ctx, cancel := settled(c)
	defer cancel()
	was, err := e.Bot.ForgetToken(ctx, who)
	e.say(c, struct {
		Was bool `json:"was_kept"`
	}{was}, err)
}

// link says which accounts a code would link; with confirm it asks for that.
// To say it first is what keeps people from entering somebody else's code.
func (e *edge) link(c *gin.Context, who grants.Principal) {
	var code string
	var confirm bool
	if err := readBody(c.Request.Body, map[string]any{"code": &code, "confirm": &confirm}); err != nil {
		e.fail(c, err)
		return
	}
	ctx, cancel := settled(c)
	defer cancel()
	do := e.Bot.CheckLink
	if confirm {
		do = e.Bot.Link
	}
	a, err := do(ctx, who, code)
	e.say(c, struct {
		GitHub string `json:"github"`
		ID     int64  `json:"id"`
		Team   string `json:"slack_team"`
		User   string `json:"slack_user"`
		Line   string `json:"line"`
		Issue  string `json:"issue"` // empty: not asked for yet
		Linked bool   `json:"linked"`
	}{a.Person.GitHub, a.Person.ID, a.Team, a.User, a.Line, a.Issue, a.Linked}, err)
}
