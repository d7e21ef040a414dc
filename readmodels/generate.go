package readmodels

//go:generate ../scripts/sqlc
