package vault

import (
	"errors"
	"fmt"
	"time"
)

// ttlBounds is what limits a TTL, for clampTTL. Zero fields do not limit.
type ttlBounds struct {
	absent      time.Duration // where no TTL is wanted
	period      time.Duration
	max         time.Duration // counted from issued
	explicitMax time.Duration // counted from issued
	issued      time.Time
}

// clampTTL is how Vault settles every TTL: the wanted one, or the default,
// cut with a warning to what the bounds leave.
func clampTTL(now time.Time, wanted time.Duration, b ttlBounds) (time.Duration, []string, error) {
	ceiling := b.max
	if ceiling <= 0 || ceiling > systemMaxTTL {
		ceiling = systemMaxTTL
	}
	if b.explicitMax > 0 && b.explicitMax < ceiling {
		ceiling = b.explicitMax
	}
	ttl, left, warnings := wanted, b.issued.Add(ceiling).Sub(now), []string(nil)
	switch {
	case b.period > 0:
		if ttl = b.period; ttl > ceiling {
			warnings = append(warnings, fmt.Sprintf("period of %q exceeded the effective max_ttl of %q; period value is capped accordingly",
				shortDuration(ttl), shortDuration(ceiling)))
			ttl = ceiling
		}
		if b.explicitMax <= 0 {
			return ttl, warnings, nil
		}
		left = b.issued.Add(b.explicitMax).Sub(now)
	case ttl <= 0 && b.absent > 0:
		ttl = b.absent
	case ttl <= 0:
		ttl = systemDefaultTTL
	}
	if left <= 0 {
		return 0, nil, errors.New("past the max TTL, cannot renew")
	}
	if ttl > left {
		warnings = append(warnings, fmt.Sprintf("TTL of %q exceeded the effective max_ttl of %q; TTL value is capped accordingly",
			shortDuration(ttl), shortDuration(left.Round(time.Second))))
		ttl = left
	}
	return ttl, warnings, nil
}
