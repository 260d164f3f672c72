package caddymodule

import (
	"os"
	"os/exec"
	"runtime"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
)

// hasherName is the hidden command that the engine starts this program with, to hash passwords in a process of low priority.
const hasherName = "matrix-auth-hasher"

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  hasherName,
		Short: "Hashes passwords for a running Caddy (internal)",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Hidden = true
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(*cobra.Command, []string) error { return password.ChildMain(os.Stdin, os.Stdout) }
		},
	})
}

// hasherCommand starts this very program, even if its file has been replaced by an upgrade since: the two ends of the pipe
// have to speak alike.
func hasherCommand() *exec.Cmd {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	cmd := exec.Command(path, hasherName)
	if runtime.GOOS == "linux" {
		if _, err := os.Stat(selfExe); err == nil {
			cmd.Path, cmd.Err = selfExe, nil
		}
	}
	return cmd
}

// selfExe names the running program's own file on Linux, whatever has become of its path.
const selfExe = "/proc/self/exe"
