package platforms

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/kube/ekstest"
	"github.com/riposte-dev/riposte/shared/store/dynamo/dynamotest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// deployed is a file of deploy/lambda.
func deployed(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(testkit.Root(t), "deploy", "lambda", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// bindGroups applies deploy/lambda/rbac.yaml, and gives the group of each function's role, which the
// template's access entries have.
func bindGroups(t *testing.T, e *testkit.Env) map[string]string {
	t.Helper()
	var template struct {
		Resources map[string]struct {
			Type       string
			Properties struct{ KubernetesGroups []string }
		}
	}
	if err := yaml.Unmarshal(deployed(t, "template.yaml"), &template); err != nil {
		t.Fatal(err)
	}
	entered := map[string]bool{}
	for _, r := range template.Resources {
		if r.Type == "AWS::EKS::AccessEntry" && len(r.Properties.KubernetesGroups) == 1 {
			entered[r.Properties.KubernetesGroups[0]] = true
		}
	}
	groups := map[string]string{}
	for document := range bytes.SplitSeq(deployed(t, "rbac.yaml"), []byte("\n---\n")) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		var configuration map[string]any
		if err := yaml.Unmarshal(document, &configuration); err != nil {
			t.Fatal(err)
		}
		if kind.Kind == "" {
			continue // The comment at the beginning.
		}
		if kind.Kind == "ClusterRole" {
			var role rbacv1.ClusterRole
			if err := yaml.UnmarshalStrict(document, &role); err != nil {
				t.Fatalf("%s: %v", document, err)
			}
			e.Apply(t, &role, "platforms", configuration)
			continue
		}
		var binding rbacv1.ClusterRoleBinding
		if err := yaml.UnmarshalStrict(document, &binding); err != nil || len(binding.Subjects) != 1 {
			t.Fatalf("%s: %v", document, err)
		}
		group := binding.Subjects[0].Name
		name, ok := strings.CutPrefix(group, "riposte:")
		if !ok || !entered[group] {
			t.Fatalf("the group %q is in no access entry of the template, which has %v", group, entered)
		}
		e.Apply(t, &binding, "platforms", configuration)
		groups[name] = group
	}
	if len(groups) != len(entered) {
		t.Errorf("bound are %v, and the template's access entries have %v", groups, entered)
	}
	for _, group := range groups {
		awaitGroup(t, e, group)
	}
	return groups
}

// awaitGroup waits until the API server knows what the group may do.
func awaitGroup(t *testing.T, e *testkit.Env, group string) {
	t.Helper()
	config := rest.CopyConfig(e.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "somebody", Groups: []string{group}}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, group+" may get namespaces", func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+"/api/v1/namespaces/default", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("it is answered %s", answer.Status)
		}
		return nil
	})
}

// On Lambda claims are kept in DynamoDB unless somebody says otherwise: in the table of the template, which DynamoDB itself
// clears.
func TestLambdaKeepsClaimsInDynamoDB(t *testing.T) {
	e, server := testkit.Cluster(t), dynamotest.Start(t)
	table, ttl := newTable(t, server)
	cluster := ekstest.Start(t, e.Kubeconfig, bindGroups(t, e)["delete-pod"])
	program, w := bootstrap(t, "delete-pod"), workFor(t, e, "delete-pod")
	environ := append(without(without(w.environ, "KUBECONFIG"), "CLAIMS"), cluster.Environ...)
	environ = append(environ, "CLAIMS=auto", "CLAIMS_TABLE="+table, "AWS_ENDPOINT_URL_DYNAMODB="+server.URL)
	j := w.next()
	for range 2 { // another process the second time
		answer := testkit.StartLambda(t, program, environ...).Invoke(t, j.alert)
		if answer.Error != nil {
			t.Fatalf("it fails: %+v", *answer.Error)
		}
		answersOutcome(t, j, answer.Payload)
	}
	if changed := cluster.Changed(); len(changed) != 1 {
		t.Errorf("the cluster was changed %q, want once", changed)
	}
	kept, err := server.Client.Scan(t.Context(), &dynamodb.ScanInput{TableName: &table})
	if err != nil || len(kept.Items) == 0 {
		t.Fatalf("the table has %v, %v: want records", kept, err)
	}
	for _, item := range kept.Items {
		if n, ok := item[ttl].(*types.AttributeValueMemberN); !ok || n.Value <= fmt.Sprint(time.Now().Unix()) {
			t.Errorf("a record has no time in %s by which DynamoDB removes it: %v", ttl, item)
		}
	}
}

// newTable makes the table of the template, and says which attribute ends a record.
func newTable(t *testing.T, server *dynamotest.Server) (name, ttl string) {
	t.Helper()
	var template struct {
		Resources struct {
			Claims struct {
				Properties struct {
					BillingMode             types.BillingMode
					AttributeDefinitions    []types.AttributeDefinition
					KeySchema               []types.KeySchemaElement
					TimeToLiveSpecification struct {
						AttributeName string
						Enabled       bool
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(deployed(t, "template.yaml"), &template); err != nil {
		t.Fatal(err)
	}
	p := template.Resources.Claims.Properties
	name = "claims"
	if _, err := server.Client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String(name), BillingMode: p.BillingMode, AttributeDefinitions: p.AttributeDefinitions, KeySchema: p.KeySchema,
	}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the table is active", func(ctx context.Context) error {
		out, err := server.Client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
		if err == nil && out.Table.TableStatus != types.TableStatusActive {
			err = fmt.Errorf("it is %s", out.Table.TableStatus)
		}
		return err
	})
	if !p.TimeToLiveSpecification.Enabled {
		t.Error("the table keeps records for ever")
	}
	return name, p.TimeToLiveSpecification.AttributeName
}
