# Tools are pinned in tools/go.mod and tools/lint/go.mod and built on first use.
tool = go tool -modfile=$(CURDIR)/tools/go.mod
.DEFAULT_GOAL := help
.PHONY: help build test quick bench lint api-lint api-check format format-check generate generate-check vuln sbom reproducible

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 18
# The only place that defines the build of a release; the image uses it too. The binary is static
# and runs on an empty base. The tags omit an encoding of gin and the traces of gRPC, which we don't
# use.
build: ## build the release binary in bin/
	CGO_ENABLED=0 go build -tags nomsgpack,grpcnotrace -trimpath -ldflags '-s -w' -o bin/agentkey ./cmd/agentkey
test: ## run everything, as CI does
	./scripts/test
quick: ## run the tests without the race detector
	CGO_ENABLED=0 ./scripts/engines go test ./...
bench: ## measure fetches, appends, rebuilds, the audit, memory and growth on all engines, and the machine for comparison
	./scripts/engines go test -run '^$$' -bench . -benchtime 3s -timeout 90m ./cmd/agentkey ./projections ./readmodels ./eventstore/codec
lint: ## run the language check and golangci-lint, which vets too
	./scripts/plain-english
	go tool -modfile=$(CURDIR)/tools/lint/go.mod golangci-lint run ./...
# Tests hold the same rules without it, because Debian's Node.js may be too old for it.
api-lint: ## lint the OpenAPI document as clients get it, with redocly; needs npx of Node.js 20 or later
	@mkdir -p bin
	go run ./api/internal/published > bin/openapi.json
	npx --yes @redocly/cli@2.77.0 lint bin/openapi.json --config api/lint/redocly.yaml
api-check: ## report what would break clients of the document of BASE, a revision or a file
	./scripts/api-check $(BASE)
format: ## format with gofumpt
	$(tool) gofumpt -w .
format-check:
	@out=$$($(tool) gofumpt -l .); test -z "$$out" || { echo "make format would change: $$out"; exit 1; }
generate: ## generate code and pages from the OpenAPI document, the SQL and the settings
	go generate ./...
generate-check: generate
	@git diff --exit-code -- '*_gen.go' '*_gen.json' '*_gen.ts' readmodels/sqlc.sum docs/configuration.md || { echo 'commit the output of make generate'; exit 1; }
sbom: build ## list the modules in the release binary, in bin/agentkey.cdx.json (CycloneDX)
	$(tool) cyclonedx-gomod bin -json -std -noserial -notimestamp -version "$$(bin/agentkey --version | cut -d ' ' -f 2)" \
		-output bin/agentkey.cdx.json bin/agentkey
reproducible: ## build the present commit twice, in different places, and compare the binaries
	./scripts/reproducible
vuln: ## report known vulnerabilities; needs access to the vulnerability database
	$(tool) govulncheck ./...
