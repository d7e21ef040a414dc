package main

// demoTools are the tools of the demo.
var demoTools = []struct{ name, site, use string }{
	{"GitHub", "github.com", "Source code and pull requests"},
	{"Stripe", "stripe.com", "Payments and refunds"},
	{"Snowflake", "snowflake.com", "The data warehouse"},
	{"Slack", "slack.com", "Messages to teams"},
	{"Jira", "atlassian.com", "Tickets of engineering"},
	{"Salesforce", "salesforce.com", "Accounts and deals"},
	{"HubSpot", "hubspot.com", "Campaigns and contacts"},
	{"Zendesk", "zendesk.com", "Tickets of customers"},
	{"Datadog", "datadoghq.com", "Metrics and monitors"},
	{"PagerDuty", "pagerduty.com", "Who is on call"},
	{"Sentry", "sentry.io", "Errors of our programs"},
	{"Notion", "notion.so", "Handbooks and minutes"},
	{"NetSuite", "netsuite.com", "The general ledger"},
	{"Workday", "workday.com", "People and payroll"},
	{"DocuSign", "docusign.com", "Contracts to sign"},
	{"Twilio", "twilio.com", "Text messages to drivers"},
	{"SendGrid", "sendgrid.com", "E-mail to customers"},
	{"Shopify", "shopify.com", "The shop for packaging"},
	{"Cloudflare", "cloudflare.com", "DNS and caches"},
	{"Vercel", "vercel.com", "Previews of the website"},
	{"CircleCI", "circleci.com", "Builds"},
	{"Terraform Cloud", "terraform.io", "Infrastructure plans"},
	{"Okta", "okta.com", "Groups and applications"},
	{"Intercom", "intercom.com", "Chats with customers"},
	{"Segment", "segment.com", "Events of the website"},
	{"Amplitude", "amplitude.com", "How customers use the portal"},
	{"Looker", "looker.com", "Dashboards"},
	{"dbt Cloud", "getdbt.com", "Models of the warehouse"},
	{"Fivetran", "fivetran.com", "Loads into the warehouse"},
	{"Greenhouse", "greenhouse.io", "Applicants"},
	{"Expensify", "expensify.com", "Expenses"},
	{"Ramp", "ramp.com", "Company cards"},
	{"Xero", "xero.com", "Books of the subsidiaries"},
	{"Box", "box.com", "Scanned documents"},
	{"Zoom", "zoom.us", "Recordings of meetings"},
	{"Calendly", "calendly.com", "Appointments"},
	{"Figma", "figma.com", "Designs"},
	{"Asana", "asana.com", "Projects of operations"},
	{"Mailchimp", "mailchimp.com", "The newsletter"},
	{"LaunchDarkly", "launchdarkly.com", "Feature flags"},
}

// demoAgents are the agents of the demo: five of each team.
var demoAgents = []struct {
	team, owner string
	names       []string
}{
	{"finance", "tom.okafor@brightwater.example", []string{
		"invoice-matcher", "expense-sorter", "refund-checker", "ledger-closer", "payment-reminder",
	}},
	{"support", "ines.duarte@brightwater.example", []string{
		"ticket-triager", "reply-drafter", "claims-assistant", "delivery-notifier", "feedback-summarizer",
	}},
	{"engineering", "maya.lindqvist@brightwater.example", []string{
		"code-reviewer", "dependency-updater", "release-noter", "flaky-test-finder", "docs-keeper",
	}},
	{"platform", "maya.lindqvist@brightwater.example", []string{
		"incident-scribe", "cost-watcher", "plan-checker", "alert-tuner", "backup-auditor",
	}},
	{"data", "noor.haddad@brightwater.example", []string{
		"warehouse-analyst", "dashboard-builder", "schema-watcher", "quality-checker", "forecast-runner",
	}},
	{"sales", "lena.fischer@brightwater.example", []string{
		"lead-scorer", "quote-writer", "renewal-watcher", "call-summarizer", "account-researcher",
	}},
	{"marketing", "lena.fischer@brightwater.example", []string{
		"campaign-planner", "newsletter-writer", "page-tester", "audience-builder", "brand-checker",
	}},
	{"people", "tom.okafor@brightwater.example", []string{
		"onboarding-guide", "applicant-screener", "leave-planner", "policy-answerer", "training-scheduler",
	}},
	{"legal", "ines.duarte@brightwater.example", []string{
		"contract-reader", "clause-finder", "signature-chaser", "renewal-counsel", "request-archivist",
	}},
	{"logistics", "noor.haddad@brightwater.example", []string{
		"route-planner", "customs-filer", "carrier-scout", "dock-scheduler", "parcel-tracker",
	}},
}

// demoReasons is why agents ask for access.
var demoReasons = []string{
	"to finish the weekly report without a person in between", "to look up what customers ask about",
	"to keep records in step with the other system", "to prepare drafts that a person then checks",
	"to find out why last night's run failed", "to answer questions of the team in its channel",
}

// demoDenials is why people say no.
var demoDenials = []string{
	"The export that lands in the warehouse is enough for this.", "Ask again when the pilot is over.",
	"This agent has no owner who could look after it.",
}
