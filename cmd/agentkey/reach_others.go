package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"agentkey/integrations/notify"
)

const (
	databaseSetting = "AGENTKEY_DATABASE_URL"
	redisSetting    = "AGENTKEY_REDIS_URL"
	mailSetting     = "AGENTKEY_SMTP_URL"

	// trustHere is for programs that take their authorities from the machine alone.
	trustHere = "add the certificate of that authority to those that this machine trusts"
)

// examinePostgres says why a connection to Postgres fails now, in a sentence; nil where it
// succeeds. What is wrong behind the connection is another question.
func examinePostgres(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return explainPostgres(url, err)
	}
	_ = conn.Close(ctx) // it was only to see
	return nil
}

// explainPostgres says why Postgres can't be used. What it doesn't know it returns as it is.
func explainPostgres(url string, err error) error {
	config, invalid := pgconn.ParseConfig(url)
	if err == nil || invalid != nil {
		return err
	}
	s := server{
		address: net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), setting: databaseSetting,
		trust:   "add sslrootcert=FILE, with the certificate of that authority, to " + databaseSetting,
		plain:   "add sslmode=disable to " + databaseSetting,
		encrypt: "add sslmode=verify-full to " + databaseSetting,
	}
	say := func(format string, args ...any) error { return &fault{text: fmt.Sprintf(format, args...), err: err} }
	refused, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok && strings.Contains(err.Error(), "server refused TLS connection"):
		return s.explain(tls.RecordHeaderError{})
	case !ok:
		return s.explain(err)
	case refused.Code == "28P01":
		return say(
			"Postgres at %s doesn't know the user %s, or the password is wrong: check both in %s", s.address, config.User,
			s.setting,
		)
	case refused.Code == "28000":
		return say(
			"Postgres at %s refuses the user %s (%s): create the user, or allow it in pg_hba.conf; where it asks for TLS, %s",
			s.address, config.User, refused.Message, s.encrypt,
		)
	case refused.Code == "3D000":
		return say(
			"Postgres at %s has no database %s: create it, or correct its name in %s", s.address, config.Database, s.setting,
		)
	case refused.Code == "42501":
		return say(
			"the user %s may not do that in the database %s (%s): GRANT CREATE ON DATABASE %s TO %s", config.User,
			config.Database, refused.Message, config.Database, config.User,
		)
	case refused.Code == "53300":
		return say(
			"Postgres at %s has no connection left: raise its max_connections, or use fewer with pool_max_conns in %s",
			s.address, s.setting,
		)
	}
	return err
}

// examineRedis says why a Redis can't be reached, or doesn't let us in. Whether it counts is
// another question.
func examineRedis(ctx context.Context, o *redis.Options) error {
	s := server{
		address: o.Addr, setting: redisSetting, tls: o.TLSConfig, trust: trustHere,
		plain: "begin " + redisSetting + " with redis://", encrypt: "begin " + redisSetting + " with rediss://",
	}
	if o.Network != "unix" {
		err := s.reach(ctx)
		if s.tls != nil && errors.Is(err, context.DeadlineExceeded) && s.isPlainRedis(ctx) {
			err = s.explain(tls.RecordHeaderError{})
		}
		if err != nil {
			return err
		}
	}
	once := *o
	once.MaxRetries, once.DialerRetries, once.PoolSize, once.ContextTimeoutEnabled = -1, 1, 1, true
	once.DialTimeout, once.ReadTimeout, once.WriteTimeout, once.PoolTimeout = stepTime, stepTime, stepTime, stepTime
	client := redis.NewClient(&once)
	defer func() { _ = client.Close() }() // it was only to see
	err := client.Ping(ctx).Err()
	if redis.IsAuthError(err) {
		return &fault{err: err, text: fmt.Sprintf(
			"Redis at %s doesn't know the user, or the password is missing or wrong: check both in %s", s.address, s.setting,
		)}
	}
	return nil // it answers; whether it counts, the limiter learns
}

// isPlainRedis reports whether a Redis without TLS listens. It takes the beginning of a TLS
// handshake for a part of a command and says nothing.
func (s server) isPlainRedis(ctx context.Context) bool {
	conn, err := s.dial(ctx)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }() // it was only to see
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	answer := make([]byte, 1)
	_, err = conn.Write([]byte("PING\r\n"))
	if err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	return err == nil && (answer[0] == '+' || answer[0] == '-')
}

// examineMail says why a mail server would take no mail. It sends none.
func examineMail(ctx context.Context, m *notify.MailServer) error {
	err := m.Greet(ctx)
	if err == nil {
		return nil
	}
	s := server{
		address: m.Address(), setting: mailSetting, trust: trustHere, plain: "begin " + mailSetting + " with smtp://",
		encrypt: "begin " + mailSetting + " with smtps://",
	}
	if refused, ok := errors.AsType[*textproto.Error](err); ok {
		if refused.Code == 535 || refused.Code == 534 || refused.Code == 530 {
			return &fault{err: err, text: fmt.Sprintf(
				"%s refuses the user or the password (status %d): check both in %s", s.address, refused.Code, s.setting,
			)}
		}
		return &fault{err: err, text: fmt.Sprintf("%s answers with status %d: see its log", s.address, refused.Code)}
	}
	return s.explain(err)
}
