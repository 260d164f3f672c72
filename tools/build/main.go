// Command build makes bin/caddy from xcaddy.json: that file is the JSON form of xcaddy.Builder, for which xcaddy's own
// command line has no reader. It decides nothing about the build beyond what the file and its flags say.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/xcaddy"
)

func main() {
	config := flag.String("config", "xcaddy.json", "the JSON of an xcaddy.Builder; relative replacements are relative to it")
	output := flag.String("output", filepath.Join("bin", "caddy"), "where the binary goes")
	race := flag.Bool("race", false, "build with the race detector (needs a C compiler)")
	verbose := flag.Bool("v", false, "print what xcaddy and go print")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *config, *output, *race, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

// run builds what config describes into output.
func run(ctx context.Context, config, output string, race, verbose bool) error {
	b, err := load(config)
	if err != nil {
		return err
	}
	if race {
		b.RaceDetector, b.Cgo = true, true
	}
	var log tail
	if !verbose {
		b.OnStep = log.step
	}
	began := time.Now()
	if err := b.Build(ctx, output); err != nil {
		return errors.Join(fmt.Errorf("building %s: %w", output, err), log.err())
	}
	fmt.Printf("built %s with Caddy %s in %s\n", output, b.CaddyVersion, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// load reads a Builder and does to its replacements what xcaddy's command line does: "module version" becomes the
// module@version of go mod edit, and a relative directory absolute, because xcaddy builds in a directory of its own.
func load(path string) (xcaddy.Builder, error) {
	f, err := os.Open(path)
	if err != nil {
		return xcaddy.Builder{}, err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var b xcaddy.Builder
	if err := d.Decode(&b); err != nil {
		return xcaddy.Builder{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return xcaddy.Builder{}, fmt.Errorf("reading %s: more than one JSON value", path)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return xcaddy.Builder{}, err
	}
	for i := range b.Replacements {
		r := &b.Replacements[i]
		r.Old = xcaddy.ReplacementPath(r.Old.Param())
		if p := r.New.String(); isLocal(p) {
			r.New = xcaddy.ReplacementPath(filepath.Join(dir, p))
		}
	}
	return b, nil
}

// isLocal reports whether a replacement is a relative directory and not a module, as the go command tells them apart.
func isLocal(path string) bool {
	return path == "." || path == ".." || strings.HasPrefix(path, "./") || strings.HasPrefix(path, "../")
}

// tail keeps what the last step of a build printed, to be shown only when it fails.
type tail struct{ lines []byte }

func (t *tail) step(e *xcaddy.StepEvent) error {
	out, err := io.ReadAll(e.Output)
	if e.Step != xcaddy.StepCleanup {
		t.lines = out
	}
	return err
}

func (t *tail) err() error {
	if len(t.lines) == 0 {
		return nil
	}
	return errors.New(strings.TrimSpace(string(t.lines)))
}
