package oncall

import (
	"io"
	"regexp"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/opsgenie/opsgenie-go-sdk-v2/client"
	"github.com/opsgenie/opsgenie-go-sdk-v2/schedule"
	"github.com/sirupsen/logrus"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// opsgenie asks Opsgenie's REST API v2.
type opsgenie struct {
	at  *service
	key world.Secret
}

// maxDepth is how deep a participant may stand within others: a user in an
// escalation in a team in a schedule in an escalation.
const maxDepth = 6

// accountForm is the form of ids that can be in the People document.
var accountForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._-]{0,127}$`)

func (*opsgenie) form() *regexp.Regexp { return accountForm }

func (*opsgenie) source(id string) string { return "Opsgenie /v2/schedules/" + id + "/on-calls" }

func (o *opsgenie) service() *service { return o.at }

// library returns Opsgenie's client for one question. It is put together by
// hand: the library's own constructor writes to a variable of its package,
// logs, and makes a client that repeats failed calls for half a minute. The
// address is empty because question fills it in.
func (o *opsgenie) library(q *question) *client.OpsGenieClient {
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	silent.SetLevel(logrus.PanicLevel)
	calls := retryablehttp.NewClient()
	calls.HTTPClient, calls.Logger, calls.RetryMax = q.client(), nil, 0
	calls.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return &client.OpsGenieClient{
		RetryableClient: calls,
		Config:          &client.Config{ApiKey: o.key.Reveal(), Logger: silent},
	}
}

// onCalls is the answer to who is on call. The library's own type leaves out
// participants who stand deeper than the second level.
type onCalls struct {
	client.ResultMetadata
	Parent struct {
		ID      string `json:"id"`
		Enabled *bool  `json:"enabled"`
	} `json:"_parent"`
	Participants []participant `json:"onCallParticipants"`
}

type participant struct {
	Type   string        `json:"type"`
	ID     string        `json:"id"`
	Within []participant `json:"onCallParticipants"`
}

func (o *opsgenie) onCall(q *question, id string, at time.Time) ([]policies.OnCall, error) {
	instant, whole := at.UTC(), false // the library writes a Z whatever the zone
	var answer onCalls
	err := o.library(q).Exec(q.ctx, &schedule.GetOnCallsRequest{
		ScheduleIdentifierType: schedule.Id, ScheduleIdentifier: id, Date: &instant, Flat: &whole,
	}, &answer)
	switch {
	case err != nil:
		return nil, err
	case answer.Parent.ID != id:
		return nil, nonsense("it is about another schedule")
	case answer.Parent.Enabled == nil || answer.Participants == nil:
		return nil, nonsense("it does not say who is on call")
	case !*answer.Parent.Enabled:
		return nil, unfit("Opsgenie's schedule " + id + " is switched off")
	}
	var people []policies.OnCall
	return people, gather(&people, answer.Participants, maxDepth)
}

// gather adds every user among the participants. Those who stand within a
// team or an escalation are on call too, though they may be told later:
// Opsgenie has no levels.
func gather(people *[]policies.OnCall, list []participant, depth int) error {
	for _, p := range list {
		switch {
		case p.Type == "none" || p.Type == "noone":
			// a shift that is nobody's
		case p.Type == "user" && accountForm.MatchString(p.ID):
			*people = append(*people, policies.OnCall{Account: p.ID})
		case p.Type == "user":
			return nonsense("it puts nobody on call")
		case p.Type != "team" && p.Type != "escalation" && p.Type != "schedule":
			return nonsense("it puts on call what is neither a person nor a team")
		case p.Within == nil || depth == 0:
			return nonsense("it does not say who is in a team that is on call")
		default:
			if err := gather(people, p.Within, depth-1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *opsgenie) exists(q *question, id string, at time.Time) error {
	_, err := o.onCall(q, id, at)
	return err
}

func (o *opsgenie) probe(q *question) error {
	expand := false
	var list schedule.ListResult
	err := o.library(q).Exec(q.ctx, &schedule.ListRequest{Expand: &expand}, &list)
	if err == nil && list.Schedule == nil {
		err = nonsense("it lists no schedules")
	}
	return err
}
