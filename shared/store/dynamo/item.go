package dynamo

import (
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// The attributes of a record.
const (
	attributeID      = "id"
	attributeValue   = "value"
	attributeVersion = "version"
	// attributeExpires is in nanoseconds since 1970, for the conditions.
	attributeExpires = "expires"
	// attributeTTL is the same in whole seconds, rounded up, which is all that DynamoDB's time to live takes.
	attributeTTL = "ttl"
)

func id(key string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attributeID: text(key)}
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func textOf(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// item is a record as DynamoDB has it.
func item(key string, e store.Entry) map[string]types.AttributeValue {
	value := e.Value
	if value == nil {
		value = []byte{} // The SDK would send null.
	}
	return map[string]types.AttributeValue{
		attributeID: text(key), attributeValue: &types.AttributeValueMemberB{Value: value}, attributeVersion: text(e.Version),
		attributeExpires: number(e.Expires.UnixNano()), attributeTTL: number(e.Expires.Add(time.Second - 1).Unix()),
	}
}

// entryOf reads a record. Whatever is wrong with it was done by somebody else, whom an operator must find.
func entryOf(table, key string, item map[string]types.AttributeValue) (store.Entry, error) {
	value, _ := item[attributeValue].(*types.AttributeValueMemberB)
	expires, _ := item[attributeExpires].(*types.AttributeValueMemberN)
	version := textOf(item[attributeVersion])
	if value == nil || expires == nil || version == "" {
		return store.Entry{}, notOurs(table, key)
	}
	nanoseconds, err := strconv.ParseInt(expires.Value, 10, 64)
	if err != nil {
		return store.Entry{}, notOurs(table, key)
	}
	return store.Entry{Value: value.Value, Expires: time.Unix(0, nanoseconds), Version: version}, nil
}

func notOurs(table, key string) error {
	return response.PermanentError(fmt.Errorf("item %q of DynamoDB table %s is no record of Riposte: want %s in bytes, %s in nanoseconds and %s as text",
		key, table, attributeValue, attributeExpires, attributeVersion))
}
