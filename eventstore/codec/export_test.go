package codec

// What is read by hand, and whether it was.
var (
	QuickSigned  = quickSigned
	ParseSigned  = parseSigned
	QuickIsRead  = func(raw []byte) bool { _, ok := quickMetadata(string(raw)); return ok }
	ParsedFields = func(raw []byte) (signed, key, sig, mac string, err error) {
		m, err := parseMetadata(raw)
		return m.Signed, m.Key, m.Sig, m.MAC, err
	}
)

// Reserved reports whether an event isn't copied because of its type.
var Reserved = reserved
