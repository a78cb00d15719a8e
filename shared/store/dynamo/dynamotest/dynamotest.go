// Package dynamotest runs a DynamoDB for tests: dynalite, a server of DynamoDB's protocol on Node.js that evaluates
// conditions as DynamoDB does and keeps its tables in memory. npm installs it into dist/tools, at the versions and with the
// checksums of package-lock.json, when the first test needs it.
package dynamotest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// files are what dynalite is installed from and started by.
//
//go:embed package.json package-lock.json server.cjs
var files embed.FS

// only is the process's installation.
var only struct { //nolint:gochecknoglobals // A test binary has no other place to keep it.
	once sync.Once
	dir  string
	err  error
}

// Server is a DynamoDB that ends with its test.
type Server struct {
	// URL is its address, for AWS_ENDPOINT_URL_DYNAMODB.
	URL string
	// Client is one that may do everything.
	Client *dynamodb.Client
}

// Region is where the server says it is; credentials can be any.
const Region = "eu-west-1"

// Start runs a server.
func Start(tb testing.TB) *Server {
	tb.Helper()
	needNode(tb)
	only.once.Do(func() { only.dir, only.err = install(tb.Context(), testkit.Root(tb)) })
	if only.err != nil {
		tb.Fatalf("install dynalite: %v", only.err)
	}
	command := exec.CommandContext(context.WithoutCancel(tb.Context()), "node", "server.cjs")
	command.Dir = only.dir
	stdin, err := command.StdinPipe()
	if err != nil {
		tb.Fatalf("start dynalite: %v", err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		tb.Fatalf("start dynalite: %v", err)
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Start(); err != nil {
		tb.Fatalf("start dynalite: %v", err)
	}
	tb.Cleanup(func() { // It ends when its standard input does, even if this process is killed.
		_ = stdin.Close()
		_ = command.Wait()
	})
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = command.Wait()
		tb.Fatalf("start dynalite: %v\n%s", err, &stderr)
	}
	s := &Server{URL: "http://127.0.0.1:" + strings.TrimSpace(port)}
	s.Client = dynamodb.New(dynamodb.Options{
		Region: Region, BaseEndpoint: &s.URL, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	})
	return s
}

// needNode skips the test where Node.js is missing: there is no other server of DynamoDB's protocol that could be had
// without a container engine. CI installs both, so that no test is skipped there.
func needNode(tb testing.TB) {
	tb.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			tb.Skipf("%s is not here: DynamoDB is tested against dynalite, which runs on Node.js (Debian: nodejs, npm)", program)
		}
	}
}

// install puts dynalite into dist/tools, unless it is there.
func install(ctx context.Context, root string) (string, error) {
	lock, err := files.ReadFile("package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	tools := filepath.Join(root, "dist", "tools")
	dir := filepath.Join(tools, "dynalite-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err != nil {
		if err := installInto(ctx, tools, dir); err != nil {
			return "", err
		}
	}
	server, err := files.ReadFile("server.cjs")
	if err != nil {
		return "", err
	}
	// Written each time: it may have changed since.
	return dir, place(dir, "server.cjs", server)
}

// installInto lets npm work in a new folder and puts that in place in one step: several tests may do this at once.
func installInto(ctx context.Context, tools, dir string) error {
	if err := os.MkdirAll(tools, 0o755); err != nil { //nolint:gosec // dist holds nothing secret.
		return err
	}
	fresh, err := os.MkdirTemp(tools, "dynalite.")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh) //nolint:errcheck // Gone already, if all went well.
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(fresh, name), content, 0o600); err != nil {
			return err
		}
	}
	command := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	command.Dir = fresh
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, output)
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, already := os.Stat(dir); already == nil { // by another test
			return nil
		}
		return err
	}
	return nil
}

// place writes a file in one step.
func place(dir, name string, content []byte) error {
	f, err := os.CreateTemp(dir, name+".")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// NewTable makes a table as package dynamo wants it.
func (s *Server) NewTable(tb testing.TB, name string) {
	tb.Helper()
	_, err := s.Client.CreateTable(tb.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("id"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		tb.Fatalf("create table %s: %v", name, err)
	}
	testkit.Eventually(tb, "table "+name+" is active", func(ctx context.Context) error {
		out, err := s.Client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
		if err == nil && out.Table.TableStatus != types.TableStatusActive {
			err = fmt.Errorf("it is %s", out.Table.TableStatus)
		}
		return err
	})
}

// Put writes an item of strings, as somebody else would.
func (s *Server) Put(tb testing.TB, table string, attributes map[string]string) {
	tb.Helper()
	item := map[string]types.AttributeValue{}
	for name, value := range attributes {
		item[name] = &types.AttributeValueMemberS{Value: value}
	}
	if _, err := s.Client.PutItem(tb.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
		tb.Fatalf("put item into %s: %v", table, err)
	}
}
