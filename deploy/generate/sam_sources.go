package generate

import (
	"maps"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/deploy/source"
)

// The types of events that func.yaml's subscriptions name: alerts, as Falcosidekick sends them, and outcomes.
const (
	typeAlert   = "falco.rule.output.v1"
	typeOutcome = "dev.riposte.response.v1"
)

// sources are what invokes the function.
func (t *stackTemplate) sources(l lambdaFunction) error {
	if l.Schedule != "" {
		t.schedule(l)
	}
	t.url(l)
	if filters := alertFilters(l.Function); len(filters) > 0 {
		t.subscribe(l, filters)
		t.rule(l, "Alerts", object{"detail": anyOf(filters)}, "$.detail")
	}
	if filters := subscribed(l.Function, typeOutcome, map[string]string{"response": "response", "outcome": "outcome", "rule": "rule"}); len(filters) > 0 {
		for _, f := range filters {
			f["type"] = []any{typeOutcome}
		}
		// What Lambda sends to its destination is the outcome in an envelope.
		// https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
		t.rule(l, "Outcomes", object{"source": []any{"lambda"}, "detail": object{"responsePayload": anyOf(filters)}}, "$.detail.responsePayload")
	}
	return nil
}

// alertFilters choose the alerts of a function by what is in the alert, as its triggers do by attributes.
func alertFilters(f source.Function) []object {
	return subscribed(f, typeAlert, map[string]string{"eventsource": "source", "rule": "rule", "priority": "priority"})
}

// subscribed are the subscriptions to a type of event as filters of fields, those of the same fields in one: names are the
// fields of attributes. A subscription with another attribute is left out, and so is one of the canary, which Lambda's
// senders do not have.
func subscribed(f source.Function, kind string, names map[string]string) []object {
	byFields := map[string]object{}
	for _, s := range f.Deploy.Subscriptions {
		fields := maps.Clone(s.Filters)
		if fields["type"] != kind || fields["rule"] == canary {
			continue
		}
		delete(fields, "type")
		keys := slices.Sorted(maps.Keys(fields))
		if len(keys) == 0 || slices.ContainsFunc(keys, func(k string) bool { return names[k] == "" }) {
			continue
		}
		id := strings.Join(keys, " ")
		if byFields[id] == nil {
			byFields[id] = object{}
		}
		for _, k := range keys {
			values, _ := byFields[id][names[k]].([]any)
			var value any = fields[k]
			if k == "eventsource" && value == "syscall" {
				value = object{"prefix": "syscall"} // Old Falco says syscalls.
			}
			if !slices.ContainsFunc(values, func(v any) bool { return equal(v, value) }) {
				byFields[id][names[k]] = append(values, value)
			}
		}
	}
	var all []object
	for _, id := range slices.Sorted(maps.Keys(byFields)) {
		all = append(all, byFields[id])
	}
	return all
}

// canary is the rule of what make doctor sends.
const canary = "Riposte canary"

func equal(a, b any) bool {
	x, isText := a.(string)
	y, alsoText := b.(string)
	return isText == alsoText && x == y // The only one that is no text is the prefix.
}

// anyOf is one filter for what several let through.
// https://docs.aws.amazon.com/sns/latest/dg/and-or-logic.html
func anyOf(filters []object) object {
	if len(filters) == 1 {
		return filters[0]
	}
	return object{"$or": filters}
}

// and adds a condition that holds if the function is there and another one holds.
func (t *stackTemplate) and(l lambdaFunction, other string) string {
	name := l.present() + other
	t.conditions[name] = both(l.present(), other)
	return name
}

// may lets a service invoke the function.
func (t *stackTemplate) may(l lambdaFunction, name, condition, principal string, from any) {
	t.resources[name] = object{"Type": "AWS::Lambda::Permission", "Condition": condition, "Properties": object{
		"Action": "lambda:InvokeFunction", "FunctionName": ref(l.function()), "Principal": principal, "SourceArn": from,
	}}
}

// subscribe brings alerts from the topic, by a queue or straight.
func (t *stackTemplate) subscribe(l lambdaFunction, filters []object) {
	from := topicARN()
	subscription := func(protocol, condition string, to object) {
		properties := object{
			"TopicArn": from, "Protocol": protocol, "Endpoint": to,
			"FilterPolicyScope": "MessageBody", "FilterPolicy": anyOf(filters),
			"RedrivePolicy": object{"deadLetterTargetArn": arn(deadLetters)},
		}
		if protocol == "sqs" {
			properties["RawMessageDelivery"] = true
		}
		t.resources[l.id+"From"+strings.ToUpper(protocol[:1])+protocol[1:]] = object{"Type": "AWS::SNS::Subscription", "Condition": condition, "Properties": properties}
	}
	straight := t.and(l, byTopic)
	subscription("lambda", straight, arn(l.function()))
	t.may(l, l.id+"MayTopic", straight, "sns.amazonaws.com", from)

	queued, queue := t.and(l, byQueue), l.id+"Queue"
	subscription("sqs", queued, arn(queue))
	t.resources[queue] = object{"Type": "AWS::SQS::Queue", "Condition": queued, "Properties": object{
		"VisibilityTimeout": max(visibility, int(l.timeout.Seconds())), "MessageRetentionPeriod": retention, "SqsManagedSseEnabled": true,
		"RedrivePolicy": object{"deadLetterTargetArn": arn(deadLetters), "maxReceiveCount": queueAttempts},
	}}
	t.resources[queue+"Policy"] = object{"Type": "AWS::SQS::QueuePolicy", "Condition": queued, "Properties": object{
		"Queues":         []object{ref(queue)},
		"PolicyDocument": policy(sendsTo(queue, "sns.amazonaws.com", "ArnEquals", from)),
	}}
	t.resources[queue+"Source"] = object{"Type": "AWS::Lambda::EventSourceMapping", "Condition": queued, "Properties": object{
		"EventSourceArn": arn(queue), "FunctionName": ref(l.function()),
		// An alert does not wait for the one before it. What failed is in the answer, which is no error, also of one.
		"BatchSize": 1, "FunctionResponseTypes": []string{"ReportBatchItemFailures"},
		"ScalingConfig": when(reserves, object{"MaximumConcurrency": ref(paramReserved)}, noValue()),
	}}
}

// rule brings what an event bus has.
func (t *stackTemplate) rule(l lambdaFunction, name string, pattern object, path string) {
	id, on := l.id+name, t.and(l, byBus)
	t.resources[id] = object{"Type": "AWS::Events::Rule", "Condition": on, "Properties": object{
		"EventBusName": ref(paramBus), "EventPattern": pattern, "State": "ENABLED",
		"Targets": []object{{"Id": l.Name, "Arn": arn(l.function()), "InputPath": path, "DeadLetterConfig": object{"Arn": arn(deadLetters)}}},
	}}
	t.may(l, id+"May", on, "events.amazonaws.com", arn(id))
}

// schedule invokes the function from time to time.
func (t *stackTemplate) schedule(l lambdaFunction) {
	id := l.id + "Tick"
	t.resources[id] = l.resource("AWS::Events::Rule", object{
		"Description": "Ticks for " + l.Name, "ScheduleExpression": l.Schedule, "State": "ENABLED",
		"Targets": []object{{
			"Id": l.Name, "Arn": arn(l.function()), "Input": "{}",
			// The next tick is near and does the same.
			"RetryPolicy": object{"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
		}},
	})
	t.may(l, id+"May", l.present(), "events.amazonaws.com", arn(id))
}

// url gives the function a URL for those of this account who sign their requests and may invoke it.
func (t *stackTemplate) url(l lambdaFunction) {
	on, id := t.and(l, byURL), l.id+"Url"
	t.resources[id] = object{"Type": "AWS::Lambda::Url", "Condition": on, "Properties": object{"AuthType": "AWS_IAM", "TargetFunctionArn": arn(l.function())}}
	t.outputs[id+"Address"] = object{"Description": "URL of " + l.Name + ".", "Condition": on, "Value": object{"Fn::GetAtt": []string{id, "FunctionUrl"}}}
}
