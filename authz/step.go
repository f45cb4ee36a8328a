package authz

// Step is a stage of a decision, from top to bottom as a policy reads. The zero value is StepNone.
type Step uint8

// The steps, in their order.
const (
	// StepNone is before the first: nothing was looked at.
	StepNone Step = iota
	// StepTarget reads method, host, path and query.
	StepTarget
	// StepService finds the service.
	StepService
	// StepRule finds the rule, and its branch.
	StepRule
	// StepCaller holds the connection's identity to the rule.
	StepCaller
	// StepAddress holds the address that the request comes from to the rule.
	StepAddress
	// StepToken verifies the token.
	StepToken
	// StepRevoked asks whether the token was taken back.
	StepRevoked
	// StepBound holds the token to its sender.
	StepBound
	// StepClient holds the application's key to the rule.
	StepClient
	// StepScopes holds the token's scopes to the rule.
	StepScopes
	// StepRoles holds its roles to the rule.
	StepRoles
	// StepParams holds path, query and headers to the forms that the rule declares.
	StepParams
	// StepCondition evaluates the rule's condition. A condition that reads the object waits until the body was read.
	StepCondition
	// StepSignature holds the body to who must have signed it.
	StepSignature
	// StepBody reads what the rule needs of the body, and holds it to its schema and to the fields that its sender may write.
	StepBody
	// StepOwner holds tenant, agreement and ownership to the rule.
	StepOwner
	// StepEffects makes what an allow carries: headers and metadata.
	StepEffects

	stepCount
)

var stepNames = [stepCount]string{
	"none", "target", "service", "rule", "caller", "address", "token", "revoked", "bound", "client", "scopes", "roles", "params", "condition", "signature", "body", "owner", "effects",
}

// String is the step's name in explanations.
func (s Step) String() string {
	if s < stepCount {
		return stepNames[s]
	}
	return stepNames[StepNone]
}

// Steps lists the steps of a decision in their order.
func Steps() []Step {
	all := make([]Step, 0, stepCount-1)
	for s := StepTarget; s < stepCount; s++ {
		all = append(all, s)
	}
	return all
}
