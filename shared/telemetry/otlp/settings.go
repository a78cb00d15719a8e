package otlp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/riposte-dev/riposte/shared/config"
)

// Settings are OpenTelemetry's own variables, with its defaults.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/
type Settings struct {
	Endpoint    string        `env:"OTEL_EXPORTER_OTLP_ENDPOINT" help:"URL of an OpenTelemetry collector that takes traces and metrics, http://otel-collector:4318 for instance. Unset, none are exported. docs/observability.md has more variables."`
	Headers     config.Secret `env:"OTEL_EXPORTER_OTLP_HEADERS" help:"Headers of every export, percent-encoded: api-key=secret,tenant=a."`
	ServiceName string        `env:"OTEL_SERVICE_NAME" help:"Attribute service.name of all that is exported; unset, riposte- and the function's name."`
	Resource    Pairs         `env:"OTEL_RESOURCE_ATTRIBUTES" help:"Attributes of all that is exported, percent-encoded: deployment.environment.name=prod,k8s.cluster.name=a."`
	Sampler     string        `env:"OTEL_TRACES_SAMPLER" envDefault:"parentbased_always_on" oneof:"always_on,always_off,traceidratio,parentbased_always_on,parentbased_always_off,parentbased_traceidratio" help:"Which traces are recorded; parentbased is as whoever began the trace wants it."`
	Details
}

// Details are the settings that few need. They stand in docs/observability.md and not with every function.
type Details struct {
	Disabled       bool   `env:"OTEL_SDK_DISABLED" envDefault:"false" help:"Export nothing, whatever else is set."`
	Traces         string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" help:"URL that takes traces, as it is, instead of the endpoint with /v1/traces."`
	Metrics        string `env:"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" help:"URL that takes metrics, as it is, instead of the endpoint with /v1/metrics."`
	TracesVia      string `env:"OTEL_TRACES_EXPORTER" envDefault:"otlp" oneof:"otlp,none" help:"none exports no traces."`
	MetricsVia     string `env:"OTEL_METRICS_EXPORTER" envDefault:"otlp" oneof:"otlp,prometheus,none" help:"prometheus and none export no metrics; /metrics has them in any case."`
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" oneof:"http/protobuf" help:"How it is exported."`
	Compression    string `env:"OTEL_EXPORTER_OTLP_COMPRESSION" envDefault:"none" oneof:"none,gzip" help:"Compression of what is exported."`
	Timeout        Millis `env:"OTEL_EXPORTER_OTLP_TIMEOUT" envDefault:"10000" help:"Time an export may take, its repeats included. No alert waits for it."`
	Certificate    string `env:"OTEL_EXPORTER_OTLP_CERTIFICATE" help:"Path of the certificates (PEM) that the collector is checked with; unset, those of the system."`
	SamplerArg     string `env:"OTEL_TRACES_SAMPLER_ARG" help:"Share of the traces that traceidratio records, 0 to 1; unset, 1."`
	ScheduleDelay  Millis `env:"OTEL_BSP_SCHEDULE_DELAY" envDefault:"5000" help:"Time between two exports of traces."`
	QueueSize      int    `env:"OTEL_BSP_MAX_QUEUE_SIZE" envDefault:"2048" help:"Spans that wait for their export at most; what is more is dropped."`
	ExportInterval Millis `env:"OTEL_METRIC_EXPORT_INTERVAL" envDefault:"60000" help:"Time between two exports of metrics."`
}

// IsDetail says whether a setting is one of Details.
func IsDetail(p config.Param) bool {
	return slices.ContainsFunc(config.Params(new(Details)), func(d config.Param) bool { return d.Name == p.Name })
}

// Validate checks what the types do not.
func (s Settings) Validate() error {
	var problems []error
	add := func(err error) { problems = append(problems, err) }
	add(checkEndpoint("OTEL_EXPORTER_OTLP_ENDPOINT", s.Endpoint))
	add(checkEndpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", s.Traces))
	add(checkEndpoint("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", s.Metrics))
	for _, n := range []struct {
		name  string
		value Millis
	}{
		{"OTEL_EXPORTER_OTLP_TIMEOUT", s.Timeout},
		{"OTEL_BSP_SCHEDULE_DELAY", s.ScheduleDelay},
		{"OTEL_METRIC_EXPORT_INTERVAL", s.ExportInterval},
	} {
		if n.value < 1 || n.value > longest {
			add(fmt.Errorf("%s is %d: want 1 to %d milliseconds", n.name, n.value, longest))
		}
	}
	if s.QueueSize < 1 || s.QueueSize > mostSpans {
		add(fmt.Errorf("OTEL_BSP_MAX_QUEUE_SIZE is %d: want 1 to %d", s.QueueSize, mostSpans))
	}
	if _, err := s.ratio(); err != nil {
		add(err)
	}
	if _, err := s.headers(); err != nil {
		add(err)
	}
	if _, err := s.authorities(); err != nil {
		add(err)
	}
	return errors.Join(problems...)
}

const (
	longest   = 24 * 60 * 60 * 1000
	mostSpans = 1 << 16
)

func checkEndpoint(name, value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return fmt.Errorf("%s is no URL: want http:// or https:// and a host", name)
	case (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return fmt.Errorf("%s is %q: want http:// or https:// and a host", name, u.Redacted())
	case u.User != nil:
		return fmt.Errorf("%s is %q: want no user name and no password in it, but OTEL_EXPORTER_OTLP_HEADERS", name, u.Redacted())
	}
	return nil
}

// tracesURL is where traces go; empty where they go nowhere.
func (s Settings) tracesURL() string { return s.address(s.TracesVia, s.Traces, "v1/traces") }

// metricsURL is where metrics go; empty where they go nowhere.
func (s Settings) metricsURL() string { return s.address(s.MetricsVia, s.Metrics, "v1/metrics") }

func (s Settings) address(via, own, path string) string {
	switch {
	case s.Disabled || via != "otlp":
		return ""
	case own != "" || s.Endpoint == "":
		return own
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil { // Validate has said so.
		return ""
	}
	return u.JoinPath(path).String()
}

func (s Settings) ratio() (float64, error) {
	if s.SamplerArg == "" {
		return 1, nil
	}
	ratio, err := strconv.ParseFloat(s.SamplerArg, 64)
	if err != nil || !(ratio >= 0 && ratio <= 1) {
		return 0, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG is %q: want a number from 0 to 1", s.SamplerArg)
	}
	return ratio, nil
}

func (s Settings) sampler() (sdktrace.Sampler, error) {
	ratio, err := s.ratio()
	if err != nil {
		return nil, err
	}
	name, byParent := strings.CutPrefix(s.Sampler, "parentbased_")
	root := map[string]sdktrace.Sampler{
		"always_on": sdktrace.AlwaysSample(), "always_off": sdktrace.NeverSample(), "traceidratio": sdktrace.TraceIDRatioBased(ratio),
	}[name]
	if byParent {
		return sdktrace.ParentBased(root), nil
	}
	return root, nil
}

// headerName is what names a header. https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// headers are read at each export, so that a mounted key can be changed. Errors do not quote them.
func (s Settings) headers() (http.Header, error) {
	text, err := s.Headers.Read()
	if err != nil {
		return nil, err
	}
	var pairs Pairs
	if err := pairs.UnmarshalText([]byte(text)); err != nil {
		return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS is not readable: want name=value, percent-encoded, separated by commas")
	}
	header := http.Header{}
	for _, p := range pairs {
		if !headerName.MatchString(p[0]) || strings.ContainsFunc(p[1], unicode.IsControl) {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS holds what no header can: want name=value, percent-encoded, separated by commas")
		}
		header.Set(p[0], p[1])
	}
	return header, nil
}

// Pairs are name=value, percent-encoded, separated by commas.
type Pairs [][2]string

// UnmarshalText reads the pairs.
func (p *Pairs) UnmarshalText(b []byte) error {
	*p = nil
	for part := range strings.SplitSeq(string(b), ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, encoded, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(encoded))
		if !ok || name == "" || err != nil {
			return errors.New("an entry is not name=value, percent-encoded")
		}
		*p = append(*p, [2]string{name, value})
	}
	return nil
}

// Describe says what is allowed.
func (Pairs) Describe() string { return "name=value, percent-encoded, separated by commas" }

// attributes are those of the resource, with those that were not given.
func (s Settings) attributes(defaults ...attribute.KeyValue) []attribute.KeyValue {
	all := slices.Clone(defaults)
	for _, p := range s.Resource {
		all = append(all, attribute.String(p[0], p[1]))
	}
	if s.ServiceName != "" {
		all = append(all, attribute.String("service.name", s.ServiceName))
	}
	return all // Of several values of a name the last counts.
}

// Millis is a time in milliseconds, as OpenTelemetry writes them.
type Millis int64

// Duration is the time.
func (m Millis) Duration() time.Duration { return time.Duration(m) * time.Millisecond }

// Describe says what is allowed.
func (Millis) Describe() string { return "milliseconds" }
