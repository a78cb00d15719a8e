package response

import (
	"time"

	"github.com/riposte-dev/riposte/shared/store"
)

// Settings are what a response's constructor may need to know of the settings all functions share.
type Settings struct {
	DryRun  bool          `env:"DRY_RUN" envDefault:"false" help:"Do everything but the change: Kubernetes gets dryRun=All, nothing else is sent."`
	Timeout time.Duration `env:"RESPONSE_TIMEOUT" envDefault:"25s" help:"Time one alert may take; then it is answered 500 and may be sent again."`
	// Store is where records are kept that all replicas share; nil with CLAIMS=none, in memory in a dry run.
	Store store.Store
}
