package agentkey_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	agentkey "agentkey/clients/go"
)

// An agent requests a tool if it must, and fetches the credential whenever it uses it.
func ExampleClient_FetchCredential() {
	ctx := context.Background()
	client := agentkey.New("https://agentkey.example.com", "sk_agent_…")
	fetched, err := client.FetchCredential(ctx, "0198c0de-0000-7000-8000-00000000000b")
	var refused *agentkey.Error
	switch {
	case errors.As(err, &refused) && refused.Code == agentkey.ProblemCodeAccessNotApproved:
		fmt.Println(refused.Problem.Hint) // the next call to make
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println("version", fetched.CredentialVersion)
	}
}

// An admin approves what they have read, and nothing that has changed since.
func ExampleClient_ApproveRequest() {
	ctx := context.Background()
	client := agentkey.New("https://agentkey.example.com", "sk_admin_…")
	pending := agentkey.ListRequestsParams{Status: &[]agentkey.AccessRequestStatus{
		agentkey.AccessRequestStatusPending,
	}}
	for request, err := range client.AllRequests(ctx, pending) {
		if err != nil {
			log.Fatal(err)
		}
		var headers http.Header
		read, err := client.GetRequest(ctx, request.ID, agentkey.GetRequestParams{}, agentkey.WithHeaders(&headers))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(read.AgentName, "wants", read.ToolName, read.Reason)
		_, err = client.ApproveRequest(ctx, read.ID, agentkey.Approval{}, agentkey.WithIfMatch(headers.Get("ETag")))
		if err != nil {
			log.Fatal(err)
		}
	}
}
