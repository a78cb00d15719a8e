package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/smithy-go/logging"
	"k8s.io/client-go/rest"

	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
)

// eksCluster is the way to an API server of Amazon EKS: where it is, whose certificate it has and what token it takes is
// found out when a request needs it. It is an http.RoundTripper in the place of a kubeconfig.
type eksCluster struct {
	name, region string
	// retryable says which of AWS's errors pass.
	retryable   func(error) bool
	describe    *eks.Client
	credentials aws.CredentialsProvider

	// turn holds one value while somebody uses what follows, so that who waits for it can give up.
	turn chan struct{}
	host string
	// transport trusts the cluster's own authority; nil until the cluster is described.
	transport http.RoundTripper
	token     bearer
}

// eksPattern matches the name of a cluster, or its ARN.
// https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html
const eksPattern = `^eks:(?:arn:aws[a-z-]*:eks:([a-z0-9-]+):\d{12}:cluster/)?([0-9A-Za-z][0-9A-Za-z_-]{0,99})$`

const (
	// eksAttempts and eksBackoff bound what the SDK tries again: throttling and 5xx are over in a moment, or not soon, and
	// then the alert comes again.
	eksAttempts = 3
	eksBackoff  = 300 * time.Millisecond
	// eksAnswer is far more than the description of a cluster has.
	eksAnswer = 1 << 20
)

// eksConfig is the configuration for KUBE_CLUSTER. It reads the SDK's settings and asks nobody.
func eksConfig(cluster string) (*rest.Config, error) {
	parts := regexp.MustCompile(eksPattern).FindStringSubmatch(cluster)
	if parts == nil {
		return nil, fmt.Errorf("KUBE_CLUSTER is %q: want eks:NAME, or eks: and the ARN of a cluster, such as eks:arn:aws:eks:eu-west-1:123456789012:cluster/NAME", cluster)
	}
	retryer := func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = eksAttempts, eksBackoff })
	}
	ctx := context.Background() //nolint:forbidigo // The settings outlive every request.
	loaded, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}), awsconfig.WithRetryer(retryer))
	if err != nil {
		return nil, fmt.Errorf("configure the AWS SDK: %w", err)
	}
	if parts[1] != "" {
		loaded.Region = parts[1]
	}
	if loaded.Region == "" {
		return nil, fmt.Errorf("AWS_REGION is not set: want the region of the cluster, or its ARN in KUBE_CLUSTER, which is %q", cluster)
	}
	c := &eksCluster{
		name: parts[2], region: loaded.Region, credentials: loaded.Credentials, retryable: retryer().IsErrorRetryable,
		turn: make(chan struct{}, 1),
	}
	c.describe = eks.NewFromConfig(loaded, func(o *eks.Options) {
		if client, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
			transport := client.GetTransport()
			transport.MaxResponseHeaderBytes = outbound.MaxHeader
			o.HTTPClient = direct{transport}
		}
	})
	// The host is where the request goes once it is known; until then it is what errors show.
	return &rest.Config{Host: "https://" + c.name + ".eks", Transport: c}, nil
}

// direct takes the place of the SDK's HTTP client, which follows redirects and reads answers of any size.
type direct struct{ transport http.RoundTripper }

// Do implements aws.HTTPClient.
func (d direct) Do(r *http.Request) (*http.Response, error) {
	return outbound.Once(d.transport, r, eksAnswer)
}

// RoundTrip sends a request to the cluster.
func (c *eksCluster) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	host, transport, token, err := c.access(ctx)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // Nobody reads it any more.
		}
		return nil, err
	}
	sent := r.Clone(ctx)
	sent.URL.Scheme, sent.URL.Host, sent.Host = "https", host, ""
	sent.Header.Set("Authorization", "Bearer "+token.text)
	resp, err := transport.RoundTrip(sent)
	if err != nil {
		c.forget(host)
		return nil, err
	}
	if resp.StatusCode != http.StatusUnauthorized {
		token.taken.Store(true)
		return resp, nil
	}
	outbound.Drain(resp.Body)
	_ = resp.Body.Close()
	return nil, c.refused(ctx, token)
}

// forget has the cluster described again: one that was made anew under the same name has another endpoint and another
// authority, and a process may outlive the old one.
func (c *eksCluster) forget(host string) {
	select {
	case c.turn <- struct{}{}:
		if c.host == host {
			c.transport = nil
		}
		c.unlock()
	default: // Somebody else is at it; if that does not help, the next request comes here again.
	}
}

// refused is the error for a token that the cluster does not take. One that it took before may be taken again when it is
// new: EKS asks STS about tokens, and says no where that is too busy to answer.
func (c *eksCluster) refused(ctx context.Context, token bearer) error {
	if err := c.lock(ctx); err == nil {
		if c.token.text == token.text {
			c.token = bearer{}
		}
		c.unlock()
	}
	if token.taken.Load() {
		return response.TransientError(c.about(errors.New("the token was refused: a new one is made for the next attempt")), 0)
	}
	return response.PermanentError(c.about(errors.New("the function's role was refused: want an access entry for it, whose group has the function's ClusterRole")))
}

// about names the cluster.
func (c *eksCluster) about(err error) error {
	return fmt.Errorf("EKS cluster %s in %s: %w", c.name, c.region, err)
}

func (c *eksCluster) lock(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *eksCluster) unlock() { <-c.turn }
