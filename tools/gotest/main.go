// Command gotest runs "go test -json" with its own arguments and turns the events into a short report: a line per package
// (with -each also one per top-level test), the whole output of what failed, and one closing line. It exits with status 1 if a
// test failed, if one was skipped, or if none ran: a test that does not run proves nothing.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

func main() {
	args := os.Args[1:]
	each := len(args) > 0 && args[0] == "-each"
	if each {
		args = args[1:]
	}
	if err := run(args, each, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

// run starts the go command and reports what it says.
func run(args []string, each bool, w io.Writer) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r := report{w: w, each: each, output: map[string][]string{}}
	readErr := r.read(out)
	return errors.Join(readErr, cmd.Wait(), r.verdict())
}

// event is what test2json writes, one object a line (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Elapsed    float64
	Output     string
}

// report counts tests and keeps the output of those that have not ended.
type report struct {
	w       io.Writer
	each    bool
	output  map[string][]string // package or package.test → its lines
	passed  int
	failed  int
	skipped []string
}

func (r *report) read(from io.Reader) error {
	d := json.NewDecoder(from)
	for {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the output of go test: %w", err)
		}
		r.event(e)
	}
}

func (r *report) event(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "fail", "skip":
		r.ended(e, r.output[key])
		delete(r.output, key)
	}
}

// ended reports a package (no test name), a top-level test or a subtest.
func (r *report) ended(e event, output []string) {
	if e.Test == "" {
		r.packageEnded(e, output)
		return
	}
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped = append(r.skipped, e.Package+" "+e.Test)
	case "fail":
		r.failed++
		r.print(output)
	}
	if r.each && !strings.Contains(e.Test, "/") {
		r.line(e, e.Test)
	}
}

func (r *report) packageEnded(e event, output []string) {
	if e.Action == "skip" {
		return // The package has no test files.
	}
	if e.Action == "fail" {
		r.print(output)
	}
	r.line(e, e.Package)
}

func (r *report) line(e event, name string) {
	verdict := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "SKIP"}[e.Action]
	fmt.Fprintf(r.w, "%-4s %7s  %s\n", verdict, time.Duration(e.Elapsed*float64(time.Second)).Round(10*time.Millisecond), name)
}

// print writes what a failed test said, without the lines that only frame it.
func (r *report) print(output []string) {
	frame := func(s string) bool {
		s = strings.TrimSpace(s)
		return strings.HasPrefix(s, "=== ") || s == "PASS" || s == "FAIL"
	}
	fmt.Fprint(r.w, strings.Join(slices.DeleteFunc(output, frame), ""))
}

// verdict prints the closing line.
func (r *report) verdict() error {
	for _, name := range r.skipped {
		fmt.Fprintln(r.w, "SKIP", name)
	}
	fmt.Fprintf(r.w, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skipped))
	if len(r.skipped) > 0 {
		return errors.New("skipped tests count as failed")
	}
	if r.passed+r.failed == 0 {
		return errors.New("no test ran")
	}
	return nil
}
