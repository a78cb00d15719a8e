package artifact_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
)

// Credentials belong to the process: the AWS SDK reads them from its environment.
func TestMain(m *testing.M) {
	for name, value := range artifacttest.Environment() {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
