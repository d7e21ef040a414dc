package spans_test

import (
	"context"
	"testing"

	"agentkey/eventstore/spans"
)

func TestAStepCostsNoMemoryWhereNothingIsTraced(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, 1)
	if n := testing.AllocsPerRun(100, func() {
		below, span := spans.Step(ctx, "command", "agent")
		_, call := spans.Call(below, "append", "agent", 2)
		spans.End(call, "unavailable")
		spans.End(span, "")
		if spans.Within(ctx, span) != ctx {
			t.Error("it is traced")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
