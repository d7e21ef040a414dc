package people

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// scripts have the shell ask the program for what may follow.
var scripts = map[string]string{
	"bash": `_agentkey() {
  local IFS=$'\n'
  COMPREPLY=($(agentkey complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  [[ ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _agentkey agentkey
`,
	"zsh": `#compdef agentkey
_agentkey() {
  local -a candidates
  candidates=("${(@f)$(agentkey complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n ${candidates[1]} ]]; then compadd -a candidates; else _files; fi
}
if [[ $funcstack[1] == _agentkey ]]; then _agentkey "$@"; else compdef _agentkey agentkey; fi
`,
	"fish": `complete -c agentkey -a '(agentkey complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

// Help implements kong.HelpProvider.
func (completion) Help() string {
	return `For bash, put this into ~/.bashrc: source <(agentkey completion bash)`
}

// Run prints a script.
func (c *completion) Run(sh *Shell) error {
	_, err := io.WriteString(sh.Stdout, scripts[c.Shell])
	return err
}

type complete struct {
	Words []string `arg:"" optional:""`
}

// Run prints what may be the last of some words, one on each line.
func (c *complete) Run(sh *Shell, k *kong.Kong) error {
	words := slices.DeleteFunc(slices.Clone(c.Words), func(w string) bool { return w == "--" })
	if len(words) == 0 {
		words = []string{""}
	}
	for _, candidate := range candidates(k.Model.Node, words) {
		if _, err := fmt.Fprintln(sh.Stdout, candidate); err != nil {
			return err
		}
	}
	return nil
}

// candidates are the commands, flags and values that may be the last of some words.
func candidates(at *kong.Node, words []string) (found []string) {
	flags := slices.Clone(at.Flags)
	var open *kong.Flag // a flag whose value comes next
	for _, word := range words[:len(words)-1] {
		if open != nil {
			open = nil
			continue
		}
		if name, isFlag := strings.CutPrefix(word, "--"); isFlag {
			if i := slices.IndexFunc(flags, func(f *kong.Flag) bool { return f.Name == name }); i >= 0 && !flags[i].IsBool() {
				open = flags[i]
			}
			continue
		}
		if i := slices.IndexFunc(at.Children, func(n *kong.Node) bool { return n.Name == word }); i >= 0 {
			at = at.Children[i]
			flags = append(flags, at.Flags...)
		}
	}
	if at.DefaultCmd != nil {
		flags = append(flags, at.DefaultCmd.Flags...)
	}
	last := words[len(words)-1]
	name, partly, hasValue := strings.Cut(last, "=")
	if hasValue {
		for _, f := range flags {
			if "--"+f.Name == name {
				return beginning(f.Enum, name+"=", partly)
			}
		}
		return nil
	}
	if open != nil {
		return beginning(open.Enum, "", last)
	}
	if strings.HasPrefix(last, "-") {
		for _, f := range flags {
			if !f.Hidden && strings.HasPrefix("--"+f.Name, last) {
				found = append(found, "--"+f.Name)
			}
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	for _, n := range at.Children {
		if !n.Hidden && strings.HasPrefix(n.Name, last) {
			found = append(found, n.Name)
		}
	}
	for _, p := range at.Positional {
		found = append(found, beginning(p.Enum, "", last)...)
	}
	return found
}

// beginning are the values of an enumeration that begin with a text.
func beginning(values, before, text string) (found []string) {
	for v := range strings.SplitSeq(values, ",") {
		if v != "" && strings.HasPrefix(v, text) {
			found = append(found, before+v)
		}
	}
	return found
}
