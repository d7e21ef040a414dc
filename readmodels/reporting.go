package readmodels

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed reporting.sql
var reporting string

// told marks the views of one version that show one schema.
func (s *schema) told() string {
	sum := sha256.Sum256([]byte(reporting))
	return "agentkey: what reports may rely on; made from " + s.name + " by " + hex.EncodeToString(sum[:6])
}

// reports is the schema of the views.
func (s *schema) reports() string {
	if s.home == DefaultSchema {
		return "reporting"
	}
	return s.home + "_reporting"
}

// tell lets the views of the reporting schema show this one. They are replaced, so that users who
// were granted them keep them; only views that can't become these, because a newer version has
// made them, are recreated. It is part of the caller's transaction.
func (s *schema) tell(ctx context.Context, tx pgx.Tx) error {
	name := pgx.Identifier{s.name}.Sanitize()
	text := "CREATE SCHEMA IF NOT EXISTS " + s.reports() + "; SET LOCAL search_path = " + name + ";" +
		strings.ReplaceAll(reporting, "reporting.", s.reports()+".") +
		"; COMMENT ON SCHEMA " + s.reports() + " IS '" + strings.ReplaceAll(s.told(), "'", "''") + "'"
	if _, err := tx.Exec(ctx, "SAVEPOINT views"); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, text)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "42P16" { // invalid_table_definition
		s.logger.WarnContext(
			ctx, "the reporting views of a newer version are recreated and must be granted again",
			slog.String("reason", refused.Message),
		)
		_, err = tx.Exec(ctx, "ROLLBACK TO SAVEPOINT views; DROP SCHEMA "+s.reports()+" CASCADE;"+text)
	}
	return err
}
