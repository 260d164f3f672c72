package route

// The methods of an endpoint. HEAD goes wherever GET goes (RFC 9110 §9.3.2).
const (
	get     = "GET, HEAD"
	post    = "POST"
	getPost = "GET, HEAD, POST"
)

// table holds every path that we serve, in its one spelling.
var table = makeTable()

func makeTable() map[string]Decision {
	t := map[string]Decision{
		"/.well-known/matrix/client":  {Ours, WellKnownClient, Discovery, get},
		"/.well-known/matrix/server":  {Ours, WellKnownServer, Discovery, get},
		"/.well-known/matrix/support": {Ours, WellKnownSupport, Discovery, get},

		"/_matrix/client/v1/auth_metadata":                          {Ours, AuthMetadata, Discovery, get},
		"/_matrix/client/unstable/org.matrix.msc2965/auth_metadata": {Ours, AuthMetadata, Discovery, get},
		"/_matrix/client/unstable/org.matrix.msc2965/auth_issuer":   {Ours, AuthIssuer, Discovery, get},

		"/_matrix/client/unstable/org.matrix.msc2918/refresh": {Ours, Refresh, Compat, post},

		"/oauth2/introspect":                {Ours, Introspect, Internal, post},
		"/.well-known/openid-configuration": {Ours, OpenIDConfiguration, Internal, get},
		"/health":                           {Ours, Health, Internal, get},
	}
	// The versions under which Synapse has served the legacy API (Synapse rest/client/_base.py, client_patterns).
	for _, version := range []string{"r0", "v3", "api/v1", "unstable"} {
		base := "/_matrix/client/" + version
		t[base+"/login"] = Decision{Ours, Login, Compat, getPost}
		t[base+"/logout"] = Decision{Ours, Logout, Compat, post}
		t[base+"/logout/all"] = Decision{Ours, LogoutAll, Compat, post}
		t[base+"/refresh"] = Decision{Ours, Refresh, Compat, post}
	}
	return t
}
