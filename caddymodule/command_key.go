package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/spf13/cobra"
)

func keyCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "key <command>", Short: "Manages the keys that sign ID tokens"})
	cmd.AddCommand(
		leaf("list", "Lists the signing keys, and the retired ones that are still good for something", 0, 0, runKeys(http.MethodGet, "/keys")),
		leaf("rotate", "Makes new keys, which sign from now on; ID tokens signed with the old ones stay good", 0, 0,
			runKeys(http.MethodPost, "/keys/rotate")),
	)
	return cmd
}

// runKeys makes a request whose answer is a list of keys.
func runKeys(method, path string) func(context.Context, *invocation) error {
	return func(ctx context.Context, in *invocation) error {
		t := newTable(in.out())
		if !in.json {
			t.row("ID", "ALGORITHM", "STATE", "CREATED", "RETIRED")
		}
		err := in.askLines(ctx, method, path, nil, func(line []byte) error {
			if in.json {
				return nil
			}
			var k keyJSON
			if err := decodeLine(line, &k); err != nil {
				return err
			}
			t.row(k.ID, k.Algorithm, k.State, instant(k.CreatedAt), instant(k.RetiredAt))
			return nil
		})
		return errors.Join(err, t.Flush())
	}
}
