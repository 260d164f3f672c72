package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/homeserver"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// nobody is the user that is asked for, and what stands in a token's place. It matters only that the question is answered.
const nobody = "caddy-matrix-auth-doctor"

// synapse asks for Synapse's version, without a proxy between.
func (p *patient) synapse(ctx context.Context) []Check {
	const name = "synapse"
	v, err := p.Homeserver.Version(ctx)
	switch {
	case errors.Is(err, homeserver.ErrNoVersion):
		return one(name, false, "%s answers, but does not say that it is Synapse: give the address of Synapse itself", p.SynapseURL)
	case err != nil:
		return one(name, false, "%s: %s", p.SynapseURL, reason(err))
	case !v.Supported():
		return one(name, false, "Synapse %s is too old: delegation came with 1.136", v)
	case v.DropsEndpointPath():
		return one(name, true, warning+"Synapse %s ignores the path of matrix_authentication_service.endpoint: keep to the root,"+
			" or update", v)
	}
	return one(name, true, "Synapse %s at %s", v, p.SynapseURL)
}

// synapseSecret makes a call of the API that Synapse has for us, which the right secret only can.
func (p *patient) synapseSecret(ctx context.Context) []Check {
	const name = "secret_at_synapse"
	_, _, err := p.Homeserver.QueryUser(ctx, mxid.Localpart(nobody))
	he, ok := errors.AsType[*homeserver.Error](err)
	if err == nil || ok && he.NotFound() {
		return one(name, true, "Synapse takes our secret")
	}
	return one(name, false, "%s", reason(err))
}

// reason is the text for operators of a failed call.
func reason(err error) string {
	if he, ok := errors.AsType[*homeserver.Error](err); ok {
		if cause := he.Unwrap(); cause != nil && he.Kind == homeserver.KindConnection {
			return noAnswer(cause)
		}
		return he.Reason()
	}
	return noAnswer(err)
}

// clock compares ours with Synapse's, as its answers tell it to the second.
func (p *patient) clock(ctx context.Context) []Check {
	const name = "clock"
	a, err := p.get(ctx, p.internal, p.SynapseURL+"_matrix/client/versions")
	if err != nil {
		return one(name, true, warning+"not compared: Synapse does not answer")
	}
	theirs, err := http.ParseTime(a.Header.Get("Date"))
	if err != nil {
		return one(name, true, warning+"not compared: Synapse does not tell the time")
	}
	skew := p.Now().Sub(theirs).Round(time.Second)
	if skew.Abs() > maxClockSkew {
		return one(name, false, "our clock and Synapse's differ by %s: tokens end too early or too late", skew.Abs())
	}
	return one(name, true, "our clock and Synapse's agree")
}

// introspection asks at the internal site as Synapse does: at the endpoint of homeserver.yaml if that is known, else
// wherever the site can be expected.
func (p *patient) introspection(ctx context.Context) []Check {
	if d := p.Delegation; d != nil && d.Endpoint != "" {
		return p.introspectAt(ctx, d)
	}
	const name = "introspection"
	if len(p.Endpoints) == 0 {
		return one(name, false, "it is not known where Synapse reaches us: no site with the group internal listens on a TCP port")
	}
	var good, bad []string
	for _, e := range p.Endpoints {
		if problem := p.ask(ctx, e, p.Secret); problem != "" {
			bad = append(bad, e+": "+problem)
			continue
		}
		good = append(good, e)
	}
	if len(good) == 0 {
		return one(name, false, "Synapse does not reach us. %s", strings.Join(bad, "; "))
	}
	message := "Synapse can reach us: endpoint: " + strings.Join(good, " or ")
	if len(bad) > 0 {
		message += " (but not at " + strings.Join(bad, "; ") + ")"
	}
	return one(name, true, "%s", message)
}

// introspectAt asks at the endpoint of homeserver.yaml. Our secret goes there only if the file has the same one; any other
// bearer has to be refused, which proves as well who is there.
func (p *patient) introspectAt(ctx context.Context, d *Delegation) []Check {
	const name = "introspection"
	bearer, same := p.Secret, d.hasSecret(p.Secret)
	if !same {
		bearer = token.NewSecret(nobody)
	}
	if problem := p.ask(ctx, d.Endpoint, bearer); problem != "" && (same || problem != refusedBearer) {
		return one(name, false, "Synapse does not reach us at its endpoint %s: %s%s", d.Endpoint, problem, p.alternative(ctx, d, same))
	}
	return one(name, true, "Synapse reaches us at its endpoint %s", d.Endpoint)
}

// alternative names an address at which Synapse would reach us.
func (p *patient) alternative(ctx context.Context, d *Delegation, same bool) string {
	for _, e := range p.Endpoints {
		if same && !sameURL(e, d.Endpoint) && p.ask(ctx, e, p.Secret) == "" {
			return fmt.Sprintf("; %s works", e)
		}
	}
	return ""
}

// refusedBearer is ask's answer for a wrong secret.
const refusedBearer = "the bearer is refused: another secret is configured there, or another service listens"

// ask makes the two requests of Synapse (Synapse api/auth/mas.py): an introspection, whose token is nobody's, and the
// metadata. It returns what is wrong; nothing: the endpoint is ours.
func (p *patient) ask(ctx context.Context, endpoint string, bearer token.Secret) string {
	base := strings.TrimRight(endpoint, "/")
	form := url.Values{"token": {nobody}, "token_type_hint": {"access_token"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/oauth2/introspect", strings.NewReader(form))
	if err != nil {
		return "not a URL"
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+bearer.Reveal())
	a, err := do(p.internal, req)
	if err != nil {
		return noAnswer(err)
	}
	if problem := verdict(&a, req.URL.Host); problem != "" {
		return problem
	}
	return p.askMetadata(ctx, base)
}

// verdict judges the answer to an introspection.
func verdict(a *answer, host string) string {
	var reply struct {
		Active *bool `json:"active"`
	}
	switch {
	case a.StatusCode == http.StatusOK && len(a.body) == 0:
		return fmt.Sprintf("an empty answer 200: Caddy answers so for a host that no site has, so add http://%s to the addresses of"+
			" the site with matrix_auth internal (127.0.0.1 and localhost are two hosts)", host)
	case a.StatusCode == http.StatusOK && json.Unmarshal(a.body, &reply) == nil && reply.Active != nil && !*reply.Active:
		return ""
	case a.StatusCode == http.StatusUnauthorized:
		return refusedBearer
	case a.StatusCode == http.StatusNotFound:
		return "the answer is 404: the site there does not serve the group internal"
	}
	return "not our introspection: " + a.describe()
}

// askMetadata fetches the document that Synapse announces to clients.
func (p *patient) askMetadata(ctx context.Context, base string) string {
	a, err := p.get(ctx, p.internal, base+"/.well-known/openid-configuration")
	if err != nil {
		return "metadata: " + noAnswer(err)
	}
	var doc struct {
		Issuer string `json:"issuer"`
	}
	if a.StatusCode != http.StatusOK || json.Unmarshal(a.body, &doc) != nil {
		return "metadata: " + a.describe()
	}
	if doc.Issuer != p.Issuer.String() {
		return fmt.Sprintf("another service is there: its issuer is %q, ours is %s", printable(doc.Issuer), p.Issuer)
	}
	return ""
}
