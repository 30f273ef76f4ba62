package policies

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// A project's key and a number is read without the expression; it must mean
// what the expression means.
func TestPropertyATicketPatternMeansWhatItsExpressionMeans(t *testing.T) {
	short := 0
	for _, written := range []string{`INC-[0-9]+`, `inc-\d+`, `INC-[0-9]*`, `INC-[0-9]+|OPS-1`, `(INC)-[0-9]+`, `INC[0-9]+`, `I.C-[0-9]+`, `INC-\d+$`, `-[0-9]+`, `(?i)INC-[0-9]+`} {
		p, err := compilePattern(written)
		if err != nil {
			t.Fatal(err)
		}
		if p.number != "" {
			short++
		}
		whole := regexp.MustCompile(`\A(?:` + written + `)\z`)
		t.Run(written, rapid.MakeCheck(func(t *rapid.T) {
			s := rapid.OneOf(
				rapid.StringMatching(written), rapid.StringMatching(`[A-Za-z]{0,4}-?[0-9]{0,3}[a-z٣\n -]?`), rapid.String(),
			).Draw(t, "ticket")
			if got, want := p.matches(s), whole.MatchString(s); got != want {
				t.Fatalf("%q: %t, and the expression says %t", s, got, want)
			}
		}))
	}
	if short != 2 {
		t.Errorf("%d patterns are read without their expression, not the two that are a key and a number", short)
	}
}
