// Package api is the HTTP face: the OpenAPI document, what is generated from it, and for each call
// a few lines that give one command or ask one query. It decides nothing about access and never
// touches the event log.
package api

//go:generate go run ./internal/bundle openapi contract/openapi_gen.json
//go:generate go tool -modfile=../tools/go.mod oapi-codegen -config oapi-codegen.yaml contract/openapi_gen.json
//go:generate ../scripts/typescript generate
