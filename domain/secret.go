package domain

// Secret holds bytes that must not leave by accident. They live in a closure, so that no print
// verb, logger or marshaller reaches them. The zero Secret is empty.
type Secret struct{ reveal func() []byte }

// NewSecret takes b over; the caller must not use it again.
func NewSecret(b []byte) Secret { return Secret{reveal: func() []byte { return b }} }

// Reveal returns the bytes themselves.
func (s Secret) Reveal() []byte {
	if s.reveal == nil {
		return nil
	}
	return s.reveal()
}

// Empty reports whether there is nothing in it.
func (s Secret) Empty() bool { return len(s.Reveal()) == 0 }

// Clear overwrites the bytes; the Secret must not be used afterwards.
func (s Secret) Clear() { clear(s.Reveal()) }

// String hides the bytes from every print verb.
func (Secret) String() string { return "[secret]" }

// MarshalText hides the bytes from every marshaller.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }
