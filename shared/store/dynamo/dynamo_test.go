package dynamo_test

import (
	"fmt"
	"testing"

	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/store/dynamo"
	"github.com/riposte-dev/riposte/shared/store/dynamo/dynamotest"
	"github.com/riposte-dev/riposte/shared/store/storetest"
)

// configure sets what the SDK reads.
func configure(t *testing.T, endpoint string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_DYNAMODB": endpoint, "AWS_REGION": dynamotest.Region,
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "",
		"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

func open(t *testing.T, table string) *dynamo.Store {
	t.Helper()
	s, err := dynamo.New(t.Context(), table)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := dynamotest.Start(t)
	configure(t, server.URL)
	tables := 0
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		tables++
		table := fmt.Sprintf("records-%d", tables)
		server.NewTable(t, table)
		return open(t, table)
	})
}
