package kube

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/aws-iam-authenticator/pkg/token"
)

// bearer is a token.
type bearer struct {
	text string
	// expires has no monotonic clock reading: that clock stands still while AWS Lambda has the function frozen, and the token
	// would outlive itself.
	expires time.Time
	// taken says that the cluster has taken it.
	taken *atomic.Bool
}

// access is what a request needs, asked for where it is not known or the token is over. One asks at a time.
func (c *eksCluster) access(traced context.Context) (string, http.RoundTripper, bearer, error) {
	ctx := withoutValues(traced)
	if err := c.lock(ctx); err != nil {
		return "", nil, bearer{}, c.about(fmt.Errorf("wait for a token: %w", err))
	}
	defer c.unlock()
	if c.transport == nil {
		if err := c.find(ctx); err != nil {
			return "", nil, bearer{}, err
		}
	}
	if !time.Now().Before(c.token.expires) {
		if err := c.sign(ctx); err != nil {
			return "", nil, bearer{}, err
		}
	}
	return c.host, c.transport, c.token, nil
}

// find asks EKS where the cluster is.
func (c *eksCluster) find(ctx context.Context) error {
	described, err := c.describe.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &c.name})
	if err != nil {
		return c.failed("describe", err)
	}
	cluster := described.Cluster
	if cluster == nil || cluster.Endpoint == nil || cluster.CertificateAuthority == nil {
		return c.failed("describe", errors.New("it has no endpoint or no certificate authority: it may not be ready"))
	}
	endpoint, err := url.Parse(aws.ToString(cluster.Endpoint))
	if err != nil || endpoint.Scheme != "https" || endpoint.Host == "" {
		return c.failed("describe", fmt.Errorf("its endpoint is %q: want https:// and a host", aws.ToString(cluster.Endpoint)))
	}
	authority, err := base64.StdEncoding.DecodeString(aws.ToString(cluster.CertificateAuthority.Data))
	if err != nil || len(authority) == 0 {
		return c.failed("describe", errors.New("its certificate authority is not base64"))
	}
	transport, err := rest.TransportFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: authority}})
	if err != nil {
		return c.failed("describe", err)
	}
	c.host, c.transport = endpoint.Host, transport
	return nil
}

// sign makes a token: a request to STS, signed in advance, that says who asks. Nothing is sent.
// https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
func (c *eksCluster) sign(ctx context.Context) error {
	// The library has no context for them.
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return c.failed("get credentials for", err)
	}
	// Not by the SDK's settings: EKS takes the addresses of STS itself, and no other that these may name.
	client := sts.New(sts.Options{Region: c.region, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return credentials, nil
	})})
	generator, err := token.NewGenerator(false, false)
	if err != nil {
		return c.failed("make a token for", err)
	}
	signed, err := generator.GetWithSTS(c.name, client)
	if err != nil {
		return c.failed("make a token for", err)
	}
	c.token = bearer{text: signed.Token, expires: signed.Expiration.Round(0), taken: new(atomic.Bool)}
	if credentials.CanExpire && credentials.Expires.Before(c.token.expires) {
		c.token.expires = credentials.Expires.Round(0)
	}
	return nil
}

// withoutValues is a context that ends when ctx does: what traces the request to the API server is not to count those to AWS.
func withoutValues(ctx context.Context) context.Context { return valueless{ctx} }

// valueless is a context without its values.
type valueless struct{ context.Context }

// Value is nil.
func (valueless) Value(any) any { return nil }
