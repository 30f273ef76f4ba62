package bot

import (
	"context"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// TokenOf lets the tests of package bot_test take what presses in chat take.
func (b *Bot) TokenOf(ctx context.Context, who grants.Principal) (world.Secret, error) {
	return b.tokenOf(ctx, who)
}
