package domain

import (
	"strings"
	"time"
)

// Kind groups refusals by what the caller can do about them; the HTTP edge maps each kind to one
// status.
type Kind int

// The kinds of refusal.
const (
	KindInvalid         Kind = iota + 1 // the input is wrong: 400
	KindUnauthenticated                 // unknown caller: 401
	KindForbidden                       // known, but not allowed: 403
	KindNotFound                        // no such thing, or not yours: 404
	KindMethod                          // the path exists, the method does not: 405
	KindConflict                        // another caller was first, or it is already so: 409
	KindStale                           // edited since you read it: 412
	KindUnconditional                   // say what you have read: 428
	KindTooLarge                        // 413
	KindUnsupported                     // media type: 415
	KindLimited                         // rate limit: 429
	KindUnavailable                     // a part we need is down or behind: 503
)

// Field is one mistake in the input.
type Field struct {
	Field        string
	Message      string
	Line, Column int // where it is in a text of several lines, from 1; 0: unknown
}

// Next is an operation that a reader may call next: its name in the contract and the ids that it
// takes, in order. An empty or missing id is the reader's to fill in.
type Next struct {
	Op  string
	IDs []string
}

// Error is a refusal: the rules said no and the caller may know why. Every other error is a fault,
// whose text stays inside. Code is contract, the texts are not.
//
// The texts say what to do, not how, because a caller may use HTTP, a chat or a tool protocol. What
// each of these calls by another name is a slot: {requestTool} is an operation that Next lists,
// {wait} says when to come back, {condition} the revision that a change is based on, {tag} a
// resource's revision, {once} the key that gives a call one effect, {key} how an agent sends its
// key. Words of a caller's, which may look like a slot, pass through Verbatim.
type Error struct {
	Kind       Kind
	Code       string
	Detail     string
	Hint       string
	Next       []Next         // the operations that the texts name
	RetryAfter time.Duration  // how long to wait, 0 when waiting does not help
	Fields     []Field        // what validation found
	Extra      map[string]any // further members of the answer, such as access_request
}

// Verbatim returns words of a caller's for the texts of a refusal, where they stay as they are: a
// doubled brace is a brace.
func Verbatim(words string) string { return strings.ReplaceAll(words, "{", "{{") }

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Detail }

// NotFound is the refusal for what doesn't exist and for what belongs to another organization: the
// two look the same.
func NotFound(what string) *Error {
	list, found := lists[what]
	if !found {
		list = lists[""]
	}
	return &Error{
		Kind: KindNotFound, Code: "not_found", Detail: "There is no such " + what + ".", Hint: list.hint,
		Next: list.next,
	}
}

// Invalid is the refusal of one field of the input. next lists the operations that the message
// names.
func Invalid(field, message string, next ...Next) *Error {
	return &Error{
		Kind: KindInvalid, Code: "validation_failed",
		Detail: "The field " + Verbatim(field) + " is not valid: " + message + ".",
		Hint:   "Correct the fields named in details and send the request again.",
		Next:   next,
		Fields: []Field{{Field: field, Message: message}},
	}
}

// TooManyWaiting is the refusal of one more thing that people would have to decide on. Nothing in
// the request is wrong, so it names no field: another name or text would not help.
func TooManyWaiting(detail string) *Error {
	return &Error{
		Kind: KindConflict, Code: "too_many_waiting", Detail: detail,
		Hint: "Nothing in your request is wrong, and changing it does not help. Continue without it, and send it " +
			"again when a human has decided on some of what waits.",
	}
}

// Stale is the refusal of an edit that was based on an older revision.
func Stale() *Error {
	return &Error{
		Kind: KindStale, Code: "revision_stale", Detail: "It was changed since the revision named in {condition}.",
		Hint: "Read it again, repeat the change on what it is now, and send the new {tag} in {condition}.",
	}
}

// lists names the operation that lists a kind.
var lists = map[string]struct {
	hint string
	next []Next
}{
	"tool": {"List the tools with {listMyTools} (agents) or {listTools} " +
		"(admins).", []Next{{Op: "listMyTools"}, {Op: "listTools"}}},
	"agent":                {"List the agents with {listAgents}.", []Next{{Op: "listAgents"}}},
	"request":              {"List the requests with {listRequests}.", []Next{{Op: "listRequests"}}},
	"rule":                 {"List the rules with {listRules}.", []Next{{Op: "listRules"}}},
	"service token":        {"List the tokens with {listServiceTokens}.", []Next{{Op: "listServiceTokens"}}},
	"suggestion":           {"List the suggestions with {listSuggestions}.", []Next{{Op: "listSuggestions"}}},
	"note":                 {"List the notes with {listNotes}.", []Next{{Op: "listNotes"}}},
	"notification channel": {"List the channels with {listChannels}.", []Next{{Op: "listChannels"}}},
	"notification":         {"List what was sent with {listDeliveries}.", []Next{{Op: "listDeliveries"}}},
	"grant": {"List who has what with {listGrants}, or give access with " +
		"{assignTool}.", []Next{{Op: "listGrants"}, {Op: "assignTool"}}},
	"audit entry": {"List what happened with {listAudit}.", []Next{{Op: "listAudit"}}},
	"":            {"See {getDocument} for every path.", []Next{{Op: "getDocument"}}},
}

// Decided says how something ended about which nobody can decide again. A refusal names it in
// Extra.
type Decided struct {
	ID, Status string
	By         *Actor
	At         time.Time
}
