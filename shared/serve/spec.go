// Package serve runs a function on every platform: plain HTTP, Knative Functions, OpenFaaS
// and AWS Lambda. A function is a response, or a Service such as the router. It owns what they share: the forms an event arrives in, the one table
// of statuses, authentication, body limits, --help, metrics and graceful shutdown.
package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/telemetry/otlp"
)

// Info is what can be said of a function before it has settings.
type Info struct {
	// Name is the function's folder.
	Name string
	// Summary is one sentence for --help.
	Summary string
	// Activity is what kind of answer it is.
	Activity response.Activity
	// RBAC is the text of the function's rbac.yaml.
	RBAC string
	// NeedsClaims says that a repeat would be seen: the function does not run with CLAIMS=none.
	NeedsClaims bool
	// Tells says that the function tells people: alerts and outcomes are redacted before it sees them, and it tells of
	// what Riposte itself did, too.
	Tells bool
	// MaxBody is the largest request body that a Service reads, in bytes; 0 is the constant MaxBody.
	MaxBody int
}

// maxBody is the largest body that is read.
func (i Info) maxBody() int {
	if i.MaxBody > 0 {
		return i.MaxBody
	}
	return MaxBody
}

// Spec is a function before it has settings: what --help shows, and how to build it.
type Spec struct {
	Info
	own []config.Param
	// common are the settings that this kind of function takes beside its own.
	common []config.Param
	build  func(environ map[string]string, h *host) (application, error)
}

// Settings are the settings every function takes beside its own.
type Settings struct {
	guard.Sane
	When guard.Condition `env:"WHEN" help:"Condition over alert and target that must hold; see docs/when.md."`
	response.Settings
	response.Redaction
	keeping
	auth.Secrets
	logging

	// scope tells this deployment of the function from others.
	scope string
}

// logging is what every function can be told about its log.
type logging struct {
	LogLevel slog.Level `env:"LOG_LEVEL" envDefault:"INFO" oneof:"DEBUG,INFO,WARN,ERROR" help:"Least severe log line written."`
	otlp.Settings
}

// Validate checks what the settings mean together.
func (s Settings) Validate() error {
	if s.Timeout < time.Second {
		return fmt.Errorf("RESPONSE_TIMEOUT is %q: want 1s or more", s.Timeout)
	}
	return errors.Join(s.Sane.Validate(), s.Redaction.Validate(), s.keeping.Validate(), s.Secrets.Validate(), s.logging.Validate())
}

// Define makes a Spec from a function's settings type and constructor. C is a struct with the tags of
// package config. The constructor must not touch the network: it runs before the function is ready.
func Define[C any](info Info, newResponder func(C, response.Settings) (response.Responder, error)) Spec {
	spec := Spec{Info: info, own: config.Params(new(C)), common: config.Params(new(Settings))}
	spec.build = func(environ map[string]string, h *host) (application, error) {
		var common Settings
		own := new(C)
		if err := config.Load(environ, &common, own); err != nil {
			return nil, err
		}
		kept, where, err := common.open(environ, info, common.Settings)
		if err != nil {
			return nil, err
		}
		common.Store, common.scope = kept, scope(environ, spec.alone())
		responder, err := newResponder(*own, common.Settings)
		if err != nil {
			return nil, err
		}
		if err := h.observe(environ, common.logging); err != nil {
			return nil, err
		}
		return newResponses(info, h, responder, common, where), nil
	}
	return spec
}

// DefineService makes a Spec of a function that is no response, from its settings type and constructor. It takes no
// settings beside its own and those of the log and the server.
func DefineService[C any](info Info, newService func(C, Host) (Service, error)) Spec {
	return Spec{
		Info: info, own: config.Params(new(C)), common: config.Params(new(logging)),
		build: func(environ map[string]string, h *host) (application, error) {
			var common logging
			own := new(C)
			if err := config.Load(environ, &common, own); err != nil {
				return nil, err
			}
			if err := h.observe(environ, common); err != nil {
				return nil, err
			}
			inner, err := newService(*own, Host{Log: h.log, Tracer: h.tracer, Metrics: h.metrics.registry, Mutual: environ["TLS_CLIENT_CA_FILE"] != ""})
			if err != nil {
				return nil, err
			}
			return &service{host: h, inner: inner, maxBody: info.maxBody()}, nil
		},
	}
}

// alone are the settings that no other function has.
func (s Spec) alone() []config.Param {
	return slices.DeleteFunc(slices.Clone(s.own), func(p config.Param) bool {
		return slices.ContainsFunc(s.common, func(c config.Param) bool { return c.Name == p.Name })
	})
}

// params are all the settings of a function, its own first.
func (s Spec) params() []config.Param { return append(slices.Clone(s.own), s.shared()...) }

// shared are the settings the function takes beside its own. One that both read, such as KUBECONFIG, is its own, and what
// few need of OpenTelemetry's stands in docs/observability.md.
func (s Spec) shared() []config.Param {
	return slices.DeleteFunc(slices.Clone(s.common), func(p config.Param) bool {
		return otlp.IsDetail(p) || slices.ContainsFunc(s.own, func(o config.Param) bool { return o.Name == p.Name })
	})
}

// version is set by the linker: make build passes what git describe says.
var version string

// Version is the version this binary was built from: what the linker was told, or what the Go toolchain recorded.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	recorded, dirty := info.Main.Version, ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			if recorded == "" || recorded == "(devel)" {
				recorded = s.Value[:min(12, len(s.Value))]
			}
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	if recorded == "" {
		recorded = "unknown"
	}
	return recorded + dirty
}
