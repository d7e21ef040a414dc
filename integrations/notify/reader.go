package notify

import "strings"

// reader is how the people behind a kind of channel read a text.
type reader struct {
	show  func(string) string // makes what others wrote safe
	link  func(string) string // makes a URL of ours a link
	limit int                 // of a text, in UTF-16 code units
}

// The longest texts that receivers take.
//   - Discord: content has “up to 2000 characters”,
//     https://discord.com/developers/docs/resources/webhook#execute-webhook
//   - Slack: a section block's text has at most 3000 characters,
//     https://api.slack.com/reference/block-kit/blocks#section; we send none, but a
//     person who forwards a message may put it into one
//   - mail has no limit. Ours keeps a digest readable
var (
	slackReader = reader{
		show:  slackText,
		link:  func(url string) string { return "<" + ampersand(url) + ">" },
		limit: 3000,
	}
	discordReader = reader{show: discordText, link: bare, limit: 2000}
	plainReader   = reader{show: plain, link: bare, limit: 200_000}
)

func bare(url string) string { return url }

func ampersand(url string) string { return strings.ReplaceAll(url, "&", "&amp;") }

// quotes keeps a quoted text from ending its quotation.
var quotes = strings.NewReplacer("“", `"`, "”", `"`)

// quote shows what others wrote, at most a number of characters that take at most some room.
func (r reader) quote(text string, most, room int) string {
	shown := func(text string) int { return units(r.show(text)) }
	return "“" + r.show(cut(flat(quotes.Replace(text), most), room, shown)) + "”"
}
