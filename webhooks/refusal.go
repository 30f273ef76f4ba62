package webhooks

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/policies"
)

// Codes of the edge itself, beside those of the bot.
const (
	codeUnauthenticated bot.Code = "unauthenticated"
	codeMethod          bot.Code = "method_not_allowed"
	codeTooLarge        bot.Code = "too_large"
	codeMedia           bot.Code = "unsupported_media_type"
	codeInternal        bot.Code = "internal"
)

// statuses is the one table of which refusal is which status. What is not in
// it is our own fault: 500.
var statuses = map[bot.Code]int{
	bot.CodeInvalid:     http.StatusBadRequest,
	codeUnauthenticated: http.StatusUnauthorized,
	bot.CodeDenied:      http.StatusForbidden,
	bot.CodeNotFound:    http.StatusNotFound,
	codeMethod:          http.StatusMethodNotAllowed,
	bot.CodeConflict:    http.StatusConflict,
	codeTooLarge:        http.StatusRequestEntityTooLarge,
	codeMedia:           http.StatusUnsupportedMediaType,
	bot.CodeLimited:     http.StatusTooManyRequests,
	bot.CodeUnavailable: http.StatusServiceUnavailable,
	bot.CodeHeld:        http.StatusServiceUnavailable,
}

// problem is the body of every refusal.
type problem struct {
	Code     bot.Code           `json:"code"`
	Message  string             `json:"message"`
	Decision *policies.Decision `json:"decision,omitempty"`
}

// refusalOf returns the refusal in err that may be shown; false where err is
// anything else, the details of which are for the log alone.
func refusalOf(err error) (*bot.Error, bool) {
	var refusal *bot.Error
	if !errors.As(err, &refusal) {
		return nil, false
	}
	_, known := statuses[refusal.Code]
	return refusal, known
}

// refuse answers with a sentence.
func (e *edge) refuse(c *gin.Context, code bot.Code, sentence string) {
	e.refuseWith(c, problem{Code: code, Message: sentence})
}

func (e *edge) refuseWith(c *gin.Context, p problem) {
	status, known := statuses[p.Code]
	if !known {
		status = http.StatusInternalServerError
	}
	c.Abort()
	answer(c, status, p)
}

// fail answers with what err is to people, and logs what it is to us.
func (e *edge) fail(c *gin.Context, err error) {
	if tooLarge(err) {
		e.refuse(c, codeTooLarge, "the body is too large")
		return
	}
	refusal, ok := refusalOf(err)
	if !ok {
		e.logFault(c, err)
		e.refuse(c, codeInternal, internalSentence(c))
		return
	}
	e.logCause(c, refusal)
	e.refuseWith(c, problem{refusal.Code, refusal.Message, refusal.Decision})
}

// logFault logs what is our own fault, with all that is behind it.
func (e *edge) logFault(c *gin.Context, err error) {
	e.logger(c).Error("a request failed", "route", c.FullPath(), "error", err, "cause", errors.Unwrap(err))
}

// logCause logs what is behind a refusal, where something is.
func (e *edge) logCause(c *gin.Context, refusal *bot.Error) {
	if refusal.Cause != nil {
		e.logger(c).Warn("a request was refused", "route", c.FullPath(), "code", refusal.Code, "error", refusal.Cause)
	}
}

func internalSentence(c *gin.Context) string {
	return "something went wrong on our side; whoever runs tac finds it in the log under request " +
		c.GetString(requestID)
}

func tooLarge(err error) bool {
	var large *http.MaxBytesError
	return errors.As(err, &large)
}

// answer writes v as JSON.
func answer(c *gin.Context, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // plain values always encode
		status, body = http.StatusInternalServerError, []byte(`{"code":"internal","message":"the answer could not be written"}`)
	}
	c.Data(status, "application/json; charset=utf-8", append(body, '\n'))
}
