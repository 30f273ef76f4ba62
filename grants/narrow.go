package grants

import (
	"errors"
	"fmt"
	"time"
)

// Narrowed returns the grant with a shorter duration, as an approver would
// rather give it. blob is the file that is replaced. It is not attested.
func (g Grant) Narrowed(d time.Duration, blob string) Grant {
	g.Duration, g.Narrows, g.Attestation = d, blob, ""
	return g
}

// CheckNarrower returns nil where narrow gives nothing that wide does not: it
// is the same grant, for a shorter time, and it names wide's file (blob) as
// the one it replaces. Consent to wide is consent to narrow.
func CheckNarrower(narrow, wide Grant, blob string) error {
	switch {
	case narrow.Narrows != blob || blob == "":
		return errors.New("it does not name the file that it narrows")
	case narrow.Duration >= wide.Duration:
		return fmt.Errorf("%s is not shorter than %s", FormatDuration(narrow.Duration), FormatDuration(wide.Duration))
	case narrow.Attestation == "" || narrow.Attestation == wide.Attestation:
		return errors.New("it is not signed anew")
	}
	wide.Duration, wide.Narrows, wide.Attestation = narrow.Duration, narrow.Narrows, narrow.Attestation
	if wide != narrow {
		return errors.New("more than the duration differs")
	}
	return nil
}
