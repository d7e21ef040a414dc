package agentkey

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
)

// Each reads the pages of a list as far as you range over it, and yields its items. It ends after
// the first error. Lists have methods of their own, such as AllAgents.
func Each[T any](
	ctx context.Context, c *Client, path string, query url.Values, options ...Option,
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		asked := url.Values{}
		maps.Copy(asked, query)
		for {
			var page struct {
				Items      []T    `json:"items"`
				Tools      []T    `json:"tools"` // the catalog, as an agent lists it
				NextCursor string `json:"next_cursor"`
			}
			if err := c.Do(ctx, http.MethodGet, path, asked, nil, &page, options...); err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range append(page.Items, page.Tools...) {
				if !yield(item, nil) {
					return
				}
			}
			if page.NextCursor == "" {
				return
			}
			asked.Set("cursor", page.NextCursor)
		}
	}
}

// MyTools lists the catalog as an agent sees it, newest first. access, unless it is empty, narrows
// it to the tools to which the agent has that access.
func (c *Client) MyTools(ctx context.Context, access Access, options ...Option) iter.Seq2[MyTool, error] {
	query := url.Values{"limit": {"200"}}
	if access != "" {
		query.Set("access", string(access))
	}
	return Each[MyTool](ctx, c, "/api/tools", query, options...)
}
