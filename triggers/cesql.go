package triggers

import (
	"errors"
	"fmt"
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
	asked    set      // attributes named by EXISTS.
	certain  set      // attributes that EXISTS makes certain where it is true.
	literals []string // string literals, for events that could match.
	unknown  []string // functions that do not exist.
}

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
	w := conditionWalker{used: newSet(), asked: newSet()}
	result, certain := w.walk(root.Expression())
	return condition{
		result: result, used: w.used, asked: w.asked, certain: certain,
		literals: w.literals, unknown: w.unknown,
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
	used, asked set
	literals    []string
	unknown     []string
}

// walk returns the type of an expression and the attributes that EXISTS makes
// certain where the expression is true.
func (w *conditionWalker) walk(tree antlr.Tree) (result cesql.Type, certain set) {
	switch e := tree.(type) {
	case *gen.SubExpressionContext:
		return w.walk(e.Expression())
	case *gen.AtomExpressionContext:
		return w.atom(e.Atom()), nil
	case *gen.ExistsExpressionContext:
		name := strings.ToLower(e.Identifier().GetText())
		w.asked[name] = struct{}{}
		return cesql.BooleanType, newSet(name)
	case *gen.UnaryLogicExpressionContext:
		w.walk(e.Expression())
		return cesql.BooleanType, nil
	case *gen.UnaryNumericExpressionContext:
		w.walk(e.Expression())
		return cesql.IntegerType, nil
	case *gen.LikeExpressionContext:
		w.walk(e.Expression())
		pattern := unquote(e.StringLiteral().GetText())
		w.literals = append(w.literals, strings.NewReplacer("%", "", "_", "x").Replace(pattern))
		return cesql.BooleanType, nil
	case *gen.InExpressionContext:
		w.walk(e.Expression())
		if members, ok := e.SetExpression().(*gen.SetExpressionContext); ok {
			w.walkEach(members.AllExpression())
		}
		return cesql.BooleanType, nil
	case *gen.BinaryComparisonExpressionContext:
		w.walkEach(e.AllExpression())
		return cesql.BooleanType, nil
	case *gen.BinaryMultiplicativeExpressionContext:
		w.walkEach(e.AllExpression())
		return cesql.IntegerType, nil
	case *gen.BinaryAdditiveExpressionContext:
		w.walkEach(e.AllExpression())
		return cesql.IntegerType, nil
	case *gen.BinaryLogicExpressionContext:
		_, left := w.walk(e.Expression(0))
		_, right := w.walk(e.Expression(1))
		switch {
		case e.AND() != nil:
			return cesql.BooleanType, left.union(right)
		case e.OR() != nil:
			return cesql.BooleanType, left.intersect(right)
		}
		return cesql.BooleanType, nil
	case *gen.FunctionInvocationExpressionContext:
		return w.function(e), nil
	}
	return cesql.AnyType, nil
}

func (w *conditionWalker) walkEach(expressions []gen.IExpressionContext) {
	for _, e := range expressions {
		w.walk(e)
	}
}

func (w *conditionWalker) atom(tree antlr.Tree) cesql.Type {
	switch a := tree.(type) {
	case *gen.BooleanAtomContext:
		return cesql.BooleanType
	case *gen.IntegerAtomContext:
		return cesql.IntegerType
	case *gen.StringAtomContext:
		w.literals = append(w.literals, unquote(a.GetText()))
		return cesql.StringType
	case *gen.IdentifierAtomContext:
		w.used[strings.ToLower(a.GetText())] = struct{}{}
		return cesql.StringType // Attributes of an HTTP request are strings.
	}
	return cesql.AnyType
}

func (w *conditionWalker) function(e *gen.FunctionInvocationExpressionContext) cesql.Type {
	parameters, ok := e.FunctionParameterList().(*gen.FunctionParameterListContext)
	if !ok {
		return cesql.AnyType
	}
	arguments := parameters.AllExpression()
	w.walkEach(arguments)
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
