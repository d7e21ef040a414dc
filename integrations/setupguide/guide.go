// Package setupguide writes how the credential for a product is made: from the product's
// documentation, by a language model that the operator has chosen. What comes from outside is data
// throughout: the page never instructs us, the model is told nothing secret, and what it answers is
// held to a form and made inert. It appends nothing and decides nothing.
package setupguide

import (
	"cmp"
	"context"
	"errors"
	"time"

	"agentkey/commands/names"
	"agentkey/commands/shares"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/integrations/templates"
)

// Guide writes setup guides, a few at once.
type Guide struct {
	Documents Documents
	Model     *Model // nil: none is configured
	Templates *templates.Set
	Within    time.Duration // a whole guide is written

	writing shares.Shares // of organizations
}

// maxWriting is how many guides may be written at the same time. One organization has half of them,
// and where others write them all, one that writes none begins one nevertheless.
const maxWriting = 8

// New returns what writes guides; model is nil when none is configured.
func New(documents Documents, model *Model, known *templates.Set, within time.Duration) *Guide {
	return &Guide{
		Documents: documents, Model: model, Templates: known, Within: within,
		writing: shares.Shares{All: maxWriting, Each: maxWriting / 2},
	}
}

// Product is what a guide is asked for.
type Product struct{ Name, URL, DocsURL string }

// Meta comes before the text.
type Meta struct {
	Source   string           `json:"source"` // SourceAI or SourceTemplate
	AuthType catalog.AuthType `json:"auth_type"`
	Scopes   []string         `json:"scopes"`
	Warnings []string         `json:"warnings"`
	DocsURL  string           `json:"docs_url,omitempty"`
}

// Where a guide comes from.
const (
	SourceAI       = "ai"
	SourceTemplate = "template"
)

// Delta is the next piece of the text, whole lines of Markdown.
type Delta struct {
	Text string `json:"text"`
}

// Done comes last, when the guide is complete.
type Done struct {
	Characters   int `json:"characters"`
	LinksRemoved int `json:"links_removed"` // that led elsewhere than to the product and its documentation
}

// Emit hands a Meta, Delta or Done on. Its error ends the guide.
type Emit func(event any) error

// Plan is a guide that can be written.
type Plan struct {
	guide    *Guide
	product  Product
	template *templates.Template // nil: the product is none of those that are known
}

// Plan refuses what can be refused before anything is fetched.
func (g *Guide) Plan(p Product) (Plan, error) {
	plan := Plan{guide: g, product: p}
	if t, found := g.Templates.Match(names.FoldProduct(p.Name), names.Site(p.URL)); found {
		plan.template = &t
		plan.product.URL, plan.product.DocsURL = cmp.Or(p.URL, t.URL), cmp.Or(p.DocsURL, t.DocsURL)
	}
	if g.Model == nil && plan.template == nil {
		return Plan{}, &domain.Error{
			Kind: domain.KindUnavailable, Code: "ai_not_configured",
			Detail: "No language model is configured, and there is no built-in guide for this product.",
			Hint: "Ask the operator to set AGENTKEY_AI_BASE_URL and AGENTKEY_AI_MODEL; {listToolTemplates} lists " +
				"what has a built-in guide.",
			Next: []domain.Next{{Op: "listToolTemplates"}},
		}
	}
	if plan.product.DocsURL == "" {
		return Plan{}, domain.Invalid("docs_url", "it is needed for a product that has no built-in guide")
	}
	return plan, nil
}

// Write writes a guide for an organization. The error is a refusal that says why there is none, or
// the context's when the caller left.
func (p Plan) Write(ctx context.Context, organization string, emit Emit) error {
	if !p.guide.writing.Take(organization) {
		return &domain.Error{
			Kind: domain.KindUnavailable, Code: "busy", Detail: "Too many guides are being written.",
			RetryAfter: 10 * time.Second,
			Hint:       "Send the same request again in a moment.",
		}
	}
	defer p.guide.writing.Give(organization)
	limited, cancel := context.WithTimeout(ctx, p.guide.Within)
	defer cancel()
	err := p.write(limited, emit)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return unavailable("It did not finish in time.")
	}
	return err
}

func (p Plan) write(ctx context.Context, emit Emit) error {
	if p.guide.Model == nil {
		return fromTemplate(*p.template, "No language model is configured, so this is the built-in guide.", emit)
	}
	page, err := p.guide.Documents.Page(ctx, p.product.DocsURL)
	if refusal, is := errors.AsType[*domain.Error](err); is && p.template != nil {
		return fromTemplate(*p.template, refusal.Detail+" So this is the built-in guide.", emit)
	}
	if err != nil {
		return err
	}
	system, user := prompt(p.product.Name, page)
	a := newAnswer(p.product, emit)
	if err := p.guide.Model.Stream(ctx, system, user, a.add); err != nil {
		return err
	}
	return a.end()
}

// unavailable is the refusal when the model can't be had.
func unavailable(detail string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnavailable, Code: "ai_unavailable", Detail: "The language model gave no guide. " + detail,
		Hint: "Send the same request again in a moment; if it stays, ask the operator to look at " +
			"AGENTKEY_AI_BASE_URL, AGENTKEY_AI_API_KEY and AGENTKEY_AI_MODEL.",
	}
}

// invalid is the refusal of what the model has answered.
func invalid(detail string) *domain.Error {
	return &domain.Error{
		Kind: domain.KindUnavailable, Code: "ai_answer_invalid",
		Detail: "The language model's answer is not a guide. " + detail,
		Hint: "Send the same request again, or with a docs_url that says more plainly how a credential is made; if " +
			"it stays, ask the operator for another AGENTKEY_AI_MODEL.",
	}
}
