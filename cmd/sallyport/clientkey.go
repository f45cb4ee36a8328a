package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz/clientkey"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

func newClientKey(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "client-key", Short: "Make an API key for an application"}
	cmd.AddCommand(newClientKeyNew(s))
	return cmd
}

func newClientKeyNew(s streams) *cobra.Command {
	var client, until, label string
	cmd := &cobra.Command{
		Use:   "new --client NAME [--until DAY] [--label TEXT]",
		Short: "Make a key, and the line by which the gate knows it",
		Long: `New makes an API key of 256 random bits. It prints the key, which is shown this once and kept nowhere, and the line for the file that the
policy names as keys_file, which holds the key's SHA-256 only. A client may have several lines: add the new key's, have the client use it,
then remove the old one's.

Exit codes: 0 made, 2 could not run.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if !clientkey.ValidClient(client) {
				return daemon.Unable(errors.New("--client names the application: letters, digits, -, _ and ., at most 128"))
			}
			if _, err := time.Parse(time.DateOnly, until); until != "" && err != nil {
				return daemon.Unable(fmt.Errorf("--until is a day, such as 2027-01-15, and not %q", until))
			}
			if strings.ContainsAny(label, "\r\n") {
				return daemon.Unable(errors.New("--label is one line"))
			}
			key := clientkey.New()
			hash, _ := clientkey.HashOf(key) // New makes none that is none
			fmt.Fprintf(s.out, "key   %s\nline  %s\n", key, clientkey.Line(client, hash, until, label))
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&client, "client", "", "the application's name, as metadata and headers will have it (required)")
	flags.StringVar(&until, "until", "", "the day (UTC) from which the key is no longer taken (default: never)")
	flags.StringVar(&label, "label", "", "what people call the key, written behind the line")
	fromEnvironment(cmd, s)
	return cmd
}
