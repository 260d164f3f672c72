package gate

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// Judge judges access tokens; *auth.Service does. It is called by many requests at once. An error means that there is no verdict.
type Judge interface {
	Judge(ctx context.Context, text string, from auth.From) (auth.Admission, error)
}

// Next is the handler behind the gate. Its error is returned as it is.
type Next func(http.ResponseWriter, *http.Request) error

// Config is what a Gate needs. All fields but Admitted and MaxBody are required.
type Config struct {
	Judge    Judge
	From     func(*http.Request) auth.From       // says who asks
	Admitted func(*http.Request, auth.Admission) // hears of each active token before its request passes; nil: nobody
	MaxBody  int64                               // bytes of the largest request body that the homeserver takes; 0: any
	Now      func() time.Time
	Log      *zap.Logger
}

// Gate is the handler. It is safe for concurrent use.
type Gate struct{ Config }

// New makes a Gate.
func New(c Config) *Gate { return &Gate{c} }

// ServeHTTP judges a request, whose escaped path is path, and answers it or passes it on to next. The caller has served what is ours
// already.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, path string, next Next) error {
	if r.URL.Opaque != "" { // "x:y": it has no path, and a proxy would send y as one.
		return g.refuse(w, r, unrecognized)
	}
	spelled := strings.HasPrefix(path, "/_matrix/") || strings.HasPrefix(path, "/_synapse/")
	if r.Method == http.MethodOptions || !route.Gated(path) {
		return g.passUnjudged(w, r, next, spelled)
	}
	if !spelled {
		return g.refuse(w, r, unrecognized)
	}
	if g.MaxBody > 0 && r.ContentLength > g.MaxBody {
		return g.refuse(w, r, tooLarge)
	}
	text, source, err := token.FromRequest(r.Header, r.URL.RawQuery)
	if err != nil {
		return g.refuse(w, r, tokenTwice)
	}
	from := g.From(r)
	r = clean(r, from.Addr)
	if source == token.None {
		return g.pass(w, r, next, g.MaxBody)
	}
	a, err := g.Judge.Judge(r.Context(), text, from)
	if err != nil {
		g.logNoVerdict(r.Context(), err)
		return g.refuse(w, r, unavailable)
	}
	defer a.Release()
	switch a.Verdict {
	case auth.Foreign:
		return g.pass(w, r, next, g.MaxBody)
	case auth.Active:
		return g.admit(w, r, next, a, text, source)
	default:
		return g.refuse(w, r, verdictRefusal(a.Verdict))
	}
}

// passUnjudged passes on what is not judged. Under the homeserver's prefixes our cookies stay here and the limit holds; elsewhere
// the next handler may be another site of ours.
func (g *Gate) passUnjudged(w http.ResponseWriter, r *http.Request, next Next, homeserver bool) error {
	if !homeserver {
		return g.pass(w, r, next, 0)
	}
	if g.MaxBody > 0 && r.ContentLength > g.MaxBody {
		return g.refuse(w, r, tooLarge)
	}
	dropCookies(r.Header)
	return g.pass(w, forwardedFor(r, g.From(r).Addr), next, g.MaxBody)
}

// admit passes on a request with an active token, and lets a read run no longer than its session.
func (g *Gate) admit(w http.ResponseWriter, r *http.Request, next Next, a auth.Admission, text string, source token.Source) error {
	if strings.HasPrefix(r.URL.Path, "/_synapse/admin/") && !a.Admin() {
		return g.refuse(w, r, notAdmin)
	}
	canonical(r, text, source)
	if g.Admitted != nil {
		g.Admitted(r, a)
	}
	life := a.Life()
	if life == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return g.pass(w, r, next, g.MaxBody)
	}
	return g.passWhile(life, w, r, next, text)
}

// judgeAgain says what the next request with this token would be answered.
func (g *Gate) judgeAgain(r *http.Request, text string) refusal {
	ctx := context.WithoutCancel(r.Context())
	a, err := g.Judge.Judge(ctx, text, g.From(r))
	if err != nil {
		g.logNoVerdict(ctx, err)
		return unavailable
	}
	defer a.Release()
	return verdictRefusal(a.Verdict)
}

func (g *Gate) logNoVerdict(ctx context.Context, err error) {
	if ctx.Err() == nil { // The client is still there.
		g.Log.Error("judging an access token", zap.Error(err))
	}
}
