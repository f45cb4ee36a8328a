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
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why --admin-api unix:PATH (DECISION_ID | --request-id X)",
		Short: "Ask a running gate why it refused a request",
		Long: `Why asks a running gate about one of its last denials, by the decision_id of the answer (or of the audit log), or by the request's
x-request-id. It tells every step, what the rule demands, what was found, and what would have allowed it. It shows neither tokens nor
bodies. A gate keeps its own denials, as many as its --why says, and no allows.

Exit codes: 0 told, 1 the gate keeps no such denial, 2 it could not be asked.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
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
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	fromEnvironment(cmd, s)
	return cmd
}
