package notify

import "agentkey/domain/organization"

// kind is everything about one kind of channel. Adding one takes a row here and its name in the
// contract; nothing else asks which kind a channel is of.
type kind struct {
	mailed bool                                  // it has recipients instead of a URL
	signed bool                                  // its calls carry a signature
	hosts  []string                              // where a product has its webhooks; none: anywhere
	path   string                                // that their URLs begin with
	body   func(Post, Dashboard) ([]byte, error) // of a call
}

var kinds = map[organization.ChannelKind]kind{
	organization.Slack: {
		hosts: []string{"hooks.slack.com", "hooks.slack-gov.com"}, path: "/", body: Post.slack,
	},
	organization.Discord: {
		hosts: []string{"discord.com", "discordapp.com", "ptb.discord.com", "canary.discord.com"},
		path:  "/api/webhooks/", body: Post.discord,
	},
	organization.Webhook: {signed: true, body: Post.webhook},
	organization.Email:   {mailed: true},
}

// Mailed reports whether channels of a kind have recipients.
func Mailed(k organization.ChannelKind) bool { return kinds[k].mailed }

// Signed reports whether channels of a kind have a signing secret.
func Signed(k organization.ChannelKind) bool { return kinds[k].signed }
