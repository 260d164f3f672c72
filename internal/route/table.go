package route

// The methods of an endpoint. HEAD goes wherever GET goes (RFC 9110 §9.3.2).
const (
	get     = "GET, HEAD"
	post    = "POST"
	getPost = "GET, HEAD, POST"
)

// The paths that have a link.
const (
	pathOAuthMetadata       = "/.well-known/oauth-authorization-server" // RFC 8414 §3
	pathOpenIDConfiguration = "/.well-known/openid-configuration"       // OpenID Connect Discovery 1.0 §4
	pathAuthorize           = "/authorize"
	pathToken               = "/oauth2/token"
	pathRevoke              = "/oauth2/revoke"
	pathUserInfo            = "/oauth2/userinfo"
	pathDevice              = "/oauth2/device"
	pathRegistration        = "/oauth2/registration"
	pathKeys                = "/oauth2/keys.json"
	pathIntrospect          = "/oauth2/introspect"
	pathLink                = "/link"
	pathConsent             = "/consent/"
	pathAccount             = "/account/"
)

// table holds every path that we serve, in its one spelling.
var table = makeTable()

func makeTable() map[string]Decision {
	t := map[string]Decision{
		"/.well-known/matrix/client":  ours(WellKnownClient, Discovery, get),
		"/.well-known/matrix/server":  ours(WellKnownServer, Discovery, get),
		"/.well-known/matrix/support": ours(WellKnownSupport, Discovery, get),

		"/_matrix/client/v1/auth_metadata":                          ours(AuthMetadata, Discovery, get),
		"/_matrix/client/unstable/org.matrix.msc2965/auth_metadata": ours(AuthMetadata, Discovery, get),
		"/_matrix/client/unstable/org.matrix.msc2965/auth_issuer":   ours(AuthIssuer, Discovery, get),

		"/_matrix/client/unstable/org.matrix.msc2918/refresh": ours(Refresh, Compat, post),

		pathOAuthMetadata:       ours(OAuthMetadata, Discovery, get),
		pathOpenIDConfiguration: {Ours, OpenIDConfiguration, Internal, get, Discovery},

		pathAuthorize:    ours(Authorize, OAuth, getPost),
		pathToken:        ours(Token, OAuth, post),
		pathRevoke:       ours(Revoke, OAuth, post),
		pathUserInfo:     ours(UserInfo, OAuth, getPost),
		pathDevice:       ours(DeviceAuthorization, OAuth, post),
		pathRegistration: ours(Registration, OAuth, post),
		pathKeys:         ours(Keys, OAuth, get),
		pathIntrospect:   {Ours, Introspect, Internal, post, OAuth},

		"/login":   ours(SignInPage, Human, getPost),
		"/logout":  ours(SignOutPage, Human, getPost),
		pathLink:   ours(LinkPage, Human, getPost),
		"/account": ours(AccountPage, Human, getPost),

		"/health": ours(Health, Internal, get),
	}
	// The versions under which Synapse has served the legacy API (Synapse rest/client/_base.py, client_patterns).
	for _, version := range []string{"r0", "v3", "api/v1", "unstable"} {
		base := "/_matrix/client/" + version
		t[base+"/login"] = ours(Login, Compat, getPost)
		t[base+"/logout"] = ours(Logout, Compat, post)
		t[base+"/logout/all"] = ours(LogoutAll, Compat, post)
		t[base+"/refresh"] = ours(Refresh, Compat, post)
	}
	return t
}

// ours is a decision for a path that one group serves.
func ours(e Endpoint, g Group, methods string) Decision {
	return Decision{Kind: Ours, Endpoint: e, Group: g, Methods: methods}
}

var homePage = ours(HomePage, Human, get)

// pages are the endpoints with a parameter in their path, which the page reads itself.
var pages = [...]struct {
	prefix   string
	deep     bool // anything may follow, and nothing
	decision Decision
}{
	{pathConsent, false, ours(ConsentPage, Human, getPost)},
	{"/device/", false, ours(DevicePage, Human, getPost)},
	{pathAccount, true, ours(AccountPage, Human, getPost)},
	{"/assets/", false, ours(Asset, Assets, get)},
}
