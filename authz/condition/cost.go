package condition

import (
	"math"
	"regexp/syntax"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// MaxCost is the highest estimated cost of one evaluation, in CEL's units (one is a comparison of small values, some
// tens of nanoseconds; ten bytes of text looked at are one as well). It is a bound for the worst token that verification
// lets through. Comparing texts, a pattern of a few hundred instructions and a loop over a list fit; a loop within a
// loop fits only where the inner one is a plain `in`.
const MaxCost = 250_000

// textUnit is the cost of one byte of text looked at: CEL's own factor.
const textUnit = cost.StringTraversalCostFactor

// patternUnit is the cost of one byte passed through one instruction of a compiled pattern. CEL counts a pattern's
// letters instead, which `(a{1,30}){1,30}` makes nonsense of.
const patternUnit = 0.05

// estimator tells the engine how large the values of a request can be; without it every estimate is infinite.
type estimator struct {
	claims map[string]Claim
}

// EstimateSize implements cost.Estimator from the caps on tokens and callers. The elements of a list are estimated at
// their average, MaxText/MaxList: NewToken caps what they hold together, and every cost below grows in a straight line
// with each text, so a sum over a list is bounded by the average as well as by the truth.
func (s estimator) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	path := node.Path()
	switch {
	case len(path) == 1 && path[0] == callerVar:
		return upTo(MaxCaller)
	case len(path) == 2 && path[0] == tokenVar:
		return s.claimSize(path[1])
	case len(path) == 2 && isRequestVariable(path[0]), len(path) == 1 && path[0] == objectVar:
		return upTo(MaxText)
	}
	return nil
}

func (s estimator) claimSize(name string) *cost.SizeEstimate {
	switch s.claims[name].Type {
	case String:
		return upTo(MaxText)
	case Strings:
		size := upTo(MaxList)
		size.Elem = upTo(MaxText / MaxList)
		return size
	}
	return upTo(1)
}

func upTo(n uint64) *cost.SizeEstimate { return &cost.SizeEstimate{Max: n} }

// EstimateCallCost implements cost.Estimator for the two functions whose standard estimate is not linear in the text.
func (s estimator) EstimateCallCost(_, overload string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	switch {
	case overload == overloads.ContainsString && target != nil && len(args) == 1:
		texts := cost.EstimateSize(s, *target).Add(cost.EstimateSize(s, args[0]))
		return cost.NewCallEstimate(texts.MultiplyByCostFactor(textUnit), nil)
	case overload == overloads.MatchesString && target != nil && len(args) == 1:
		return matchCost(cost.EstimateSize(s, *target), args[0])
	case overload == overloads.Matches && len(args) == 2:
		return matchCost(cost.EstimateSize(s, args[0]), args[1])
	}
	return nil
}

func matchCost(text cost.SizeEstimate, pattern cost.AstNode) *cost.CallEstimate {
	size := text.Add(cost.FixedSizeEstimate(1))
	return cost.NewCallEstimate(size.MultiplyByCostFactor(patternUnit*instructions(pattern.Expr())), nil)
}

// instructions is the length of the compiled pattern; walkPattern has proved that it compiles.
func instructions(pattern ast.Expr) float64 {
	text, _ := literalText(pattern)
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return math.MaxUint32
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return math.MaxUint32
	}
	return float64(len(prog.Inst))
}

// price refuses a checked expression whose worst evaluation costs too much.
func (c *compiler) price(checked *ast.AST) {
	est, err := cost.Cost(checked, estimator{claims: c.schema.claims})
	if err != nil {
		c.fail(checked.Expr(), "the cost cannot be estimated: %v", err)
		return
	}
	if est.Max > MaxCost {
		c.failAt(1, 0, "one evaluation may cost %d, the most is %d: drop a loop within a loop, or shorten a pattern", est.Max, uint64(MaxCost))
	}
}

// wantBool refuses an expression that is no yes or no.
func (c *compiler) wantBool(checked *ast.AST) {
	t := checked.GetType(checked.Expr().ID())
	if !t.IsExactType(types.BoolType) {
		c.failAt(1, 0, "the expression is a %s; it must be true or false", t)
	}
}
