package server_test

import (
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/cmd/tac/server"
)

const smallest = `github:
  repository: acme/access
  app_id: 1
  installation_id: 2
  client_id: Iv23liEXAMPLE
  client_secret: env:X
  private_key: env:X
  webhook_secret: env:X
vault: {address: https://vault.example.com, role_id: an-id, secret_id: env:X}
`

func read(rest string) (server.Config, error) {
	return server.Read("tac.yaml", []byte(smallest+rest), func(string) string { return "not a real one" })
}

func TestLimitsAndAlarmChannelsAreReadAsTheyStand(t *testing.T) {
	c, err := read("limits: {open_per_person: 7, hourly: 0}\nslack: {bot_token: env:X, signing_secret: env:X, alarm_channels: [C1, C0INCIDENTS]}\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.Limits != (bot.Limits{OpenPerPerson: 7}) {
		t.Errorf("%+v", c.Limits)
	}
	if got := strings.Join(c.Slack.AlarmChannels, " "); got != "C1 C0INCIDENTS" {
		t.Error(got)
	}
	if c, err = read(""); err != nil || c.Limits != (bot.Limits{}) {
		t.Errorf("%+v, %v", c.Limits, err)
	}
}

func TestLimitsThatCannotBeAreFaultsWithTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"limits: {hourly: -1}\n":              "tac.yaml:10:18: limits.hourly: expected 1 to 1000, or 0 for the default, found -1",
		"limits: {open_per_person: 101}\n":    "expected 1 to 100",
		"limits: {daily: 3}\n":                "daily",
		"limits: {open_per_resource: many}\n": "open_per_resource",
		"slack: {bot_token: env:X, signing_secret: env:X, alarm_channels: ['#incidents']}\n": "slack.alarm_channels: expected the id of a channel",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
