package outboundtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// AssertLeaksNoSecret checks that secrets stand in nothing of what is shown, neither as they are nor encoded.
// Texts are searched as they are, other values as package fmt and JSON write them.
func AssertLeaksNoSecret(tb testing.TB, secrets []string, shown ...any) {
	tb.Helper()
	for _, secret := range secrets {
		if secret == "" {
			tb.Fatal("a secret is empty: every text holds it")
		}
		forms := map[string]string{
			"as it is": secret, "as a query": url.QueryEscape(secret), "as a path": url.PathEscape(secret),
			"in base64": base64.RawStdEncoding.EncodeToString([]byte(secret)), "in hexadecimal": fmt.Sprintf("%x", secret),
		}
		for _, value := range shown {
			text := written(value)
			for form, encoded := range forms {
				if strings.Contains(text, encoded) {
					tb.Errorf("a secret is shown %s: %.300s", form, text)
					break
				}
			}
		}
	}
}

// written is a value in every way it could come to be read.
func written(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	text := fmt.Sprintf("%v\n%+v\n%#v\n", value, value, value)
	if b, err := json.Marshal(value); err == nil {
		text += string(b)
	}
	return text
}
