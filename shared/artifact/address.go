package artifact

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// The parameters of an s3:// address, named as the Go Cloud Development Kit names them.
const (
	paramRegion    = "region"
	paramEndpoint  = "endpoint"
	paramPathStyle = "use_path_style"
)

// Check says whether text can be the address of a store. The error says what is wanted and does not hold the address,
// into which some write a password.
func Check(text string) error {
	_, err := parse(text)
	return err
}

// Shown is an address as an error quotes it: without the user name and password that some write into it, and without
// parameters, into which they write keys.
func Shown(address string) string {
	address, _, more := strings.Cut(address, "?")
	if more {
		address += "?..."
	}
	return regexp.MustCompile(`//.*@`).ReplaceAllString(address, "//...@")
}

func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
	case u.Scheme == "file" && u.Host == "" && len(u.Path) > 1 && u.RawQuery == "":
		return u, nil
	case u.Scheme == "s3" && u.Host != "" && u.User == nil:
		return u, checkBucket(u.Query())
	}
	return nil, errors.New("want file:///FOLDER or s3://BUCKET/PREFIX?region=REGION")
}

// checkBucket checks the parameters of an s3:// address.
func checkBucket(query url.Values) error {
	known := []string{paramRegion, paramEndpoint, paramPathStyle}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("parameter %q is unknown: want %s", name, strings.Join(known, ", "))
		}
	}
	if endpoint := query.Get(paramEndpoint); endpoint != "" {
		if err := checkEndpoint(endpoint); err != nil {
			return err
		}
	}
	if style := query.Get(paramPathStyle); style != "" && style != "true" && style != "false" {
		return fmt.Errorf("use_path_style is %q: want true or false", style)
	}
	return nil
}

func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return errors.New("endpoint has a user name or a password in it: want none")
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return fmt.Errorf("endpoint is %q: want http:// or https:// and a host", Shown(text))
	}
	return nil
}
