package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"
)

// MailServer is the operator's mail server. The guard of the addresses that users name does not
// concern it.
type MailServer struct {
	host    string
	port    int
	options []mail.Option
}

// ParseMailServer reads smtp://user:password@host:587, where the server must speak STARTTLS,
// smtps://host:465, or, on loopback alone, smtp://127.0.0.1:1025?tls=off. What is wrong is said
// without repeating it: it may hold a password.
func ParseMailServer(text string) (MailServer, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Path != "" && u.Path != "/" {
		return MailServer{}, errors.New("it must be smtp://user:password@host:587 or smtps://user:password@host:465")
	}
	s := MailServer{host: u.Hostname()}
	port, off := 587, false
	if u.Scheme == "smtps" {
		port = 465
	}
	if text := u.Port(); text != "" {
		if port, err = strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
			return MailServer{}, errors.New("its port must be a number from 1 to 65535")
		}
	}
	switch u.RawQuery {
	case "":
	case "tls=off":
		addr, err := netip.ParseAddr(s.host)
		if off = s.host == "localhost" || err == nil && addr.IsLoopback(); !off || u.Scheme == "smtps" {
			return MailServer{}, errors.New(
				"tls=off is for smtp:// on loopback alone: mail and password would cross the network in clear",
			)
		}
	default:
		return MailServer{}, errors.New("the only thing that may follow the port is ?tls=off")
	}
	s.port = port
	s.options = []mail.Option{mail.WithPort(port), mail.WithoutNoop(), mail.WithTimeout(sendTime)}
	plainAuth := mail.SMTPAuthAutoDiscover
	switch {
	case u.Scheme == "smtps":
		s.options = append(s.options, mail.WithSSL())
	case off:
		plainAuth = mail.SMTPAuthPlainNoEnc
		s.options = append(s.options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		s.options = append(s.options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if u.User != nil {
		password, _ := u.User.Password()
		s.options = append(
			s.options, mail.WithSMTPAuth(plainAuth), mail.WithUsername(u.User.Username()), mail.WithPassword(password),
		)
	}
	_, err = mail.NewClient(s.host, s.options...)
	if err != nil {
		return MailServer{}, errors.New("it is not a usable mail server")
	}
	return s, nil
}

// Address is the server's host and port.
func (s MailServer) Address() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// Greet connects and logs in as for an e-mail, and sends none. Its errors are those of the network
// and, for an answer of the server, *textproto.Error.
func (s MailServer) Greet(ctx context.Context) error {
	client, err := mail.NewClient(s.host, s.options...)
	if err != nil {
		return err
	}
	if err := client.DialWithContext(ctx); err != nil {
		return err
	}
	return client.Close()
}

// ParseMailFrom reads the sender address of e-mails, such as AgentKey <agentkey@example.com>.
func ParseMailFrom(text string) (netmail.Address, error) {
	a, err := netmail.ParseAddress(text)
	if err != nil {
		return netmail.Address{}, errors.New("it must be an e-mail address such as AgentKey <agentkey@example.com>")
	}
	return *a, nil
}

// mail sends one e-mail to all recipients of a channel.
func (s *Sender) mail(ctx context.Context, p Post, t Target) *Problem {
	if s.Mail == nil {
		return &Problem{Text: "no mail server is configured; an operator sets AGENTKEY_SMTP_URL and AGENTKEY_SMTP_FROM"}
	}
	subject, text := p.mail(s.Dashboard)
	message := mail.NewMsg(mail.WithNoDefaultUserAgent())
	message.FromMailAddress(&s.MailFrom)
	if err := message.To(t.Recipients...); err != nil {
		return &Problem{Text: "a recipient isn't an e-mail address", Never: true}
	}
	_, at, _ := strings.Cut(s.MailFrom.Address, "@")
	message.SetMessageIDWithValue(p.ID + "@" + at)
	message.SetDateWithValue(s.Clock())
	message.SetGenHeader(mail.Header("Auto-Submitted"), "auto-generated")
	message.Subject(subject)
	message.SetBodyString(mail.TypeTextPlain, text)
	client, err := mail.NewClient(s.Mail.host, s.Mail.options...)
	if err == nil {
		err = client.DialAndSendWithContext(ctx, message)
	}
	return mailProblem(err)
}

// mailProblem puts an error of a mail server into our words: its own may hold addresses.
func mailProblem(err error) *Problem {
	var refused *mail.SendError
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return interrupted
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return &Problem{Text: "the mail server did not answer in time"}
	case errors.As(err, &refused) && refused.ErrorCode() >= 400:
		return &Problem{Text: fmt.Sprintf("the mail server answered %d", refused.ErrorCode())}
	}
	return &Problem{Text: "the mail server can't be reached, or does not take the mail"}
}
