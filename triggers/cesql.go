package triggers

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/antlr/antlr4/runtime/Go/antlr"
	cesql "github.com/cloudevents/sdk-go/sql/v2"
	"github.com/cloudevents/sdk-go/sql/v2/gen"
	"github.com/cloudevents/sdk-go/sql/v2/parser"
	"github.com/cloudevents/sdk-go/sql/v2/runtime"
)

// condition is what can be said of a CESQL expression without an event.
type condition struct {
	result   cesql.Type
	used     set      // attributes whose value is read, an error when missing.
	unsure   set      // those of them that are read where no EXISTS has been asked before.
	asked    set      // attributes named by EXISTS.
	certain  set      // attributes that EXISTS makes certain where it is true.
	literals []string // string literals, for events that could match.
	unknown  []string // functions that do not exist.
	traps    []trap   // what reads like something else than it is.
}

// trap is a part of an expression that Knative reads otherwise than most people.
type trap struct{ message, cure string }

// parseCondition reads a CESQL expression. Knative's parser panics on some broken
// ones and passes over characters that it does not know; both are errors here.
func parseCondition(text string) (c condition, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			err = errors.New("not a CESQL expression")
		}
	}()
	failures := &syntaxErrors{}
	lexer := gen.NewCESQLParserLexer(parser.NewCaseChangingStream(antlr.NewInputStream(text), true))
	lexer.RemoveErrorListeners()
	lexer.AddErrorListener(failures)
	p := gen.NewCESQLParserParser(antlr.NewCommonTokenStream(lexer, antlr.TokenDefaultChannel))
	p.RemoveErrorListeners()
	p.AddErrorListener(failures)
	tree := p.Cesql()
	if len(failures.messages) > 0 {
		return condition{}, fmt.Errorf("not a CESQL expression: %s", strings.Join(failures.messages, ", "))
	}
	if _, err := parser.Parse(text); err != nil {
		return condition{}, fmt.Errorf("not a CESQL expression: %w", err)
	}
	root, ok := tree.(*gen.CesqlContext)
	if !ok {
		return condition{}, errors.New("not a CESQL expression")
	}
	w := conditionWalker{used: newSet(), asked: newSet(), unsure: newSet()}
	result, certain, _ := w.walk(root.Expression(), nil)
	return condition{
		result: result, used: w.used, asked: w.asked, unsure: w.unsure, certain: certain,
		literals: w.literals, unknown: w.unknown, traps: w.traps,
	}, nil
}

// syntaxErrors collects what the lexer and the parser complain about.
type syntaxErrors struct {
	*antlr.DefaultErrorListener
	messages []string
}

func (s *syntaxErrors) SyntaxError(_ antlr.Recognizer, _ any, _, column int, message string, _ antlr.RecognitionException) {
	message, _, _ = strings.Cut(message, " expecting ") // A list of every token there is.
	s.messages = append(s.messages, fmt.Sprintf("column %d: %s", column+1, message))
}

type conditionWalker struct {
	used, asked, unsure set
	literals            []string
	unknown             []string
	traps               []trap
}

// walk returns the type of an expression and the attributes that EXISTS makes certain
// where the expression is true, and where it is false. Those that are sure are so by what
// was evaluated before: AND asks its right side only where the left is true, OR where it is
// false.
func (w *conditionWalker) walk(tree antlr.Tree, sure set) (result cesql.Type, whenTrue, whenFalse set) {
	switch e := tree.(type) {
	case *gen.SubExpressionContext:
		return w.walk(e.Expression(), sure)
	case *gen.AtomExpressionContext:
		return w.atom(e.Atom(), sure), nil, nil
	case *gen.ExistsExpressionContext:
		name := strings.ToLower(e.Identifier().GetText())
		w.asked[name] = struct{}{}
		return cesql.BooleanType, newSet(name), nil
	case *gen.UnaryLogicExpressionContext:
		inner, whenTrue, whenFalse := w.walk(e.Expression(), sure)
		if notCondition(inner) {
			w.trap("NOT "+e.Expression().GetText()+" is an error for every event: NOT binds more tightly than comparisons",
				"put what it negates in parentheses: NOT (...)")
		}
		return cesql.BooleanType, whenFalse, whenTrue
	case *gen.UnaryNumericExpressionContext:
		w.walkEach(sure, e.Expression())
		return cesql.IntegerType, nil, nil
	case *gen.LikeExpressionContext:
		w.walkEach(sure, e.Expression())
		pattern := unquote(e.StringLiteral().GetText())
		w.literals = append(w.literals, strings.NewReplacer("%", "", "_", "x").Replace(pattern))
		return cesql.BooleanType, nil, nil
	case *gen.InExpressionContext:
		w.walkEach(sure, e.Expression())
		if members, ok := e.SetExpression().(*gen.SetExpressionContext); ok {
			w.walkEach(sure, members.AllExpression()...)
		}
		return cesql.BooleanType, nil, nil
	case *gen.BinaryComparisonExpressionContext:
		w.walkEach(sure, e.AllExpression()...)
		w.comparison(e)
		return cesql.BooleanType, nil, nil
	case *gen.BinaryMultiplicativeExpressionContext:
		w.walkEach(sure, e.AllExpression()...)
		return cesql.IntegerType, nil, nil
	case *gen.BinaryAdditiveExpressionContext:
		w.walkEach(sure, e.AllExpression()...)
		return cesql.IntegerType, nil, nil
	case *gen.BinaryLogicExpressionContext:
		whenTrue, whenFalse = w.logic(e, sure)
		return cesql.BooleanType, whenTrue, whenFalse
	case *gen.FunctionInvocationExpressionContext:
		return w.function(e, sure), nil, nil
	}
	return cesql.AnyType, nil, nil
}

func (w *conditionWalker) trap(message, cure string) { w.traps = append(w.traps, trap{message, cure}) }

// logic walks both sides. It finds operands that are no conditions, and AND before OR, which the grammar of CESQL joins
// from the right: https://github.com/cloudevents/sdk-go/blob/3ce6b2f1f011/sql/v2/CESQLParser.g4
func (w *conditionWalker) logic(e *gen.BinaryLogicExpressionContext, sure set) (whenTrue, whenFalse set) {
	if after, ok := e.Expression(1).(*gen.BinaryLogicExpressionContext); ok && e.AND() != nil && after.AND() == nil {
		w.trap("a AND b OR c means a AND (b OR c) in CESQL", "put parentheses around what belongs together: (a AND b) OR c")
	}
	left, leftTrue, leftFalse := w.walk(e.Expression(0), sure)
	then := sure
	switch {
	case e.AND() != nil:
		then = sure.union(leftTrue)
	case e.OR() != nil:
		then = sure.union(leftFalse)
	}
	right, rightTrue, rightFalse := w.walk(e.Expression(1), then)
	for i, operand := range []cesql.Type{left, right} {
		if notCondition(operand) {
			w.trap(e.Expression(i).GetText()+" is no condition, which is an error for every event that it decides", "compare it with something")
		}
	}
	switch {
	case e.AND() != nil:
		return leftTrue.union(rightTrue), leftFalse.intersect(rightFalse)
	case e.OR() != nil:
		return leftTrue.intersect(rightTrue), leftFalse.union(rightFalse)
	}
	return nil, nil
}

// comparison finds text that is compared as a number, which it cannot be.
func (w *conditionWalker) comparison(e *gen.BinaryComparisonExpressionContext) {
	if e.EQUAL() != nil || e.NOT_EQUAL() != nil || e.LESS_GREATER() != nil {
		return
	}
	for _, operand := range e.AllExpression() {
		if isText(operand) {
			w.trap(operand.GetText()+" is no number, so to compare it by < or > is an error for every event", "name the values: priority IN ('Critical', 'Error')")
			return
		}
	}
}

// isText says of what can never be a number: a literal, or an attribute of alerts and outcomes.
func isText(e antlr.Tree) bool {
	atom, ok := e.(*gen.AtomExpressionContext)
	if !ok {
		return false
	}
	switch a := atom.Atom().(type) {
	case *gen.StringAtomContext:
		_, err := strconv.Atoi(unquote(a.GetText()))
		return err != nil
	case *gen.IdentifierAtomContext:
		return newSet("type", "source", "rule", "priority", "eventsource", "response", "outcome").has(strings.ToLower(a.GetText()))
	}
	return false
}

// notCondition says of which types no value is true or false.
func notCondition(t cesql.Type) bool { return t == cesql.StringType || t == cesql.IntegerType }

func (w *conditionWalker) walkEach(sure set, expressions ...gen.IExpressionContext) {
	for _, e := range expressions {
		w.walk(e, sure)
	}
}

func (w *conditionWalker) atom(tree antlr.Tree, sure set) cesql.Type {
	switch a := tree.(type) {
	case *gen.BooleanAtomContext:
		return cesql.BooleanType
	case *gen.IntegerAtomContext:
		return cesql.IntegerType
	case *gen.StringAtomContext:
		w.literals = append(w.literals, unquote(a.GetText()))
		return cesql.StringType
	case *gen.IdentifierAtomContext:
		name := strings.ToLower(a.GetText())
		w.used[name] = struct{}{}
		if !sure.has(name) {
			w.unsure[name] = struct{}{}
		}
		return cesql.StringType // Attributes of an HTTP request are strings.
	}
	return cesql.AnyType
}

func (w *conditionWalker) function(e *gen.FunctionInvocationExpressionContext, sure set) cesql.Type {
	parameters, ok := e.FunctionParameterList().(*gen.FunctionParameterListContext)
	if !ok {
		return cesql.AnyType
	}
	arguments := parameters.AllExpression()
	w.walkEach(sure, arguments...)
	name := strings.ToUpper(e.FunctionIdentifier().GetText())
	function := runtime.ResolveFunction(name, len(arguments))
	if function == nil {
		w.unknown = append(w.unknown, name+" of "+plural(len(arguments), "argument"))
		return cesql.AnyType
	}
	return function.ReturnType()
}

func unquote(literal string) string {
	if len(literal) < 2 {
		return literal
	}
	quote := literal[:1]
	return strings.ReplaceAll(literal[1:len(literal)-1], `\`+quote, quote)
}
