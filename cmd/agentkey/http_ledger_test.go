package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit/formats"
	"agentkey/eventstore/eventstoretest/wait"
)

const checkpointPath = "/api/admin/audit/checkpoint"

// mustBeCovered adds as much to the audit as makes a checkpoint due, and waits for it.
func (c client) mustBeCovered(description string) string {
	c.t.Helper()
	tools := make([]object, 1000)
	for i := range tools {
		tools[i] = object{
			"name": fmt.Sprintf("Tool %d", i), "auth_type": "other", "credential_mode": "shared", "description": description,
		}
	}
	c.must(200, "PUT", importPath, object{"agentkey_catalog": 1, "tools": tools})
	last := id(c.must(200, "GET", "/api/admin/audit?limit=1", nil).Items()[0])
	wait.Until(c.t, "covered", func() bool {
		return c.call("GET", "/api/admin/audit/entries/"+last+"/proof", nil).Status == 200
	})
	return string(c.must(200, "GET", checkpointPath, nil).Body)
}

// mustKeys is what anyone learns of the keys for a use.
func (p *program) mustKeys(use formats.KeyUse) (out []ed25519.PublicKey) {
	p.t.Helper()
	var keys formats.Keys
	if err := json.Unmarshal(p.with("").must(200, "GET", "/.well-known/agentkey-keys.json", nil).Body, &keys); err != nil {
		p.t.Fatal(err)
	}
	for _, k := range keys.Keys {
		if k.Use == use {
			out = append(out, k.PublicKey)
		}
	}
	return out
}

// TestTheLedgerProvesTheAudit asks for each kind of proof and checks it with nothing but the public
// keys.
func TestTheLedgerProvesTheAudit(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	agent, key := admin.mustAgent("Release bot")
	admin.mustAssign(agent, tool)
	_, otherKey := admin.mustAgent("Another bot")
	fetched := p.with(key).fetch(tool).Text("receipt.event_id")
	receiptPath := "/api/me/receipts/" + fetched
	for _, early := range []answer{
		admin.refused(409, "not_covered_yet", "GET", checkpointPath, nil),
		admin.refused(409, "not_covered_yet", "GET", "/api/admin/audit/entries/"+fetched+"/proof", nil),
		p.with(key).refused(409, "not_covered_yet", "GET", receiptPath, nil),
		admin.refused(409, "not_covered_yet", "GET", "/api/admin/audit/consistency?from=1&to=1", nil),
	} {
		at, err := time.Parse(time.RFC3339, early.Text("retry_after"))
		until := time.Until(at)
		if err != nil || until < 0 || until > 70*time.Second || early.Header.Get("Retry-After") == "" {
			t.Errorf("to be sent again at %s: %v", early.Text("retry_after"), early.Header)
		}
	}

	first, second := admin.mustBeCovered("First"), admin.mustBeCovered("Second")
	organization := admin.must(200, "GET", "/api/admin/me", nil).Text("organization.id")
	origin, keys := formats.Origin(organization), p.mustKeys(formats.CheckpointKey)
	opened := func(note string) formats.Checkpoint {
		c, err := formats.OpenCheckpoint([]byte(note), origin, keys...)
		if err != nil {
			t.Fatalf("%v: %s", err, note)
		}
		return c
	}
	was, now := opened(first), opened(second)

	var receipt formats.Receipt
	answered := p.with(key).must(200, "GET", receiptPath, nil)
	if err := json.Unmarshal(answered.Body, &receipt); err != nil {
		t.Fatal(err)
	}
	if err := receipt.Check(origin, keys...); err != nil || receipt.EventID != fetched {
		t.Errorf("the receipt of %s: %v", receipt.EventID, err)
	}
	registered := id(admin.must(200, "GET", "/api/admin/audit?action=agent.registered", nil).Items()[0])
	p.with(otherKey).refused(404, "not_found", "GET", receiptPath, nil)
	p.with(key).refused(404, "not_found", "GET", "/api/me/receipts/"+registered, nil)
	p.with(key).refused(404, "not_found", "GET", "/api/me/receipts/x", nil)
	admin.refused(403, "wrong_caller", "GET", receiptPath, nil)

	entries := map[string]formats.Entry{}
	for _, l := range exportedLines(t, admin.must(200, "GET", auditExport+"jsonl", nil)) {
		entries[l.ID.String()] = l.Entry()
	}
	for _, e := range admin.must(200, "GET", "/api/admin/audit?action=agent.registered", nil).Items() {
		var proof formats.Proof
		body := admin.must(200, "GET", "/api/admin/audit/entries/"+id(e)+"/proof", nil).Body
		if err := json.Unmarshal(body, &proof); err != nil {
			t.Fatal(err)
		}
		if err := proof.Check(origin, keys...); err != nil || proof.Leaf != entries[id(e)].Leaf() {
			t.Errorf("the proof of %s: %v", id(e), err)
		}
	}

	var consistency formats.Consistency
	sizes := fmt.Sprintf("/api/admin/audit/consistency?from=%d&to=%d", was.Size, now.Size)
	if err := json.Unmarshal(admin.must(200, "GET", sizes, nil).Body, &consistency); err != nil {
		t.Fatal(err)
	}
	err := consistency.Check(was.Root, now.Root)
	if err != nil || consistency.From != was.Size || consistency.To != now.Size {
		t.Errorf("from %d to %d: %v", was.Size, now.Size, err)
	}
	for _, query := range []string{"", "?from=1", "?from=0&to=1", "?from=2&to=1", "?from=1&to=x", "?from=1&to=1&limit=3"} {
		admin.refused(400, "validation_failed", "GET", "/api/admin/audit/consistency"+query, nil)
	}
	admin.refused(409, "not_covered_yet", "GET", fmt.Sprintf("/api/admin/audit/consistency?from=1&to=%d", now.Size+1), nil)

	admin.mirror(now)
	p.auditor(answered.Body)
	stranger := p.organization("Another", "owner")
	stranger.refused(404, "not_found", "GET", "/api/admin/audit/entries/"+fetched+"/proof", nil)
	stranger.refused(409, "not_covered_yet", "GET", checkpointPath, nil)
	stranger.refused(404, "not_found", "GET", "/api/admin/audit/log/tile/0/000", nil)
	p.with(key).refused(403, "wrong_caller", "GET", "/api/admin/audit/log/checkpoint", nil)
	admin.must(200, "HEAD", "/api/admin/audit/log/checkpoint", nil)
}

// mirror reads a whole tree as a tool for logs of that layout does, and calculates its root.
func (c client) mirror(of formats.Checkpoint) {
	c.t.Helper()
	const log = "/api/admin/audit/log/"
	note := c.must(200, "GET", log+"checkpoint", nil)
	if !bytes.Equal(note.Body, c.must(200, "GET", checkpointPath, nil).Body) {
		c.t.Errorf("log/checkpoint is %s", note.Body)
	}
	var tree []tlog.Hash
	stored := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, n := range at {
			out[i] = tree[n]
		}
		return out, nil
	})
	size := int64(0)
	for size < of.Size {
		bundle := formats.BundleTile(size/formats.TileWidth, of.Size)
		entries, err := formats.ParseBundle(c.must(200, "GET", log+formats.TilePath(bundle), nil).Body)
		if err != nil || len(entries) != bundle.W {
			c.t.Fatalf("%d of %d entries: %v", len(entries), bundle.W, err)
		}
		for _, e := range entries {
			hashes, err := tlog.StoredHashes(size, e[:], stored)
			if err != nil {
				c.t.Fatal(err)
			}
			tree, size = append(tree, hashes...), size+1
		}
	}
	root, err := tlog.TreeHash(of.Size, stored)
	if err != nil || root != of.Root {
		c.t.Errorf("the entries give %s (%v), and the checkpoint is over %s", root, err, of.Root)
	}
	for _, tile := range tlog.NewTiles(formats.TileHeight, 0, of.Size) {
		a := c.must(200, "GET", log+formats.TilePath(tile), nil)
		want, err := tlog.ReadTileData(tile, stored)
		if err != nil || !bytes.Equal(a.Body, want) || a.Header.Get("Content-Type") != "application/octet-stream" {
			c.t.Errorf("%s differs: %v", tile.Path(), err)
		}
	}
	for _, path := range []string{
		"", "tile", "tile/0/999", "tile/0/x000/000", "tile/0/000.p/300", "tile/-1/000", "tile/entries/x", "tile/9/000",
		"checkpoint/", "tile/0/000/../000", "tile/0/000%2f", base64.StdEncoding.EncodeToString([]byte("tile")),
	} {
		c.refused(404, "not_found", "GET", log+path, nil)
	}
}
