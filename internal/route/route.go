package route

// Group is a set of endpoints that a site serves together, by MAS's resource names.
type Group string

// The groups.
const (
	Discovery Group = "discovery"
	OAuth     Group = "oauth"
	Human     Group = "human"
	Assets    Group = "assets"
	Compat    Group = "compat"
	AdminAPI  Group = "adminapi"
	Internal  Group = "internal"
)

// Endpoint is one thing that we serve, at one or more paths.
type Endpoint uint8

// The endpoints. NoEndpoint is the zero value. Admin is Synapse's admin API, which is refused unless the caller lets it pass.
const (
	NoEndpoint Endpoint = iota
	Login
	Logout
	LogoutAll
	Refresh
	AuthMetadata
	AuthIssuer
	WellKnownClient
	WellKnownServer
	WellKnownSupport
	Introspect
	OpenIDConfiguration
	Health
	Admin
)

// Kind is what is to become of a request, judged by its path.
type Kind uint8

// The kinds of decision.
const (
	Foreign Kind = iota // none of our business: on to the next handler
	Ours                // an endpoint of ours
	Refused             // 404 here, never proxied and never redirected
)

// Decision is what Match found.
type Decision struct {
	Kind     Kind
	Endpoint Endpoint
	Group    Group
	Methods  string // of an endpoint of ours: "GET, HEAD, POST", as in Allow
}

// Match decides for an escaped path.
func Match(escapedPath string) Decision { return Decision{} }

// Gated reports whether requests to the path are judged by their token.
func Gated(escapedPath string) bool { return false }
