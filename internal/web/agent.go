package web

import "strings"

const maxAgent = 80 // characters of a user agent that are shown

// describeAgent says in a few words which program sent a user agent: "Firefox, Linux". It is only ever shown: nothing depends
// on it.
func describeAgent(ua string) string {
	system := firstNamed(ua, agentSystems)
	if strings.HasPrefix(ua, "Mozilla/") {
		switch name := firstNamed(ua, agentBrowsers); {
		case name == "":
			return system
		case system == "":
			return name
		default:
			return name + ", " + system
		}
	}
	product, _, _ := strings.Cut(ua, " ") // Element X/1.2 is written so by nobody: products have no spaces (RFC 9110 §10.1.5).
	name, version, _ := strings.Cut(product, "/")
	name = oneLine(strings.TrimSpace(name+" "+version), maxAgent)
	if name == "" || system == "" {
		return name
	}
	return name + ", " + system
}

// named is a part of user agents and what it stands for. The first that is found counts: they copy each other.
type named struct{ part, name string }

var agentBrowsers = []named{
	{"Element/", "Element"}, {"Edg/", "Edge"}, {"EdgA/", "Edge"}, {"OPR/", "Opera"}, {"Vivaldi/", "Vivaldi"},
	{"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"},
	{"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
}

var agentSystems = []named{
	{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"iOS", "iOS"}, {"Android", "Android"}, {"Windows", "Windows"},
	{"Macintosh", "macOS"}, {"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
}

func firstNamed(ua string, all []named) string {
	for _, n := range all {
		if strings.Contains(ua, n.part) {
			return n.name
		}
	}
	return ""
}
