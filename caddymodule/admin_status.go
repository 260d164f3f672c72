package caddymodule

import (
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/doctor"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

func serveStatus(c *adminCall) error {
	service, health, hasher := c.service().Status(), c.engine.db.Health(), c.engine.hasher.Status()
	stats := c.engine.db.Stats()
	s := statusJSON{
		Version:          version(),
		ServerName:       string(c.app.conf.server),
		Issuer:           c.app.conf.issuer.String(),
		PublicBaseURL:    c.app.conf.publicBase.String(),
		Synapse:          c.app.conf.synapse,
		DataDir:          c.engine.dir,
		Writable:         health.Writable,
		NotWritable:      health.Reason,
		StoreBytes:       stats.TreeBytes + stats.LogBytes,
		Revision:         health.Revision,
		SessionsInMemory: service.LiveSessions,
		Jobs:             service.Jobs,
		OldestJobSeconds: int64(service.OldestJob / time.Second),
		HeldRefreshes:    service.HeldRefresh,
		Hasher:           "idle",
		PasswordsWaiting: hasher.Waiting,
	}
	switch {
	case hasher.InProcess != "":
		s.Hasher = "in this process: " + hasher.InProcess
	case hasher.ChildPID != 0:
		s.Hasher = fmt.Sprintf("process %d", hasher.ChildPID)
	}
	return c.writeJSON(s)
}

// serveDoctor makes the doctor's checks. A POST brings what homeserver.yaml says.
func serveDoctor(c *adminCall) error {
	conf := c.app.doctorConfig(c.engine)
	conf.Keys = signingKeyIDs(c.service().Keys(c.Context()))
	if c.Method == http.MethodPost {
		conf.Delegation = new(doctor.Delegation)
		if err := c.readBody(conf.Delegation); err != nil {
			return err
		}
	}
	return writeLines(c, checks(doctor.Run(c.Context(), conf)), func(check *doctor.Check) any { return *check })
}

func checks(list []doctor.Check) iter.Seq2[doctor.Check, error] {
	return func(yield func(doctor.Check, error) bool) {
		for _, check := range list {
			if !yield(check, nil) {
				return
			}
		}
	}
}

func (a *App) doctorConfig(e *engine) doctor.Config {
	status, health, stats := e.service.Status(), e.db.Health(), e.db.Stats()
	conf := doctor.Config{
		ServerName: a.conf.server,
		Issuer:     a.conf.issuer,
		PublicBase: a.conf.publicBase,
		SynapseURL: a.conf.synapse,
		Secret:     a.conf.secret,
		Homeserver: a.homeserver,
		Endpoints:  a.mounted.endpoints(),
		Store:      doctor.Store{Writable: health.Writable, Reason: health.Reason, Bytes: stats.TreeBytes + stats.LogBytes},
		Jobs:       status.Jobs,
		OldestJob:  status.OldestJob,
		Reread:     a.rereadSecret,
		Now:        time.Now,
	}
	if a.mounted.has(route.Human) {
		conf.SignInPage = a.signInPage
	}
	for _, g := range groups {
		if !a.mounted.has(g) {
			conf.Unserved = append(conf.Unserved, unmounted[g])
		}
	}
	return conf
}

// rereadSecret says if the shared secret would be another one after a reload.
func (a *App) rereadSecret() error {
	now, err := a.resolve(caddy.NewReplacer())
	if err != nil {
		return fmt.Errorf("the next reload will fail: %w", err)
	}
	if !now.secret.Equal(a.conf.secret) {
		return errors.New("the configured secret has changed since it was read: caddy reload --force")
	}
	return nil
}

// endpoints lists where Synapse probably reaches the group internal: its listeners, by each name that this machine has for
// them. Which of the names a site takes is not known here.
func (m *mounts) endpoints() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for _, l := range m.internal {
		addr, err := caddy.ParseNetworkAddress(l)
		if err != nil || addr.IsUnixNetwork() || addr.IsFdNetwork() {
			continue
		}
		for _, host := range hostsOf(addr.Host) {
			u := "http://" + net.JoinHostPort(host, strconv.Itoa(int(addr.StartPort))) + "/"
			if !slices.Contains(list, u) {
				list = append(list, u)
			}
		}
	}
	return list
}

// hostsOf lists the names by which a listener can be reached from this machine.
func hostsOf(host string) []string {
	ip := net.ParseIP(host)
	switch {
	case host == "", host == "localhost", ip != nil && ip.IsUnspecified(), ip != nil && ip.IsLoopback() && ip.To4() != nil:
		return []string{"127.0.0.1", "localhost"}
	case ip != nil && ip.IsLoopback():
		return []string{host, "localhost"}
	}
	return []string{host}
}
