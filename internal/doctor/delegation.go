package doctor

import (
	"context"
	"crypto/subtle"
	"net/url"
	"strings"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// delegation compares homeserver.yaml with the running service.
func (p *patient) delegation(ctx context.Context) []Check {
	d := p.Delegation
	var all []Check
	for _, checks := range [][]Check{
		p.delegationSection(ctx, d), p.delegationSecret(d), p.delegationNames(d), p.legacySection(d), options(d),
	} {
		all = append(all, checks...)
	}
	return all
}

// delegationSection judges the section by itself.
func (p *patient) delegationSection(ctx context.Context, d *Delegation) []Check {
	const name = "homeserver_yaml"
	switch {
	case !d.Section:
		return one(name, false, "there is no section matrix_authentication_service, so Synapse does not ask us. It needs these"+
			" lines:\n%s", p.fourLines())
	case !d.Enabled && len(d.Problems) == 0:
		return one(name, false, "matrix_authentication_service: enabled is not true, so Synapse does not ask us")
	case len(d.Problems) > 0:
		return one(name, false, "matrix_authentication_service: %s", strings.Join(d.Problems, "; "))
	}
	u, err := url.Parse(d.Endpoint)
	if err == nil && strings.Trim(u.Path, "/") != "" {
		if v, err := p.Homeserver.Version(ctx); err == nil && v.DropsEndpointPath() {
			return one(name, false, "Synapse %s ignores the path of the endpoint %s: serve the internal site at the root, or"+
				" update Synapse", v, d.Endpoint)
		}
	}
	return one(name, true, "matrix_authentication_service is enabled")
}

// hasSecret reports whether the file has the secret that we have.
func (d *Delegation) hasSecret(s token.Secret) bool { return sameHash(d.SecretHash, s) }

func sameHash(hashed string, s token.Secret) bool {
	return subtle.ConstantTimeCompare([]byte(hashed), []byte(hash(s.Reveal()))) == 1
}

func (p *patient) delegationSecret(d *Delegation) []Check {
	const name = "homeserver_yaml_secret"
	switch {
	case !d.Section || d.SecretHash == "":
		return nil // The section's own check says so.
	case !d.hasSecret(p.Secret):
		return one(name, false, "the secret in homeserver.yaml is not the one configured here: Synapse will refuse every token with 503")
	}
	return one(name, true, "the secret in homeserver.yaml is the one configured here")
}

// delegationNames compares who the two believe to be.
func (p *patient) delegationNames(d *Delegation) []Check {
	var all []Check
	if d.ServerName != "" {
		if mxid.ServerName(d.ServerName).Equal(p.ServerName) {
			all = one("server_name", true, "both say %s", p.ServerName)
		} else {
			all = one("server_name", false, "homeserver.yaml says %s, we say %s", printable(d.ServerName), p.ServerName)
		}
	}
	const name = "public_baseurl"
	switch {
	case d.PublicBaseURL == "":
		return append(all, one(name, true, warning+"homeserver.yaml has none, so that some links of Synapse are wrong: set"+
			" it to %s", p.PublicBase)...)
	case !sameURL(d.PublicBaseURL, p.PublicBase.String()):
		return append(all, one(name, false, "homeserver.yaml says %s, we say %s", printable(d.PublicBaseURL), p.PublicBase)...)
	}
	return append(all, one(name, true, "both say %s", p.PublicBase)...)
}

// legacySection says how to leave the experimental section, which Synapse 1.157 refuses to start with.
func (p *patient) legacySection(d *Delegation) []Check {
	const name = "msc3861"
	if !d.Legacy {
		return one(name, true, "there is no experimental_features.msc3861")
	}
	secret := "its admin_token becomes the secret, here and there"
	if d.LegacyHash != "" && sameHash(d.LegacyHash, p.Secret) {
		secret = "its admin_token, which is the secret configured here, becomes the secret"
	}
	return one(name, false, "experimental_features.msc3861 is the old form of delegation, and Synapse 1.157 does not start with"+
		" it: take the whole section msc3861 out and put these lines in its place; %s:\n%s", secret, p.fourLines())
}

// fourLines is the section that homeserver.yaml needs.
func (p *patient) fourLines() string {
	endpoint := "http://127.0.0.1:8090/"
	if len(p.Endpoints) > 0 {
		endpoint = p.Endpoints[0]
	}
	return "matrix_authentication_service:\n" +
		"  enabled: true\n" +
		"  endpoint: " + endpoint + "\n" +
		"  secret_path: /etc/matrix/shared-secret"
}

// options judges what does not go together with delegation.
func options(d *Delegation) []Check {
	var all []Check
	if len(d.Forbidden) > 0 {
		all = one("synapse_options", false, "Synapse does not start with delegation and these options, take them out: %s",
			strings.Join(d.Forbidden, ", "))
	} else {
		all = one("synapse_options", true, "no option contradicts delegation")
	}
	if d.StaleDevices {
		all = append(all, one("stale_devices", true, warning+"delete_stale_devices_after is set: Synapse will delete devices behind"+
			" our back and sign their users out; take it out")...)
	}
	return all
}
