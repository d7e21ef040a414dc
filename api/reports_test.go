package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"agentkey/readmodels"
)

// TestATableOfManyPagesIsWhole serves a report of more rows than are in memory at once.
func TestATableOfManyPagesIsWhole(t *testing.T) {
	t.Parallel()
	const rows = 3*reportPage + 1
	s := &Server{Clock: time.Now, Stopping: context.Background(), exports: make(chan struct{}, 1)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		table := report[uint64]{
			server: s, call: &call{ctx: r.Context()}, name: "numbers",
			columns: []column[uint64]{{"number", func(n uint64) string { return strconv.FormatUint(n, 10) }}},
			rows: func(_ context.Context, p readmodels.Page) (found readmodels.List[uint64], err error) {
				if p.Before == 0 {
					p.Before = rows + 1
				}
				for n := p.Before - 1; n > 0; n-- {
					if len(found.Items) == p.Limit {
						found.Next = n + 1
						break
					}
					found.Items = append(found.Items, n)
				}
				return found, nil
			},
		}
		if err := table.write(w); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	lines := strings.Split(strings.TrimSpace(string(body)), "\r\n")
	if err != nil || len(lines) != rows+1 || lines[0] != `"number"` {
		t.Fatalf("%d lines of %d rows: %v", len(lines), rows, err)
	}
	for i, line := range lines[1:] {
		if want := strconv.Quote(strconv.Itoa(rows - i)); line != want {
			t.Fatalf("line %d is %s, not %s", i, line, want)
		}
	}
}
