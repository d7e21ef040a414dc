// Package conditions compiles and evaluates what the rules of an organization say of a request, in
// CEL. Every condition ends within a bounded cost, and looks at nothing but facts of the streams:
// no clock, no other call. It decides nothing; a condition that fails is neither true nor false.
package conditions

import (
	"context"
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"

	"agentkey/commands/words"
	"agentkey/domain"
)

// What a condition may take. MaxCost is in units of CEL, of which a comparison is one; maxPattern
// in instructions of the compiled pattern; maxTime ends what the units don't see, so that a slow
// machine alone never decides.
const (
	MaxLength  = 2000
	MaxCost    = 10_000
	maxNodes   = 1000
	maxPattern = 400
	maxTime    = time.Second
	maxShown   = 5 // mistakes in one answer
	kept       = 500
)

// Condition is what a rule asks for. It is safe for concurrent use.
type Condition struct{ program cel.Program }

var environment = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ClearMacros(), cel.Macros(cel.ExistsMacro, cel.AllMacro),
		cel.ParserExpressionSizeLimit(MaxLength), cel.ParserRecursionLimit(50), cel.ExpressionNodeLimit(maxNodes),
		cel.ParserErrorRecoveryLimit(maxShown),
		cel.ExtendedValidations(),
		cel.ASTValidators(cel.ValidateComprehensionNestingLimit(1)),
		cel.DefaultUTCTimeZone(true),
	}
	for _, f := range facts {
		options = append(options, cel.Variable(f.name, f.kind))
	}
	return cel.NewEnv(options...)
})

var compiled = struct {
	sync.Mutex
	of map[string]*Condition
}{of: map[string]*Condition{}}

// Compile returns the condition of a text. Refusal: validation_failed of the field, which says
// where each mistake is and which names there are.
func Compile(field, text string) (*Condition, error) {
	compiled.Lock()
	c := compiled.of[text]
	compiled.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := compile(field, text)
	if err != nil {
		return nil, err
	}
	compiled.Lock()
	defer compiled.Unlock()
	if len(compiled.of) >= kept {
		clear(compiled.of)
	}
	compiled.of[text] = c
	return c, nil
}

func compile(field, text string) (*Condition, error) {
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("make the environment of conditions: %w", err)
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, refused(field, issues)
	}
	if id, problem := patterns(parsed.NativeRep()); problem != "" {
		at := parsed.NativeRep().SourceInfo().GetStartLocation(id)
		return nil, mistaken(field, domain.Field{Message: problem, Line: at.Line(), Column: at.Column() + 1})
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, refused(field, issues)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, mistaken(field, domain.Field{
			Message: "it must be true or false, and it is a value of the type " + checked.OutputType().String(),
			Line:    1, Column: 1,
		})
	}
	estimate, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, fmt.Errorf("estimate the cost of a condition: %w", err)
	}
	if estimate.Max > MaxCost {
		return nil, mistaken(field, domain.Field{
			Message: fmt.Sprintf("it may cost more than %d steps; compare fewer and shorter texts, or divide the rule", MaxCost),
			Line:    1, Column: 1,
		})
	}
	program, err := env.Program(checked, cel.CostLimit(MaxCost), cel.InterruptCheckFrequency(10))
	if err != nil {
		return nil, mistaken(field, domain.Field{Message: words.CleanLine(err.Error()), Line: 1, Column: 1})
	}
	return &Condition{program: program}, nil
}

// Holds evaluates the condition. An error means that it has no answer, and why; it is fit to be
// shown. An end of the context isn't an answer of the condition, and is returned as it is.
func (c *Condition) Holds(ctx context.Context, f Facts) (bool, error) {
	within, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	value, _, err := c.program.ContextEval(within, f)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		return false, Failed(short(err.Error()))
	}
	holds, is := value.(types.Bool)
	if !is {
		return false, Failed("it is neither true nor false")
	}
	return bool(holds), nil
}

// Failed is why a condition had no answer.
type Failed string

// Error implements error.
func (f Failed) Error() string { return string(f) }

const maxProblem = 200

// short cuts a problem, which may repeat an agent's words.
func short(text string) string {
	line := []rune(words.CleanLine(strings.TrimSpace(text)))
	return string(line[:min(len(line), maxProblem)])
}

// patterns refuses regular expressions that aren't literals, or that are large: CEL counts the
// length of a pattern, and a short one can be a large program.
func patterns(a *ast.AST) (id int64, problem string) {
	calls := ast.MatchDescendants(ast.NavigateAST(a), ast.FunctionMatcher("matches"))
	for _, call := range calls {
		args := call.AsCall().Args()
		if len(args) == 0 {
			continue
		}
		literal := args[len(args)-1]
		pattern, is := "", literal.Kind() == ast.LiteralKind
		if is {
			pattern, is = literal.AsLiteral().Value().(string)
		}
		if !is {
			return literal.ID(), "the pattern of matches must be a text in quotes"
		}
		parsed, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			return literal.ID(), short(err.Error())
		}
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil || len(program.Inst) > maxPattern {
			return literal.ID(), "the pattern is too large; repeat less in it"
		}
	}
	return 0, ""
}

// sizes tells the estimate how long the texts of the facts may be.
type sizes struct{}

// EstimateCallCost implements cost.Estimator.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// EstimateSize implements cost.Estimator.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	path := node.Path()
	if last := len(path) - 1; last > 0 && (path[last] == "@keys" || path[last] == "@values") {
		return &cost.SizeEstimate{Max: longestLabel}
	}
	if i, found := byName[strings.Join(path, ".")]; found && facts[i].size > 0 {
		return &cost.SizeEstimate{Max: facts[i].size}
	}
	return nil
}

// refused is the refusal of a text that doesn't compile.
func refused(field string, issues *cel.Issues) error {
	var mistakes []domain.Field
	for _, e := range issues.Errors() {
		message := strings.ReplaceAll(e.Message, " (in container '')", "")
		mistakes = append(mistakes, domain.Field{
			Message: short(message), Line: max(1, e.Location.Line()), Column: max(0, e.Location.Column()) + 1,
		})
		if len(mistakes) == maxShown {
			break
		}
	}
	return mistaken(field, mistakes...)
}

func mistaken(field string, mistakes ...domain.Field) error {
	if len(mistakes) == 0 {
		return errors.New("a condition was refused without a reason")
	}
	first := mistakes[0]
	for i := range mistakes {
		mistakes[i].Field, mistakes[i].Message = field, domain.Verbatim(mistakes[i].Message)
	}
	names := make([]string, len(facts))
	for i, f := range facts {
		names[i] = f.name
	}
	return &domain.Error{
		Kind: domain.KindInvalid, Code: "validation_failed",
		Detail: fmt.Sprintf("The field %s is not valid: line %d, column %d: %s.", field, first.Line, first.Column,
			strings.TrimSuffix(domain.Verbatim(first.Message), ".")),
		Hint: "Write a condition in CEL, such as tool.name == 'Search' && history.tool.revoked == 0. These names exist: " +
			strings.Join(names, ", ") + ".",
		Fields: mistakes,
	}
}
