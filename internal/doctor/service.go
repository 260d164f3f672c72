package doctor

import (
	"context"
	"strings"
	"time"
)

const (
	maxJobAge    = 10 * time.Minute // after which waiting jobs are a sign of trouble: an attempt is made every few minutes
	maxClockSkew = 30 * time.Second
)

// sites tells what no site serves.
func (p *patient) sites(context.Context) []Check {
	const name = "sites"
	if len(p.Unserved) > 0 {
		return one(name, false, "%s", strings.Join(p.Unserved, "; "))
	}
	return one(name, true, "every group of endpoints is served by a site")
}

// secretFile tells whether the secret in use is still the configured one.
func (p *patient) secretFile(context.Context) []Check {
	const name = "secret"
	if p.Reread == nil {
		return nil
	}
	if err := p.Reread(); err != nil {
		return one(name, false, "%v", err)
	}
	return one(name, true, "the secret in use is the one that is configured now")
}

// disk tells whether anything can be written.
func (p *patient) disk(context.Context) []Check {
	const name = "disk"
	if !p.Store.Writable {
		return one(name, false, "the database cannot be written to: %s", p.Store.Reason)
	}
	return one(name, true, "the database can be written to, and takes %.1f MiB", float64(p.Store.Bytes)/(1<<20))
}

// jobs tells whether Synapse follows.
func (p *patient) jobs(context.Context) []Check {
	const name = "jobs"
	switch {
	case p.Jobs == 0:
		return one(name, true, "nothing waits to be done at Synapse")
	case p.OldestJob > maxJobAge:
		return one(name, false, "%d users wait to be reconciled with Synapse, for up to %s: see the log of matrix_auth",
			p.Jobs, p.OldestJob.Round(time.Second))
	}
	return one(name, true, "%d users wait to be reconciled with Synapse, for up to %s", p.Jobs, p.OldestJob.Round(time.Second))
}
