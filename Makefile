# Tools are pinned in tools/go.mod and tools/lint/go.mod and built on first use.
tool = go tool -modfile=$(CURDIR)/tools/go.mod
.DEFAULT_GOAL := help
.PHONY: help build test quick bench lint format format-check generate generate-check vuln

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 18
# The one place that says how the program is shipped: the image is built with it, too. It is static, so that it runs on an
# empty base; the tags leave out an encoding of gin's and the traces of gRPC, which nothing here uses.
build: ## the program as it is shipped, in bin/
	CGO_ENABLED=0 go build -tags nomsgpack,grpcnotrace -trimpath -ldflags '-s -w' -o bin/agentkey ./cmd/agentkey
test: ## everything, as CI runs it
	./scripts/test
quick: ## the tests without the race detector
	CGO_ENABLED=0 ./scripts/engines go test ./...
bench: ## fetches, appends, rebuilds, memory, on both kinds of engines; and the machine beside them
	./scripts/engines go test -run '^$$' -bench . -benchtime 3s -timeout 60m ./cmd/agentkey
lint: ## vet and golangci-lint
	go vet ./...
	go tool -modfile=$(CURDIR)/tools/lint/go.mod golangci-lint run ./...
format: ## gofumpt
	$(tool) gofumpt -w .
format-check:
	@out=$$($(tool) gofumpt -l .); test -z "$$out" || { echo "make format would change: $$out"; exit 1; }
generate: ## what comes from the OpenAPI document, the SQL and the table of settings
	go generate ./...
generate-check: generate
	@git diff --exit-code -- '*_gen.go' '*_gen.json' docs/configuration.md || { echo 'commit what make generate has made'; exit 1; }
vuln: ## known vulnerabilities; needs a network that reaches the database
	$(tool) govulncheck ./...
