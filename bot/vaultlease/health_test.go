package vaultlease

import (
	"strings"
	"testing"

	"github.com/tigeraccess/tac/grants/world"
)

func TestF3_OldVersionsAreNamedWithWhatTheyGetWrong(t *testing.T) {
	for text, want := range map[string]struct {
		status world.Standing
		says   []string
	}{
		"1.21.0":       {world.Fine, nil},
		"1.21.3+ent":   {world.Fine, nil},
		"1.22.0-rc1":   {world.Fine, nil},
		"1.20.4":       {world.Unseen, []string{"older than 1.21.0"}},
		"1.17.5":       {world.Problem, []string{"CVE-2024-7594"}},
		"1.8.4":        {world.Problem, []string{"CVE-2024-7594", "CVE-2024-8365", "CVE-2021-43998"}},
		"1.5.4":        {world.Problem, []string{"CVE-2021-32923", "CVE-2020-25816"}},
		"2.3.1":        {world.Unseen, []string{"was never measured"}},
		"dev":          {world.Unseen, []string{"does not say which version"}},
		"1.21":         {world.Unseen, []string{"does not say which version"}},
		"":             {world.Unseen, []string{"does not say which version"}},
		"1.21.-1":      {world.Unseen, []string{"does not say which version"}},
		"1.7.1+ent.hs": {world.Problem, []string{"CVE-2021-32923"}},
	} {
		f := &world.Findings{}
		judgeVersion(f, text)
		if len(f.List) != 1 || f.List[0].Status != want.status {
			t.Errorf("%q: %+v", text, f.List)
			continue
		}
		for _, says := range want.says {
			if !strings.Contains(f.List[0].Message, says) {
				t.Errorf("%q: %s", text, f.List[0].Message)
			}
		}
	}
}
