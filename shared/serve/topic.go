package serve

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// FromTopic is the alert in an SNS notification. With Falcosidekick's rawjson it is the message. Without, the
// message is the output text, which attackers write into, and the attributes hold the rest: where there are any,
// the message is not read, even if it looks like an alert. The alert's time is not among them:
// evt.time, in nanoseconds since 1970, is the same moment; where a rule does not print it, the notification's
// own time stands in for it.
func FromTopic(n events.SNSEntity) ([]byte, error) {
	_, rule := n.MessageAttributes["rule"]
	_, priority := n.MessageAttributes["priority"]
	if !rule || !priority {
		return []byte(n.Message), nil
	}
	alert := map[string]any{"output": n.Message, "time": n.Timestamp}
	fields := map[string]any{}
	for name, attribute := range n.MessageAttributes {
		value, kind := attributeValue(attribute)
		switch name {
		case "rule", "priority", "source", "hostname":
			alert[name] = value
		case "tags":
			alert[name] = tags(value)
		default:
			if kind == "Number" {
				fields[name] = json.Number(value)
				continue
			}
			fields[name] = value
		}
	}
	if nanos, err := strconv.ParseInt(fmt.Sprint(fields["evt.time"]), 10, 64); err == nil {
		alert["time"] = time.Unix(0, nanos).UTC()
	}
	alert["output_fields"] = fields
	body, err := json.Marshal(alert)
	if err != nil {
		return nil, fmt.Errorf("read the message attributes: %w", err)
	}
	return body, nil
}

// attributeValue reads one SNS message attribute: {"Type":"String","Value":"..."}.
func attributeValue(attribute any) (value, kind string) {
	m, _ := attribute.(map[string]any)
	value, _ = m["Value"].(string)
	kind, _ = m["Type"].(string)
	return value, kind
}

// tags are sent as one string array or as a comma-separated list.
func tags(value string) []string {
	var list []string
	if json.Unmarshal([]byte(value), &list) == nil {
		return list
	}
	for tag := range strings.SplitSeq(value, ",") {
		list = append(list, strings.TrimSpace(tag))
	}
	return list
}
