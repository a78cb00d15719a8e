package falco

import "github.com/riposte-dev/riposte/shared/plainjson"

// AppendJSON writes the alert in Falcosidekick's form, so that an alert inside an outcome decodes again.
func (a Alert) AppendJSON(b []byte) ([]byte, error) {
	b = append(b, '{')
	if a.UUID != "" {
		b = append(plainjson.AppendString(append(b, `"uuid":`...), a.UUID), ',')
	}
	b = plainjson.AppendString(append(b, `"output":`...), a.Output)
	b = plainjson.AppendString(append(b, `,"priority":`...), a.Priority.String())
	b = plainjson.AppendString(append(b, `,"rule":`...), a.Rule)
	b, err := plainjson.AppendTime(append(b, `,"time":`...), a.Time)
	if err != nil {
		return nil, err
	}
	if b, err = plainjson.Append(append(b, `,"output_fields":`...), map[string]any(a.Fields)); err != nil {
		return nil, err
	}
	b = plainjson.AppendString(append(b, `,"source":`...), a.Source)
	for i, tag := range a.Tags {
		separator := `,`
		if i == 0 {
			separator = `,"tags":[`
		}
		b = plainjson.AppendString(append(b, separator...), tag)
	}
	if len(a.Tags) > 0 {
		b = append(b, ']')
	}
	if a.Hostname != "" {
		b = plainjson.AppendString(append(b, `,"hostname":`...), a.Hostname)
	}
	return append(b, '}'), nil
}

// room is about how long the alert is in JSON.
func (a Alert) room() int {
	const envelope, number, quotes = 512, 24, len(`"":"",`)
	n := envelope + len(a.Output)
	for name, value := range a.Fields {
		text, ok := value.(string)
		if !ok {
			n += number
		}
		n += len(name) + len(text) + quotes
	}
	return n
}
