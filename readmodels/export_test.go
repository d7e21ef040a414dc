package readmodels

// AsVersion lets the tables be those of another version of the program.
func (db *DB) AsVersion(fingerprint string) {
	s := db.place.(*schema) //nolint:forcetypeassert // of Postgres
	s.name = s.home + "_" + fingerprint
	db.live.names.schema = s.name
}
