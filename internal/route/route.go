package route

import "strings"

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

// The endpoints. NoEndpoint is the zero value. Admin is Synapse's admin API, which is refused unless the caller lets it
// pass.
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

	// OAuth 2.0 and OpenID Connect.
	OAuthMetadata
	Authorize
	Token
	Revoke
	UserInfo
	DeviceAuthorization
	Registration
	Keys

	// Pages for people, and what they load.
	HomePage
	SignInPage
	SignOutPage
	ConsentPage
	LinkPage
	DevicePage
	AccountPage
	Asset
)

var endpointNames = [...]string{
	Login: "login", Logout: "logout", LogoutAll: "logout_all", Refresh: "refresh",
	AuthMetadata: "auth_metadata", AuthIssuer: "auth_issuer",
	WellKnownClient: "well_known_client", WellKnownServer: "well_known_server", WellKnownSupport: "well_known_support",
	Introspect: "introspect", OpenIDConfiguration: "openid_configuration", Health: "health", Admin: "admin",
	OAuthMetadata: "oauth_metadata", Authorize: "authorize", Token: "token", Revoke: "revoke", UserInfo: "userinfo",
	DeviceAuthorization: "device_authorization", Registration: "registration", Keys: "keys",
	HomePage: "home_page", SignInPage: "sign_in_page", SignOutPage: "sign_out_page", ConsentPage: "consent_page",
	LinkPage: "link_page", DevicePage: "device_page", AccountPage: "account_page", Asset: "asset",
}

// String returns the endpoint's name in logs and metrics; none for NoEndpoint.
func (e Endpoint) String() string {
	if int(e) < len(endpointNames) {
		return endpointNames[e]
	}
	return ""
}

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
	Endpoint Endpoint // of Ours; of Refused what was misspelt, or Admin, or NoEndpoint
	Group    Group    // of the endpoint; none for Admin
	Methods  string   // of the endpoint, as in Allow: "GET, HEAD, POST"; OPTIONS is for the caller to add

	// Second is another group that serves the path in its own way; usually none. The homeserver and OAuth clients ask for
	// introspection and for the provider document at the same paths.
	Second Group
}

// Allows reports whether the endpoint takes the method.
func (d Decision) Allows(method string) bool {
	for rest := d.Methods; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, ", ")
		if name == method {
			return true
		}
	}
	return false
}

// Match decides for an escaped path, url.URL.EscapedPath. A request whose target has no path but an opaque part
// (url.URL.Opaque) must not get here: Go would forward that part.
//
//   - Ours: the path is one of the table, byte for byte, or a page's: plain up to the segments that the page reads.
//   - Refused: it is another spelling of one of those; or below /_synapse, and neither a plain path below
//     /_synapse/client nor (with Endpoint Admin) below /_synapse/admin; or in some reading below /_matrix or /_synapse
//     without beginning so.
//   - Foreign: all else.
//
// It allocates nothing for a path of usual length.
func Match(escapedPath string) Decision {
	if d, ours := table[escapedPath]; ours {
		return d
	}
	if under(escapedPath, synapseRoot) {
		return matchSynapse(escapedPath)
	}
	if d, ours := matchPage(escapedPath); ours {
		return d
	}
	if isPlain(escapedPath) {
		return Decision{}
	}
	return matchReadings(escapedPath)
}

// matchPage decides for the paths of pages that are more than one. Nothing of them is ever proxied.
func matchPage(path string) (d Decision, ours bool) {
	if path == "/" { // Not in the table: so many paths can be read as it.
		return homePage, true
	}
	for i := range pages {
		p := &pages[i]
		rest, found := strings.CutPrefix(path, p.prefix)
		if found {
			one := rest != "" && !strings.Contains(rest, "/")
			return p.decision, (p.deep || one) && isStraight(path)
		}
	}
	return Decision{}, false
}

const (
	matrixRoot  = "/_matrix"
	synapseRoot = "/_synapse"

	synapseClient = synapseRoot + "/client"
	synapseAdmin  = synapseRoot + "/admin"
)

// matchSynapse decides for a path that begins with /_synapse.
func matchSynapse(path string) Decision {
	switch straight := isStraight(path); {
	case straight && under(path, synapseClient):
		return Decision{}
	case straight && under(path, synapseAdmin):
		return Decision{Kind: Refused, Endpoint: Admin}
	}
	return Decision{Kind: Refused}
}

// matchReadings decides for a path that is not in the table and can be read in more than one way.
func matchReadings(path string) Decision {
	if !under(path, matrixRoot) && isRoot(firstSegment(path)) {
		return Decision{Kind: Refused}
	}
	var buf [readingBuf]byte
	for r, found := reading(0), ambiguities(path); r < numReadings; r = found.after(r) {
		reading := r.read(buf[:0], path)
		if d, misspelt := table[string(reading)]; misspelt {
			d.Kind = Refused
			return d
		}
		if readsUnder(reading, synapseRoot) || readsUnder(reading, matrixRoot) && !under(path, matrixRoot) {
			return Decision{Kind: Refused}
		}
	}
	return Decision{}
}

// Gated reports whether a request to the escaped path is judged by its token: in some reading it is below /_matrix or
// /_synapse, and it is not a plain path below /_matrix/federation/ or /_matrix/key/, where servers speak that have no
// tokens.
func Gated(escapedPath string) bool {
	switch {
	case under(escapedPath, matrixRoot):
		servers := strings.HasPrefix(escapedPath, matrixRoot+"/federation/") || strings.HasPrefix(escapedPath, matrixRoot+"/key/")
		return !servers || !isStraight(escapedPath)
	case under(escapedPath, synapseRoot):
		return true
	}
	return !isPlain(escapedPath) && readsAsRoot(escapedPath)
}

// readsAsRoot reports whether the path is below /_matrix or /_synapse in some reading.
func readsAsRoot(path string) bool {
	if isRoot(firstSegment(path)) {
		return true
	}
	var buf [readingBuf]byte
	for r, found := reading(0), ambiguities(path); r < numReadings; r = found.after(r) {
		if reading := r.read(buf[:0], path); readsUnder(reading, matrixRoot) || readsUnder(reading, synapseRoot) {
			return true
		}
	}
	return false
}

// under reports whether path is root or something below it.
func under(path, root string) bool {
	return strings.HasPrefix(path, root) && (len(path) == len(root) || path[len(root)] == '/')
}

// readsUnder is under for a reading.
func readsUnder(reading []byte, root string) bool {
	if len(reading) < len(root) || string(reading[:len(root)]) != root {
		return false
	}
	return len(reading) == len(root) || reading[len(root)] == '/'
}
