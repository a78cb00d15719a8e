package generate

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// attempts bounds what is tried again, by a queue and by Lambda itself.
	queueAttempts = 5
	// visibility is when a queue tries again. Five times are over before an alert of MAX_ALERT_AGE=10m is too old.
	visibility = 90
	// retention is how long an alert waits in a queue, in seconds. It is far longer than an alert is young enough: what is over
	// it goes without a word, and the function says what is too old. It counts for the dead letters too, which are kept longer.
	retention = 4 * 24 * 3600
	// shortestWait and longestWait are what Lambda takes for the age of an event that waits for an attempt.
	// https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
	shortestWait, longestWait = time.Minute, 6 * time.Hour
	// longestRun is what Lambda takes for the time of one.
	longestRun = 15 * time.Minute
)

// add adds a function and what belongs to it. All of it is there if the function's parameter is true.
func (t *stackTemplate) add(l lambdaFunction) error {
	t.parameters[l.id] = object{"Type": "String", "AllowedValues": []string{"true", "false"}, "Default": "false", "Description": "Whether " + l.Name + " is deployed."}
	t.conditions[l.present()] = equals(l.id, "true")
	variables, err := l.variables()
	if err != nil {
		return err
	}
	if err := t.needs(l); err != nil {
		return err
	}
	role, logs := l.id+"Role", l.id+"Logs"
	t.resources[l.function()] = l.resource("AWS::Serverless::Function", object{
		"FunctionName": sub("${AWS::StackName}-" + l.Name), "Description": "Riposte's " + l.Name,
		"CodeUri": "../../dist/lambda/" + l.Name + "-arm64.zip", "Role": arn(role),
		"MemorySize": l.Memory, "Timeout": int(l.timeout.Seconds()),
		"Environment":   object{"Variables": variables},
		"LoggingConfig": object{"LogGroup": ref(logs)},
	})
	t.resources[l.id+"Invoked"] = l.resource("AWS::Lambda::EventInvokeConfig", object{
		"FunctionName": ref(l.function()), "Qualifier": "$LATEST",
		"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": int(l.wait().Seconds()),
		"DestinationConfig": object{
			"OnFailure": object{"Destination": arn(deadLetters)},
			"OnSuccess": when(byBus, object{"Destination": eventBus()}, noValue()),
		},
	})
	t.resources[logs] = l.resource("AWS::Logs::LogGroup", object{
		"LogGroupName": sub("/aws/lambda/${AWS::StackName}-" + l.Name), "RetentionInDays": ref(paramLogs),
	})
	t.resources[role] = l.resource("AWS::IAM::Role", object{
		"AssumeRolePolicyDocument": policy(object{
			"Effect": "Allow", "Principal": object{"Service": "lambda.amazonaws.com"}, "Action": []string{"sts:AssumeRole"},
		}),
		"Policies": append([]any{object{"PolicyName": "riposte", "PolicyDocument": policy(l.rights(logs)...)}}, l.conditional()...),
	})
	if l.kubernetes {
		t.resources[l.id+"Access"] = l.resource("AWS::EKS::AccessEntry", object{
			"ClusterName": ref(paramCluster), "PrincipalArn": arn(role), "KubernetesGroups": []string{l.group}, "Type": "STANDARD",
		})
	}
	t.outputs[l.id+"Arn"] = object{"Description": "ARN of " + l.Name + ".", "Condition": l.present(), "Value": arn(l.function())}
	return t.sources(l)
}

// wait is how long an event may wait for an attempt: as long as its alert is young enough.
func (l lambdaFunction) wait() time.Duration {
	if l.oldest == 0 {
		return longestWait // Alerts of any age are answered.
	}
	return min(max(l.oldest, shortestWait), longestWait)
}

// function is the function's own resource.
func (l lambdaFunction) function() string { return l.id + "Function" }

// present is the condition that the function is there.
func (l lambdaFunction) present() string { return "Has" + l.id }

// resource is one that is there if the function is.
func (l lambdaFunction) resource(kind string, properties object) object {
	return object{"Type": kind, "Condition": l.present(), "Properties": properties}
}

// needs declares the function's own parameters, and that they have to be set.
func (t *stackTemplate) needs(l lambdaFunction) error {
	names := slices.Sorted(maps.Keys(l.Parameters))
	for _, name := range names {
		if _, taken := t.parameters[name]; taken {
			return fmt.Errorf("lambda.yaml: parameters has %q, which the template has already", name)
		}
		p := l.Parameters[name]
		t.parameters[name] = object{"Type": "String", "Default": "", "AllowedPattern": "(" + p.Pattern + ")?", "Description": "For " + l.Name + ": " + p.Description}
	}
	if l.kubernetes {
		names = append(names, paramCluster)
	}
	var assertions []object
	for _, name := range names {
		assertions = append(assertions, object{"Assert": not(equals(name, "")), "AssertDescription": l.id + " is true: want " + name})
	}
	if len(assertions) > 0 {
		t.rules["Wants"+l.id] = object{"RuleCondition": equals(l.id, "true"), "Assertions": assertions}
	}
	return nil
}

func policy(statements ...object) object {
	return object{"Version": "2012-10-17", "Statement": statements}
}

func allow(resource any, actions ...string) object {
	return object{"Effect": "Allow", "Action": actions, "Resource": resource}
}

// rights are what the role may do in any case.
func (l lambdaFunction) rights(logs string) []object {
	all := []object{
		allow(arn(logs), "logs:CreateLogStream", "logs:PutLogEvents"),
		// Package dynamo of shared/store does these and no others.
		allow(arn(claims), "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan"),
		allow(arn(deadLetters), "sqs:SendMessage"),
	}
	if l.kubernetes {
		all = append(all, allow(sub("arn:${AWS::Partition}:eks:${AWS::Region}:${AWS::AccountId}:cluster/${"+paramCluster+"}"), "eks:DescribeCluster"))
	}
	return append(all, l.Policies...)
}

// conditional are the policies of what the parameters turn on. Those on any resource are of services that know no other.
func (l lambdaFunction) conditional() []any {
	only := func(condition, name string, statements ...object) any {
		return when(condition, object{"PolicyName": name, "PolicyDocument": policy(statements...)}, noValue())
	}
	all := []any{
		only(traces, "tracing", allow("*", "xray:PutTelemetryRecords", "xray:PutTraceSegments")),
		only(inVPC, "network",
			allow("*", "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
				"ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses"),
			// These are Lambda's, not the function's own.
			// https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-best-practice
			object{
				"Effect": "Deny", "Resource": "*",
				"Action": []string{
					"ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces",
					"ec2:DescribeSubnets", "ec2:UnassignPrivateIpAddresses",
				},
				"Condition": object{"ArnEquals": object{"lambda:SourceFunctionArn": []object{
					sub("arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${AWS::StackName}-" + l.Name),
				}}},
			}),
		only(byBus, "outcomes", allow(eventBus(), "events:PutEvents")),
	}
	if len(alertFilters(l.Function)) > 0 {
		all = append(all, only(byQueue, "queue", allow(arn(l.id+"Queue"), "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")))
	}
	return all
}

func eventBus() object {
	return sub("arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/${" + paramBus + "}")
}
