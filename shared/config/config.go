// Package config reads a function's settings from the environment, once, at start.
//
// A setting is a field of a struct with these tags:
//
//	env:"GRACE_PERIOD"    the variable, upper case, the same word with the same meaning in every function
//	envDefault:"0s"       the default; without it the zero value
//	oneof:"delete,evict"  the values allowed, for a string
//	help:"..."            one sentence for --help and the README's table
//	required:"true"       the function does not start without it
//
// A blank field (_) documents a variable that a library reads by itself.
//
// A bad configuration is one error that names every bad variable, its value and what is
// allowed. A variable that differs from a known one by letter case, dashes or underscores
// alone (DRYRUN for DRY_RUN), or by _FILE at its end (TLS_CLIENT_CA for TLS_CLIENT_CA_FILE), is an error too: silence
// there would turn a safety off. So is an empty variable that is true or false, a secret, or the path of a file.
package config

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caarlos0/env/v11"
)

// Param is one setting, for --help and the documentation.
type Param struct {
	Name    string
	Type    string
	Default string
	Help    string
	Allowed []string
	// Secret settings may also come from a file named by NAME_FILE.
	Secret   bool
	Required bool

	field reflect.Value
}

// Environ is the process's environment as a map.
func Environ() map[string]string { return env.ToMap(os.Environ()) }

// fileSuffix ends the name of a variable that holds a path.
const fileSuffix = "_FILE"

// Validator is a struct of settings with rules across several of them.
type Validator interface{ Validate() error }

// Load fills the structs that targets point at from environ. The error lists every bad variable, a line each.
func Load(environ map[string]string, targets ...any) error {
	var problems []error
	known := map[string]bool{}
	for _, target := range targets {
		params := Params(target)
		for _, p := range params {
			known[p.Name] = true
			if p.Secret {
				known[p.Name+fileSuffix] = true
			}
		}
		problems = append(problems, load(environ, target, params)...)
	}
	problems = append(problems, misspelt(environ, known)...)
	return errors.Join(problems...)
}

func load(environ map[string]string, target any, params []Param) []error {
	var problems []error
	bad := map[string]bool{}
	for _, p := range params {
		if err := set(environ, p); err != nil {
			problems = append(problems, err)
			bad[p.Name] = true
		}
	}
	if v, ok := target.(Validator); ok && len(bad) == 0 {
		if err := v.Validate(); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// set parses one variable into its field, with the library's parsers, so that each error can name the variable.
func set(environ map[string]string, p Param) error {
	value, given := environ[p.Name]
	if !p.field.CanSet() {
		return nil // a blank field documents a variable that a library reads
	}
	if p.Secret {
		return setSecret(environ, p)
	}
	if p.Required && strings.TrimSpace(value) == "" {
		return fmt.Errorf("%s is not set: want %s", p.Name, p.wants())
	}
	if given && value == "" && (p.field.Kind() == reflect.Bool || strings.HasSuffix(p.Name, fileSuffix)) {
		// What a template variable nobody set renders to must not turn a safety off.
		return fmt.Errorf("%s is empty: want %s, or the variable unset", p.Name, p.wants())
	}
	if value == "" {
		value = p.Default // an empty variable is an unset one, as in a shell's ${NAME:-default}
		given = false
	}
	if value == "" {
		return nil
	}
	if len(p.Allowed) > 0 && !slices.Contains(p.Allowed, value) {
		return fmt.Errorf("%s is %q: want %s", p.Name, value, p.wants())
	}
	if _, parses := reflect.TypeAssert[encoding.TextUnmarshaler](p.field.Addr()); p.field.Kind() == reflect.String && !parses {
		p.field.SetString(value) // as the library would, which makes a table of all its parsers first
		return nil
	}
	// A struct of this one field lets the library do the parsing.
	one := reflect.New(reflect.StructOf([]reflect.StructField{{
		Name: "Value", Type: p.field.Type(), Tag: reflect.StructTag(`env:"` + p.Name + `"`),
	}}))
	if err := env.ParseWithOptions(one.Interface(), env.Options{Environment: map[string]string{p.Name: value}}); err != nil {
		if !given {
			return fmt.Errorf("the default of %s, %q, is wrong: %w", p.Name, value, err)
		}
		return fmt.Errorf("%s is %q: want %s%s", p.Name, value, p.wants(), because(p, err))
	}
	p.field.Set(one.Elem().Field(0))
	return nil
}

// because is the reason a type of our own gives; the library's own words on built-in types say nothing more than wants.
func because(p Param, err error) string {
	if _, ok := reflect.TypeAssert[encoding.TextUnmarshaler](p.field.Addr()); !ok {
		return ""
	}
	for e := err; e != nil; {
		var agg env.AggregateError
		var parse env.ParseError
		switch {
		case errors.As(e, &agg) && len(agg.Errors) > 0:
			e = agg.Errors[0]
			if errors.As(e, &parse) {
				return " (" + parse.Err.Error() + ")"
			}
		default:
			return ""
		}
	}
	return ""
}

func (p Param) wants() string {
	if len(p.Allowed) > 0 {
		return "one of " + strings.Join(p.Allowed, ", ")
	}
	return p.Type
}

// Params lists the settings of the struct that target points at, embedded structs included, in order.
func Params(target any) []Param {
	var params []Param
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			f, value := v.Type().Field(i), v.Field(i)
			name := f.Tag.Get("env")
			if name == "" {
				if f.Anonymous && value.Kind() == reflect.Struct {
					walk(value)
				}
				continue
			}
			p := Param{
				Name: name, Default: f.Tag.Get("envDefault"), Help: f.Tag.Get("help"),
				Required: f.Tag.Get("required") == "true", Type: typeName(reflect.Zero(f.Type)), field: value,
			}
			if oneof := f.Tag.Get("oneof"); oneof != "" {
				p.Allowed = strings.Split(oneof, ",")
			}
			p.Secret = f.Type == reflect.TypeFor[Secret]()
			params = append(params, p)
		}
	}
	walk(reflect.ValueOf(target).Elem())
	return params
}

// Describer is a setting's type that says what it allows.
type Describer interface{ Describe() string }

func typeName(v reflect.Value) string {
	if d, ok := reflect.TypeAssert[Describer](v); ok {
		return d.Describe()
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		return "a duration such as 30s or 5m"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a comma-separated list"
	default:
		return v.Type().String()
	}
}

// plain is a name without what a typing error changes most. It is called for each variable of the process, of which a pod
// has seven for every Service of its namespace.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return unicode.ToUpper(r)
	}, name)
}

func misspelt(environ map[string]string, known map[string]bool) []error {
	byPlain := map[string]string{}
	for name := range known {
		byPlain[plain(name)] = name
	}
	var problems []error
	for name := range environ {
		if known[name] {
			continue
		}
		p := plain(name)
		for _, candidate := range []string{p, p + plain(fileSuffix), strings.TrimSuffix(p, plain(fileSuffix))} {
			if meant, ok := byPlain[candidate]; ok {
				problems = append(problems, fmt.Errorf("%s is not a setting: did you mean %s?", name, meant))
				break
			}
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}
