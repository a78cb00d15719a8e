package budget

import (
	"context"
	"sync"
	"time"
)

// Token is a permission to act once. It is given back if nothing was done.
type Token struct {
	drawn []drawn
	once  sync.Once
}

// drawn is what a demand was given.
type drawn struct {
	demand
	grant *grant
}

// returning bounds how long it takes to give back, where whoever does has no time left.
const returning = 2 * time.Second

// Return gives back what was drawn, because nothing was done. It is best effort: what cannot be given back counts. It does
// nothing the second time.
func (t *Token) Return(ctx context.Context) {
	t.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), returning)
		defer cancel()
		var wait sync.WaitGroup
		for _, d := range t.drawn {
			wait.Go(func() {
				_ = d.account.giveBack(ctx, d.who, d.grant) // Best effort: said so above.
			})
		}
		wait.Wait()
	})
}
