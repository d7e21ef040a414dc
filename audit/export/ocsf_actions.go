package export

// The classes of OCSF that the audit uses.
const (
	accountChange    = 3001
	entityManagement = 3004
	apiActivity      = 6003
)

// ocsfClass is what a class is called, and the category that it is in.
type ocsfClass struct {
	name       string
	category   int
	activities map[int]string
	profiles   []string // without which the class has no actor
}

// other is the activity for which a class has no word.
const other = 99

var ocsfClasses = map[int]ocsfClass{
	accountChange: {"Account Change", 3, map[int]string{
		1: "Create", 2: "Enable", 4: "Password Reset", 5: "Disable", 6: "Delete", 7: "Attach Policy", 8: "Detach Policy",
	}, nil},
	entityManagement: {"Entity Management", 3, map[int]string{
		1: "Create", 3: "Update", 4: "Delete", 9: "Disable", 12: "Suspend", 13: "Resume",
	}, []string{"host"}},
	apiActivity: {"API Activity", 6, map[int]string{2: "Read"}, nil},
}

// Severities and statuses.
const (
	informational = 1
	low           = 2
	medium        = 3
	high          = 4

	success = 1
	failure = 2
)

var (
	severities = map[int]string{informational: "Informational", low: "Low", medium: "Medium", high: "High"}
	statuses   = map[int]string{success: "Success", failure: "Failure"}
)

// ocsfAction says what an action of the audit is in OCSF.
type ocsfAction struct {
	class, activity, severity, status int
	// word names an activity for which the class has none, and the operation of an API Activity.
	word string
}

// ocsfActions has every action of the audit. A grant is a policy that is attached to an agent; the
// request for one is an entity. The log is suspended while nothing is vended on it.
var ocsfActions = map[string]ocsfAction{
	"credential.vended":     {apiActivity, 2, informational, success, "fetchCredential"},
	"credential.refused":    {apiActivity, 2, low, failure, "fetchCredential"},
	"agent.key_refused":     {apiActivity, other, medium, failure, "authenticate"},
	"service_token.refused": {apiActivity, other, medium, failure, "authenticate"},

	"call.refused": {apiActivity, other, low, failure, "authorize"},

	"agent.registered":          {accountChange, 1, informational, success, ""},
	"agent.updated":             {entityManagement, 3, informational, success, ""},
	"agent.key_rotated":         {accountChange, 4, informational, success, ""},
	"agent.identity_bound":      {entityManagement, 3, low, success, ""},
	"agent.identity_unbound":    {entityManagement, 3, informational, success, ""},
	"agent.suspended":           {accountChange, 5, low, success, ""},
	"agent.reactivated":         {accountChange, 2, informational, success, ""},
	"agent.retired":             {accountChange, 6, informational, success, ""},
	"service_token.created":     {accountChange, 1, low, success, ""},
	"service_token.revoked":     {accountChange, 6, informational, success, ""},
	"organization.updated":      {entityManagement, 3, low, success, ""},
	"member.invited":            {entityManagement, 1, low, success, ""},
	"member.invitation_revoked": {entityManagement, 4, informational, success, ""},
	"member.joined":             {accountChange, 1, low, success, ""},
	"member.updated":            {entityManagement, 3, low, success, ""},
	"member.removed":            {accountChange, 6, informational, success, ""},
	"session.offered":           {apiActivity, other, medium, success, "authenticate"},
	"session.began":             {apiActivity, other, informational, success, "authenticate"},
	"session.all_ended":         {apiActivity, other, low, success, "logout"},
	"session.ended":             {apiActivity, other, informational, success, "logout"},
	"person.recorded":           {entityManagement, 1, informational, success, ""},
	"person.erased":             {entityManagement, 4, low, success, ""},
	"privacy.month_erased":      {entityManagement, 3, low, success, ""},

	"grant.requested":           {entityManagement, 1, informational, success, ""},
	"grant.withdrawn":           {entityManagement, 4, informational, success, ""},
	"grant.approval_given":      {entityManagement, 3, informational, success, ""},
	"grant.approved":            {accountChange, 7, informational, success, ""},
	"grant.denied":              {entityManagement, 3, informational, success, ""},
	"grant.assigned":            {accountChange, 7, informational, success, ""},
	"grant.revoked":             {accountChange, 8, informational, success, ""},
	"grant.expired":             {accountChange, 8, informational, success, ""},
	"grant.credential_replaced": {entityManagement, 3, informational, success, ""},

	"rule.added":   {entityManagement, 1, low, success, ""},
	"rule.changed": {entityManagement, 3, low, success, ""},
	"rule.removed": {entityManagement, 4, low, success, ""},
	"rule.failed":  {entityManagement, 3, medium, failure, ""},

	"tool.added":                  {entityManagement, 1, informational, success, ""},
	"tool.updated":                {entityManagement, 3, informational, success, ""},
	"tool.credential_rotated":     {entityManagement, 3, informational, success, ""},
	"tool.instructions_revised":   {entityManagement, 3, informational, success, ""},
	"tool.removed":                {entityManagement, 4, informational, success, ""},
	"tool.frozen":                 {entityManagement, 12, low, success, ""},
	"tool.unfrozen":               {entityManagement, 13, informational, success, ""},
	"suggestion.made":             {entityManagement, 1, informational, success, ""},
	"suggestion.backed":           {entityManagement, 3, informational, success, ""},
	"suggestion.dismissed":        {entityManagement, 3, informational, success, ""},
	"suggestion.accepted":         {entityManagement, 3, informational, success, ""},
	"suggestion.redirected":       {entityManagement, 3, informational, success, ""},
	"suggestion.cooldown_refused": {entityManagement, 1, low, failure, ""},
	"catalog.change_planned":      {entityManagement, 3, informational, success, ""},
	"catalog.change_completed":    {entityManagement, 3, informational, success, ""},

	"instruction_suggestion.made":      {entityManagement, 1, informational, success, ""},
	"instruction_suggestion.backed":    {entityManagement, 3, informational, success, ""},
	"instruction_suggestion.accepted":  {entityManagement, 3, informational, success, ""},
	"instruction_suggestion.dismissed": {entityManagement, 3, informational, success, ""},

	"organization.created":         {entityManagement, 1, informational, success, ""},
	"notification_channel.added":   {entityManagement, 1, informational, success, ""},
	"notification_channel.updated": {entityManagement, 3, informational, success, ""},
	"notification_channel.removed": {entityManagement, 4, informational, success, ""},

	"delivery.queued":    {entityManagement, 1, informational, success, ""},
	"delivery.claimed":   {entityManagement, 3, informational, success, ""},
	"delivery.succeeded": {entityManagement, 3, informational, success, ""},
	"delivery.failed":    {entityManagement, 3, low, failure, ""},
	"delivery.abandoned": {entityManagement, 3, medium, failure, ""},
	"delivery.requeued":  {entityManagement, 3, informational, success, ""},

	"installation.begun":      {entityManagement, 1, informational, success, ""},
	"master_key.added":        {entityManagement, 1, low, success, ""},
	"master_key.destroyed":    {entityManagement, 4, low, success, ""},
	"signing_key.added":       {entityManagement, 1, low, success, ""},
	"signing_key.recorded":    {entityManagement, 3, informational, success, ""},
	"signing_key.ended":       {entityManagement, 9, low, success, ""},
	"log.restore_found":       {entityManagement, 12, high, success, ""},
	"log.restore_confirmed":   {entityManagement, 13, low, success, ""},
	"log.foreign_event_found": {entityManagement, other, high, success, "Find Foreign Event"},
}
