package projections

import "context"

// ErrOutpaced marks a batch that another worker has applied meanwhile.
var ErrOutpaced = errOutpaced

// Begin is how a session of m begins, when it leads at once.
func (m *ReadModel) Begin(ctx context.Context) (_ uint64, err error) {
	if m.log, err = readOrigin(ctx, m.Log); err != nil {
		return 0, err
	}
	return m.begin(ctx)
}

// Apply is how a batch reaches the tables of m.
func (m *ReadModel) Apply(ctx context.Context, b Batch) error { return m.apply(ctx, b) }
