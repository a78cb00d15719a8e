package doctor

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// metric is one entry of a Server-Timing header.
type metric struct {
	name string
	took time.Duration
	desc string
}

// parseTimings reads Server-Timing headers. Unknown parameters are passed over, and the first of two equal ones counts,
// as the standard says. https://www.w3.org/TR/server-timing/#the-server-timing-header-field
func parseTimings(values []string) ([]metric, error) {
	var metrics []metric
	for _, text := range values {
		for _, entry := range splitOutside(text, ',') {
			if strings.TrimSpace(entry) == "" {
				continue
			}
			m, err := parseMetric(entry)
			if err != nil {
				return nil, fmt.Errorf("header Server-Timing is %q: %w", text, err)
			}
			metrics = append(metrics, m)
		}
	}
	return metrics, nil
}

func parseMetric(entry string) (metric, error) {
	parts := splitOutside(entry, ';')
	m := metric{name: strings.TrimSpace(parts[0])}
	if m.name == "" || strings.ContainsAny(m.name, " \t\"=") {
		return metric{}, fmt.Errorf("%q is no name of a metric", m.name)
	}
	seen := map[string]bool{}
	for _, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), unquote(strings.TrimSpace(value))
		if seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case "dur":
			ms, err := strconv.ParseFloat(value, 64)
			if day := float64(24 * time.Hour / time.Millisecond); err != nil || !(0 <= ms && ms <= day) { // NaN is neither.
				return metric{}, fmt.Errorf("dur of %s is %q: want milliseconds", m.name, value)
			}
			m.took = time.Duration(ms * float64(time.Millisecond))
		case "desc":
			m.desc = value
		}
	}
	return m, nil
}

// splitOutside splits at a separator that is not within quotes.
func splitOutside(s string, separator byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

// unquote takes the quotes of a quoted-string away, and the backslashes within.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
