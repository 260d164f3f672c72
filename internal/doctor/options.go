package doctor

import "net/url"

// forbidden lists the options that Synapse refuses to start with beside delegation (config/mas.py).
func (d document) forbidden() []string {
	var list []string
	for _, key := range []string{
		"enable_registration", "enable_registration_captcha", "enable_3pid_changes", "user_consent", "oidc_providers",
		"password_providers", "refresh_token_lifetime", "nonrefreshable_access_token_lifetime", "session_lifetime",
	} {
		if d.set(key) {
			list = append(list, key)
		}
	}
	for _, key := range []string{"password_config", "oidc_config", "cas_config", "jwt_config", "login_via_existing_session"} {
		if s, ok := d.section(key); ok && s.set("enabled") {
			list = append(list, key+".enabled")
		}
	}
	if s, ok := d.section("saml2_config"); ok {
		if _, said := s["enabled"]; !said || s.set("enabled") {
			list = append(list, "saml2_config")
		}
	}
	return list
}

// endpointProblem says what is wrong with an endpoint.
func endpointProblem(endpoint string) string {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "":
		return "is not a URL with a host"
	case u.Scheme != "http" && u.Scheme != "https":
		return "must begin with http:// or https://"
	case u.User != nil:
		return "must not hold a user name or password"
	case u.RawQuery != "" || u.Fragment != "":
		return "must not have a query or a fragment"
	}
	return ""
}
