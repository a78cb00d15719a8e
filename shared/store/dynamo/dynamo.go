// Package dynamo keeps records in a DynamoDB table, for functions on AWS Lambda.
//
// The table's hash key is "id", a string. It needs nothing else; with "ttl" as its time-to-live attribute DynamoDB removes
// expired records by itself, without a sweep:
//
//	aws dynamodb create-table --table-name riposte --billing-mode PAY_PER_REQUEST \
//	    --attribute-definitions AttributeName=id,AttributeType=S --key-schema AttributeName=id,KeyType=HASH
//	aws dynamodb update-time-to-live --table-name riposte --time-to-live-specification Enabled=true,AttributeName=ttl
//
// A function needs dynamodb:GetItem, PutItem, DeleteItem and, for the sweep, Scan on it. Region, credentials and
// AWS_ENDPOINT_URL_DYNAMODB are found where the AWS SDK looks for them.
//
// DynamoDB takes a write or refuses it by a condition on the item as it is then, which is what makes one of many succeed.
// Whether a record has expired is part of that condition: the removal of what has expired may come days late.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html
package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// Store keeps records in one table.
type Store struct {
	client *dynamodb.Client
	table  string

	mu sync.Mutex
	// next is where the next sweep goes on.
	next map[string]types.AttributeValue
}

// New makes the store of a table. It reads the SDK's settings and asks nobody.
func New(ctx context.Context, table string) (*Store, error) {
	if table == "" {
		return nil, errors.New("the name of the DynamoDB table is empty: want that of a table")
	}
	client, err := newClient(ctx)
	if err != nil {
		return nil, err
	}
	return &Store{client: client, table: table}, nil
}

// Get implements store.Store, with a strongly consistent read.
func (s *Store) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := store.Check(key, nil); err != nil {
		return store.Entry{}, response.PermanentError(err)
	}
	e, err := s.read(ctx, key)
	if err == nil && !time.Now().Before(e.Expires) {
		return store.Entry{}, fmt.Errorf("record %q: %w", key, store.ErrNotFound)
	}
	return e, err
}

// read reads a record, expired or not.
func (s *Store) read(ctx context.Context, key string) (store.Entry, error) {
	out, err := s.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &s.table, Key: id(key), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return store.Entry{}, s.classify("get", key, err)
	}
	if len(out.Item) == 0 {
		return store.Entry{}, fmt.Errorf("record %q: %w", key, store.ErrNotFound)
	}
	return entryOf(s.table, key, out.Item)
}

// Create implements store.Store.
func (s *Store) Create(ctx context.Context, key string, value []byte, expires time.Time) (store.Entry, error) {
	return s.put(ctx, "create", store.ErrExists, key, value, expires, condition{
		text: "attribute_not_exists(#i) OR #e <= :now", names: map[string]string{"#i": attributeID, "#e": attributeExpires},
		values: map[string]types.AttributeValue{":now": number(time.Now().UnixNano())},
	})
}

// Replace implements store.Store.
func (s *Store) Replace(ctx context.Context, key string, old store.Entry, value []byte, expires time.Time) (store.Entry, error) {
	return s.put(ctx, "replace", store.ErrChanged, key, value, expires, isVersion(old.Version))
}

// condition is what must hold of an item for a write to take place.
type condition struct {
	text   string
	names  map[string]string
	values map[string]types.AttributeValue
}

func isVersion(version string) condition {
	return condition{"#v = :v", map[string]string{"#v": attributeVersion}, map[string]types.AttributeValue{":v": text(version)}}
}

// put stores a record if the condition holds.
func (s *Store) put(ctx context.Context, verb string, refused error, key string, value []byte, expires time.Time, c condition) (store.Entry, error) {
	if err := store.Check(key, value); err != nil {
		return store.Entry{}, response.PermanentError(err)
	}
	e := store.Entry{Value: value, Expires: expires, Version: rand.Text()}
	traced, sent := counted(ctx)
	_, err := s.client.PutItem(traced, &dynamodb.PutItemInput{
		TableName: &s.table, Item: item(key, e),
		ConditionExpression: &c.text, ExpressionAttributeNames: c.names, ExpressionAttributeValues: c.values,
	})
	var failed *types.ConditionalCheckFailedException
	switch {
	case err == nil:
		return e, nil
	case !errors.As(err, &failed):
		return store.Entry{}, s.classify(verb, key, err)
	case sent.Load() > 1: // The first request may have been carried out, and its answer lost.
		if present, err := s.read(ctx, key); err == nil && present.Version == e.Version {
			return present, nil
		}
	}
	return store.Entry{}, fmt.Errorf("record %q: %w", key, refused)
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key string, old store.Entry) error {
	if err := store.Check(key, nil); err != nil {
		return response.PermanentError(err)
	}
	return s.remove(ctx, key, old.Version)
}

func (s *Store) remove(ctx context.Context, key, version string) error {
	c := isVersion(version)
	c.text, c.names["#i"] = "attribute_not_exists(#i) OR "+c.text, attributeID
	_, err := s.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: &s.table, Key: id(key),
		ConditionExpression: &c.text, ExpressionAttributeNames: c.names, ExpressionAttributeValues: c.values,
	})
	var failed *types.ConditionalCheckFailedException
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failed):
		return fmt.Errorf("record %q: %w", key, store.ErrChanged)
	}
	return s.classify("delete", key, err)
}

// page is how many items a sweep looks at. DynamoDB's own removal is what keeps a table small; the sweep is for one
// without it.
const page = 500

// Sweep implements store.Store. It looks at a page of the table, and at the one after that the next time.
func (s *Store) Sweep(ctx context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := s.client.Scan(ctx, &dynamodb.ScanInput{
		TableName: &s.table, Limit: aws.Int32(page), ExclusiveStartKey: s.next,
		FilterExpression: aws.String("#e <= :now"), ProjectionExpression: aws.String("#i, #v"),
		ExpressionAttributeNames:  map[string]string{"#i": attributeID, "#e": attributeExpires, "#v": attributeVersion},
		ExpressionAttributeValues: map[string]types.AttributeValue{":now": number(time.Now().UnixNano())},
	})
	if err != nil {
		return 0, s.classify("sweep", "", err)
	}
	s.next = out.LastEvaluatedKey
	swept := 0
	for _, item := range out.Items {
		err := s.remove(ctx, textOf(item[attributeID]), textOf(item[attributeVersion]))
		switch {
		case err == nil:
			swept++
		case !errors.Is(err, store.ErrChanged):
			return swept, err
		}
	}
	return swept, nil
}
