//go:build tools

// Package shared pins what the scaffolding of Knative Functions links: with these modules in our
// graph, the versions a function selects are never lower than the scaffolding's own.
package shared

import _ "knative.dev/func-go/http"
