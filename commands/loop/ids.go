package loop

import (
	"time"

	"github.com/google/uuid"
)

// Takeover is how long a command may be under way before another call may carry it out under the
// same id.
const Takeover = 30 * time.Second

// DerivedID makes the id of something that a command creates: a UUIDv7 of the command's time whose
// random part is derived, so that a command that is carried out again creates the same thing and
// not another.
func DerivedID(command uuid.UUID, what string) uuid.UUID {
	id := uuid.NewSHA1(command, []byte(what))
	copy(id[:6], command[:6])
	id[6] = id[6]&0x0f | 0x70
	return id
}

// isConclusion reports whether a command follows from a cause: its id is made of the cause's and
// holds no time. Any process may draw the conclusion, also at this moment.
func isConclusion(command uuid.UUID) bool { return command.Version() != 7 }

// MadeAt returns the time in a UUIDv7.
func MadeAt(id uuid.UUID) time.Time {
	sec, nsec := id.Time().UnixTime()
	return time.Unix(sec, nsec)
}
