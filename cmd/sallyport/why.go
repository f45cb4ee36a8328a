package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/adminapi"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

func newWhy(s streams) *cobra.Command {
	var adminAPI, requestID string
	var asJSON, unmatched bool
	cmd := &cobra.Command{
		Use:   "why --admin-api unix:PATH (DECISION_ID | --request-id X | --unmatched)",
		Short: "Ask a running gate why it refused a request, or did not limit one",
		Long: `Why asks a running gate about one of its last denials, by the decision_id of the answer (or of the audit log), or by the request's
x-request-id. It tells every step, what the rule demands, what was found, and what would have allowed it. It shows neither tokens nor
bodies. A gate keeps its own denials, as many as its --why says, and no allows.

A rate-limit gate is asked with --unmatched which descriptors find no limit, as sallyport limits unmatched does.

Exit codes: 0 told, 1 the gate keeps no such denial, 2 it could not be asked.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if unmatched {
				if len(args) > 0 || requestID != "" {
					return daemon.Unable(errors.New("--unmatched is about no single decision: leave the ID out"))
				}
				return tellUnmatched(cmd.Context(), s, adminAPI)
			}
			q := adminapi.Question{RequestID: requestID}
			if len(args) > 0 {
				q.DecisionID = args[0]
			}
			switch {
			case adminAPI == "":
				return daemon.Unable(errNoAdminAPI)
			case (q.DecisionID == "") == (q.RequestID == ""):
				return daemon.Unable(errors.New("name the decision by its ID, or the request by --request-id"))
			}
			told, err := adminapi.Why(cmd.Context(), adminAPI, q)
			if err != nil {
				return err
			}
			if asJSON {
				encoder := json.NewEncoder(s.out)
				encoder.SetIndent("", "  ")
				encoder.SetEscapeHTML(false)
				return encoder.Encode(told)
			}
			fmt.Fprint(s.out, told.Text())
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&adminAPI, "admin-api", "", "the gate's admin API: unix:/path, as the gate was given it")
	flags.StringVar(&requestID, "request-id", "", "the request's x-request-id")
	flags.BoolVar(&unmatched, "unmatched", false, "of a rate-limit gate: the descriptors that find no limit")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	fromEnvironment(cmd, s)
	return cmd
}
