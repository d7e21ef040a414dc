package installation

import "time"

// PublicKey is an Ed25519 key that signs events or checkpoints. SecretID is where its private half
// is sealed.
type PublicKey struct {
	ID       string `json:"id"`
	Public   string `json:"public"` // 32 bytes, base64url without padding
	SecretID string `json:"secret_id"`
}

// SigningKey is a key that signs events. It has a MAC key of its own, sealed as MACSecretID.
type SigningKey struct {
	PublicKey
	MACSecretID string    `json:"mac_secret_id"`
	Since       time.Time `json:"since"`
	Epoch       string    `json:"epoch,omitempty"` // of the log; see the commands
}

// FormerKey is a signing key after which another was added. Until it ends both count.
type FormerKey struct {
	SigningKey
	EndedAt time.Time `json:"ended_at,omitzero"`
	Heads   Heads     `json:"heads,omitzero"` // what it counts for since it ended
}

// Heads names where it is kept which event a key signed last in each stream.
type Heads struct {
	ID      string `json:"id"`
	Digest  string `json:"digest"` // SHA-256 of what is kept, base64url without padding
	Streams int    `json:"streams"`
}

// Keys are all signing keys at one moment. The event that holds them is signed with SigningKey.
type Keys struct {
	SigningKey SigningKey  `json:"signing_key"`
	Former     []FormerKey `json:"former"`
}
