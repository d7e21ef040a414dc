package api

import "context"

// ErasePerson answers DELETE /api/admin/people/{id}.
func (s *Server) ErasePerson(ctx context.Context, r ErasePersonRequestObject) (ErasePersonResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Erasures.Person(call.ctx, call.meta(), r.ID, call.Caller.Giver())
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return ErasePerson204Response{}, nil
}
