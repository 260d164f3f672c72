package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// figures are a benchmark's results by unit, and results all of a package's by the benchmark's name without its prefix.
type (
	figures map[string]float64
	results map[string]figures
)

// goBench runs benchmarks that stand in a package's tests.
func goBench(ctx context.Context, pkg, pattern, benchtime string) (results, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+pattern, "-benchtime="+benchtime, "-benchmem", "-count=1", "-timeout=30m", pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	found := parseBench(out)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s ran no benchmark", strings.Join(cmd.Args, " "))
	}
	return found, nil
}

// parseBench reads the lines that a benchmark prints: its name, how often it ran, and pairs of a figure and a unit.
func parseBench(out []byte) results {
	found := make(results)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		name, ok := strings.CutPrefix(lines.Text(), "Benchmark")
		words := strings.Fields(name)
		if !ok || len(words) < 4 {
			continue
		}
		name = words[0]
		if at := strings.LastIndexByte(name, '-'); at > 0 { // the number of processors
			name = name[:at]
		}
		f := make(figures)
		for i := 2; i+1 < len(words); i += 2 {
			if v, err := strconv.ParseFloat(words[i], 64); err == nil {
				f[words[i+1]] = v
			}
		}
		found[name] = f
	}
	return found
}

// get returns a benchmark's figures.
func (r results) get(name string) (figures, error) {
	if f, ok := r[name]; ok {
		return f, nil
	}
	return nil, fmt.Errorf("benchmark %s did not run", name)
}
