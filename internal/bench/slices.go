package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// arm is one side of a comparison: it measures one slice and returns its figure.
type arm func(d time.Duration) (float64, error)

// comparison is two arms' figures, slice by slice.
type comparison struct{ ours, theirs []float64 }

// alternate measures both arms in turn, each slice as long as the other, and each arm as often first as the other. One slice
// of each beforehand is for warming up.
func alternate(ctx context.Context, pairs int, slice time.Duration, ours, theirs arm) (comparison, error) {
	var c comparison
	for i := -1; i < pairs; i++ {
		first, second := ours, theirs
		if i%2 != 0 {
			first, second = theirs, ours
		}
		a, err := first(slice)
		if err != nil {
			return c, err
		}
		b, err := second(slice)
		if err != nil {
			return c, err
		}
		if ctx.Err() != nil {
			return c, context.Cause(ctx)
		}
		if i < 0 {
			continue
		}
		if i%2 != 0 {
			a, b = b, a
		}
		c.ours, c.theirs = append(c.ours, a), append(c.theirs, b)
	}
	return c, nil
}

// ratios are those of neighbouring slices.
func (c comparison) ratios() []float64 {
	r := make([]float64, len(c.ours))
	for i := range r {
		r[i] = c.ours[i] / c.theirs[i]
	}
	return r
}

func (c comparison) ratio() float64 { return median(c.ratios()) }

// String says what the ratio is made of, and how far it is to be believed.
func (c comparison) String() string {
	r := c.ratios()
	return fmt.Sprintf("%s ÷ %s; half of %d slices within %.3f–%.3f",
		number(median(c.ours)), number(median(c.theirs)), len(r), quantile(r, .25), quantile(r, .75))
}

func median(values []float64) float64 { return quantile(values, .5) }

// quantile is the smallest value that a part q of all does not exceed.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return s[min(int(q*float64(len(s))), len(s)-1)]
}
