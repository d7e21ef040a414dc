package people

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	agentkey "agentkey/clients/go"
)

type tools struct {
	List   toolsList   `cmd:"" default:"withargs" help:"List the tools, newest first. This is what agentkey tools does alone."`
	Show   toolsShow   `cmd:"" help:"Show a tool. Nobody can read its credential here."`
	Add    toolsAdd    `cmd:"" help:"Add a tool. Its credential comes from standard input or a prompt."`
	Rotate toolsRotate `cmd:"" help:"Replace a tool's credential with one from standard input or a prompt."`
	Remove toolsRemove `cmd:"" help:"Remove a tool: all access to it ends."`
}

type toolsList struct {
	listed
	tagged

	Query string `short:"q" name:"query" help:"Only those with this in their names."`
}

// Run lists tools.
func (l *toolsList) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	return list(
		sh, l.listed, c, "/api/admin/tools", agentkey.ListToolsParams{
			Q: given[agentkey.Q](l.Query), Tag: l.tags(),
		}.Values(),
		[]string{"ID", "NAME", "TYPE", "CREDENTIAL", "ACCESS", "PENDING", "UPDATED"},
		func(t agentkey.Tool) []string {
			return []string{
				t.ID, t.Name, string(t.AuthType), credentialOf(t), strconv.Itoa(t.Grants.Approved),
				strconv.Itoa(t.Grants.Pending), minute(&t.UpdatedAt),
			}
		},
	)
}

func credentialOf(t agentkey.Tool) string {
	switch {
	case t.FrozenAt != nil:
		return "frozen"
	case t.CredentialMode != agentkey.CredentialModeShared:
		return "each agent's own"
	case !t.HasCredential:
		return "none"
	}
	return "version " + strconv.Itoa(t.CredentialVersion)
}

type toolsShow struct {
	output
	one
}

// Run shows a tool.
func (s *toolsShow) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	return show(sh, s.output, c, s.path("/api/admin/tools/"), sh.tool)
}

func (sh *Shell) tool(t agentkey.Tool) error {
	longest := ""
	if t.MaxGrantSeconds != nil {
		longest = (time.Duration(*t.MaxGrantSeconds) * time.Second).String()
	}
	return sh.facts(
		"id", t.ID, "name", t.Name, "description", t.Description, "url", value(t.URL), "labels", labelsOf(t.Labels),
		"type", string(t.AuthType),
		"credential", credentialOf(t), "expires", minute(t.CredentialExpiresAt), "longest access", longest,
		"frozen since", minute(t.FrozenAt), "access", strconv.Itoa(t.Grants.Approved), "pending",
		strconv.Itoa(t.Grants.Pending), "added", minute(&t.CreatedAt), "instructions", t.Instructions,
	)
}

// newTool are the flags that describe a tool.
type newTool struct {
	URL          string `help:"The address of the product."`
	Type         string `enum:"api_key,oauth_token,bot_token,other" default:"api_key" help:"api_key, oauth_token, bot_token or other."`
	PerAgent     bool   `help:"Each agent gets a credential of its own when its request is approved; none is read now."`
	Parts        bool   `help:"The credential is a JSON object of several strings, such as user and password."`
	Description  string `help:"What the tool is for."`
	Instructions string `type:"existingfile" placeholder:"FILE" help:"A file that tells agents how to use the credential."`
	Longest      string `help:"The longest access that can be approved, such as 90d."`

	labelling
}

// described reads what a tool will be, and its credential.
func (n *newTool) described(sh *Shell, name string) (agentkey.NewTool, error) {
	t := agentkey.NewTool{
		Name: name, AuthType: agentkey.AuthType(n.Type), CredentialMode: agentkey.CredentialModeShared,
		Description: given[string](n.Description), URL: given[agentkey.WebAddress](n.URL),
		Labels: n.labels(),
	}
	if n.Longest != "" {
		longest, err := span(n.Longest)
		if err != nil {
			return t, misused("--longest %q isn't a length such as 90d or 12h", n.Longest)
		}
		t.MaxGrantSeconds = new(int64(longest / time.Second))
	}
	if n.Instructions != "" {
		text, err := os.ReadFile(n.Instructions)
		if err != nil {
			return t, err
		}
		t.Instructions = new(strings.TrimSpace(string(text)))
	}
	if n.PerAgent {
		t.CredentialMode = agentkey.CredentialModePerAgent
		return t, nil
	}
	credential, err := sh.credential(name, n.Parts)
	t.Credential = &credential
	return t, err
}

// credential reads a credential: a string as it is, or an object of several.
func (sh *Shell) credential(of string, parts bool) (agentkey.Credential, error) {
	text, err := sh.secret("Credential of " + clean(of))
	if err != nil {
		return nil, err
	}
	if !parts {
		return json.Marshal(text)
	}
	var object map[string]string
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return nil, misused(
			`with --parts the credential must be a JSON object of strings, such as {"user":"…","password":"…"}`,
		)
	}
	return json.Marshal(object)
}

type toolsAdd struct {
	output
	newTool

	Name string `arg:"" help:"The tool's name."`
}

// Run adds a tool.
func (a *toolsAdd) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	wanted, err := a.described(sh, a.Name)
	if err != nil {
		return err
	}
	made, err := c.AddTool(sh.Ctx, wanted)
	if err != nil {
		return explained(err)
	}
	return sh.print(a.output, made, func() error { return sh.tool(*made) })
}

type toolsRotate struct {
	output
	one

	Parts   bool   `help:"The credential is a JSON object of several strings, such as user and password."`
	Expires string `help:"When the provider ends the new credential: after so long, such as 90d, or at a time (RFC 3339)."`
}

// Run replaces a credential.
func (r *toolsRotate) Run(sh *Shell) error {
	until, err := sh.moment("expires", r.Expires)
	if err != nil {
		return err
	}
	c, err := sh.client()
	if err != nil {
		return err
	}
	t, err := c.GetTool(sh.Ctx, r.ID, agentkey.GetToolParams{})
	if err != nil {
		return explained(err)
	}
	credential, err := sh.credential(t.Name, r.Parts)
	if err != nil {
		return err
	}
	t, err = c.RotateCredential(sh.Ctx, r.ID, agentkey.NewCredential{Credential: credential, ExpiresAt: until})
	if err != nil {
		return explained(err)
	}
	return sh.print(r.output, t, func() error {
		_, err := fmt.Fprintf(sh.Stdout, "%s (%s) has version %d.\n", clean(t.Name), t.ID, t.CredentialVersion)
		return err
	})
}

type toolsRemove struct {
	one

	Yes bool `short:"y" help:"Don't ask."`
}

// Run removes a tool.
func (r *toolsRemove) Run(sh *Shell) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	t, err := c.GetTool(sh.Ctx, r.ID, agentkey.GetToolParams{})
	if err != nil {
		return explained(err)
	}
	question := fmt.Sprintf("Remove %s, to which %d agents have access?", clean(t.Name), t.Grants.Approved)
	if err := sh.confirmed(r.Yes, question); err != nil {
		return err
	}
	if err := c.RemoveTool(sh.Ctx, r.ID); err != nil {
		return explained(err)
	}
	_, err = fmt.Fprintf(sh.Stdout, "Removed %s (%s).\n", clean(t.Name), t.ID)
	return err
}
