package actions

import (
	"strings"

	"agentkey/domain/delivery"
)

// sent is what a delivery reports and to which channel.
func (e entry) sent() string {
	channel, what, _ := strings.Cut(e.Target.Label, ": ")
	if what == "" {
		return "a notification"
	}
	return "the notification “" + what + "” to " + channel
}

var ofDeliveries = []row{
	told("delivery.queued", Notification, "A notification waits to be sent to a channel.",
		part, delivery.Queued{}, func(e entry, _ delivery.Queued) string {
			return e.who() + " queued " + e.sent()
		}),
	told("delivery.claimed", Notification, "A process began to send a notification. Each such entry is a retry: the list "+
		"of the audit leaves it out unless retries are asked for.",
		part, delivery.Claimed{}, func(e entry, _ delivery.Claimed) string {
			return e.who() + " began to send " + e.sent()
		}),
	told("delivery.succeeded", Notification, "The channel took a notification.",
		part, delivery.Succeeded{Attempt: 2}, func(e entry, d delivery.Succeeded) string {
			sentence := e.who() + " delivered " + e.sent()
			if d.Attempt > 1 {
				sentence += " after " + counted(d.Attempt-1, "attempt that failed", "attempts that failed")
			}
			return sentence
		}),
	told("delivery.failed", Notification, "An attempt to send a notification failed; another one follows. Each such "+
		"entry after the first of a notification is a retry.",
		part, delivery.Failed{Attempt: 1, Problem: "the receiver answered 500", NextAt: exampleTime},
		func(e entry, d delivery.Failed) string {
			return e.who() + " couldn't deliver " + e.sent() + ", and tries again at " + moment(d.NextAt) + ": " + d.Problem
		}),
	told("delivery.abandoned", Notification, "A notification was given up after its last attempt: it is a dead letter.",
		part, delivery.Abandoned{Attempt: 12, Problem: "the receiver answered 500"},
		func(e entry, d delivery.Abandoned) string {
			return e.who() + " gave up " + e.sent() + " after " + counted(d.Attempt, "attempt", "attempts") + ": " + d.Problem
		}),
	told("delivery.requeued", Notification, "An admin had a notification sent again.",
		ada, delivery.Requeued{}, func(e entry, _ delivery.Requeued) string {
			return e.who() + " requeued " + e.sent()
		}),
}
