package function

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// asyncRoute is where OpenFaaS's gateway takes calls that it makes later.
// https://docs.openfaas.com/reference/async/
const asyncRoute = "/async-function/"

// webAddress reads the address of a service. Without TLS it is as good as the network: inside a cluster that is usual.
func webAddress(text string) (*apis.URL, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, errors.New("want http:// or https:// and a host")
	}
	if u.User != nil {
		return nil, errors.New("want no user name and no password in it")
	}
	return (*apis.URL)(u), nil
}

var beforeHost = regexp.MustCompile(`//.*@`)

// shown is an address as an error quotes it: without the user name and password that some write into it.
func shown(address string) string { return beforeHost.ReplaceAllString(address, "//...@") }

// checkTemplate checks FUNCTION_URL as far as it can be without a function.
func checkTemplate(template string) error {
	if template == "" {
		return nil
	}
	if !strings.Contains(template, "{function}") {
		return errors.New("want {function} in it, in whose place the name of the function is put")
	}
	_, err := fill(template, "function", "namespace")
	return err
}

// fill puts the name and the namespace of a function into FUNCTION_URL.
func fill(template, function, namespace string) (*apis.URL, error) {
	text := strings.NewReplacer("{function}", url.PathEscape(function), "{namespace}", url.PathEscape(namespace)).Replace(template)
	if strings.ContainsAny(text, "{}") {
		return nil, errors.New("want no braces in it but {function} and {namespace}")
	}
	return webAddress(text)
}

var extensionName = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// overrides are the attributes that K_CE_OVERRIDES adds.
// https://knative.dev/docs/eventing/custom-event-source/sinkbinding/reference/
func overrides(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	var parsed duckv1.CloudEventOverrides
	if err := json.Unmarshal([]byte(text), &parsed); err != nil {
		return nil, errors.New(`want JSON such as {"extensions": {"name": "value"}}`)
	}
	for name, value := range parsed.Extensions {
		if !extensionName.MatchString(name) || value == "" {
			return nil, fmt.Errorf("extension %q has the value %q: want a name of lower-case letters and digits, 20 at most, and a value", name, value)
		}
	}
	return parsed.Extensions, nil
}
