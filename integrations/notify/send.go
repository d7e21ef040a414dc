package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"agentkey/domain/organization"
	"agentkey/integrations/outbound"
)

// sendTime is how long a receiver may take. It is shorter than a lease, so that a second worker
// doesn't send at the same time.
const sendTime = 10 * time.Second

// Sender sends.
type Sender struct {
	HTTP     *outbound.Client
	Allow    outbound.Rules // hosts where any server may play a product
	Mail     *MailServer    // nil: no e-mail is sent
	MailFrom mail.Address
	Clock    func() time.Time

	Dashboard Dashboard // that messages link to
}

// NewSender returns a sender that reaches what is public, and what is allowed besides.
func NewSender(network outbound.Network, server *MailServer, from mail.Address, clock func() time.Time) *Sender {
	return &Sender{
		HTTP: outbound.New(outbound.Options{Network: network, Timeout: sendTime}), Allow: network.Allow, Mail: server,
		MailFrom: from, Clock: clock,
	}
}

// Problem is why something was not sent, in words that may be shown: they tell nothing of the
// address but its kind, and nothing that the receiver said but a number.
type Problem struct {
	Text  string
	Never bool          // trying again is of no use
	Now   bool          // it is not the receiver's fault
	Alone bool          // the receiver refuses this text; another may do
	Wait  time.Duration // that the receiver asks for
}

// interrupted is what stopping the program makes of an attempt.
var interrupted = &Problem{Text: "the program was stopped meanwhile", Now: true}

// Send brings a post to a target and returns nil when it was taken. It takes at most ten seconds.
func (s *Sender) Send(ctx context.Context, of organization.ChannelKind, t Target, p Post) *Problem {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	unknown := &Problem{Text: "this version can't put it into words for the channel"}
	kind, known := kinds[of]
	if !known {
		return unknown
	}
	if kind.mailed {
		return s.mail(ctx, p, t)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	body, err := kind.body(p, s.Dashboard)
	if err == nil && kind.signed {
		err = sign(header, t.SigningSecret, p.ID, s.Clock(), body)
	}
	if err != nil {
		return unknown
	}
	return s.post(ctx, t.URL, header, body)
}

// sign adds the headers of the Standard Webhooks.
func sign(header http.Header, secret, id string, now time.Time, body []byte) error {
	if err := checkSigningSecret(secret); err != nil {
		return err
	}
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	signature, err := signer.Sign(id, now, body)
	if err != nil {
		return err
	}
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}

func (s *Sender) post(ctx context.Context, url string, header http.Header, body []byte) *Problem {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return &Problem{Text: "it has no URL that can be called", Never: true}
	}
	request.Header = header
	answer, err := s.HTTP.Do(request)
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted
	case errors.Is(err, outbound.ErrTimeout):
		return &Problem{Text: "the receiver did not answer in time"}
	case err != nil:
		return &Problem{Text: err.Error(), Never: errors.Is(err, outbound.ErrRefused)}
	}
	_ = answer.Body.Close() // what it says does not matter
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return nil
	}
	problem := &Problem{
		Text: fmt.Sprintf("the receiver answered %d", answer.StatusCode),
		Wait: retryAfter(answer.Header.Get("Retry-After"), s.Clock()),
	}
	switch answer.StatusCode {
	case http.StatusGone:
		problem.Never = true
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		problem.Alone = problem.Wait == 0
	}
	return problem
}

// retryAfter reads seconds or a date; 0 for anything else.
func retryAfter(text string, now time.Time) time.Duration {
	const most = 1 << 31 // seconds; no wait is that long
	seconds, err := strconv.ParseUint(text, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) { // then it is the largest number
		return time.Duration(min(seconds, most)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
