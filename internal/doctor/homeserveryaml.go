package doctor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// defaultEndpoint is Synapse's (config/mas.py).
const defaultEndpoint = "http://localhost:8080/"

// Delegation is what the configuration of Synapse says about delegation. It holds no secret, only the hash of one.
type Delegation struct {
	ServerName    string   `json:"server_name,omitzero"`
	PublicBaseURL string   `json:"public_baseurl,omitzero"`
	Section       bool     `json:"section,omitzero"` // there is a section matrix_authentication_service
	Enabled       bool     `json:"enabled,omitzero"`
	Endpoint      string   `json:"endpoint,omitzero"` // of the section, or its default; empty without it
	SecretHash    string   `json:"secret_hash,omitzero"`
	Problems      []string `json:"problems,omitzero"` // of the section, in words
	Legacy        bool     `json:"legacy,omitzero"`   // there is a section experimental_features.msc3861
	LegacyHash    string   `json:"legacy_hash,omitzero"`
	Forbidden     []string `json:"forbidden,omitzero"` // options that Synapse refuses beside delegation
	StaleDevices  bool     `json:"stale_devices,omitzero"`
}

// Read reads Synapse's configuration files. As for Synapse, a top-level option of a later file takes the place of an earlier
// one (config/_base.py read_config_files). It also reads the file that secret_path names.
func Read(names ...string) (*Delegation, error) {
	all := make(document)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		d, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		maps.Copy(all, d)
	}
	return all.delegation(), nil
}

// document is a mapping of YAML.
type document map[string]yaml.Node

var errNotYAML = errors.New("is not the YAML of a homeserver.yaml")

// parse reads one file. The library's errors quote the text, which may hold secrets.
func parse(text []byte) (document, error) {
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, errNotYAML
	}
	return d, nil
}

// section returns the mapping under a key, and whether it is there with anything in it.
func (d document) section(key string) (document, bool) {
	node, ok := d[key]
	if !ok {
		return nil, false
	}
	var s document
	if node.Decode(&s) != nil || s == nil {
		return nil, false
	}
	return s, true
}

// text returns a scalar of any kind as it is written.
func (d document) text(key string) string {
	node, ok := d[key]
	if !ok || node.Kind != yaml.ScalarNode || node.ShortTag() == "!!null" {
		return ""
	}
	return node.Value
}

// isString reports whether a key's value is a string, as Synapse insists on.
func (d document) isString(key string) bool {
	node := d[key]
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str"
}

// set reports whether a key has any value but null, false, or an empty list or mapping.
func (d document) set(key string) bool {
	node, ok := d[key]
	if !ok {
		return false
	}
	if node.Kind == yaml.AliasNode {
		node = *node.Alias
	}
	if node.Kind != yaml.ScalarNode {
		return len(node.Content) > 0
	}
	if b, ok := boolean(&node); ok {
		return b
	}
	return node.ShortTag() != "!!null" && node.Value != ""
}

// boolean reads a boolean of YAML 1.1, as Synapse's library does: yes and on are true.
func boolean(node *yaml.Node) (value, ok bool) {
	quoted := node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0
	if quoted || node.Kind != yaml.ScalarNode {
		return false, false
	}
	switch strings.ToLower(node.Value) {
	case "true", "yes", "on":
		return true, true
	case "false", "no", "off":
		return false, true
	}
	return false, false
}

func (d document) delegation() *Delegation {
	r := &Delegation{
		ServerName:    d.text("server_name"),
		PublicBaseURL: d.text("public_baseurl"),
		Forbidden:     d.forbidden(),
		StaleDevices:  d.set("delete_stale_devices_after"),
	}
	if experimental, ok := d.section("experimental_features"); ok && experimental.set("msc3861") {
		r.Legacy = true
		if legacy, ok := experimental.section("msc3861"); ok {
			r.LegacyHash = legacy.legacyHash()
		}
	}
	if s, ok := d.section("matrix_authentication_service"); ok {
		s.readSection(r)
	}
	return r
}

// legacyHash hashes the secret of the old section (Synapse 1.156 config/experimental.py).
func (d document) legacyHash() string {
	if secret := d.text("admin_token"); secret != "" {
		return hash(secret)
	}
	if path := d.text("admin_token_path"); path != "" {
		if secret, problem := readSecret(path); problem == "" {
			return hash(secret)
		}
	}
	return ""
}

// readSection reads matrix_authentication_service (Synapse config/mas.py).
func (d document) readSection(r *Delegation) {
	r.Section, r.Endpoint = true, defaultEndpoint
	if node, ok := d["enabled"]; ok {
		var isBoolean bool
		if r.Enabled, isBoolean = boolean(&node); !isBoolean {
			r.problem("enabled must be true or false, without quotes")
		}
	}
	if e := d.text("endpoint"); e != "" {
		r.Endpoint = e
	}
	if p := endpointProblem(r.Endpoint); p != "" {
		r.problem("endpoint " + p)
		r.Endpoint = ""
	}
	d.readSectionSecret(r)
}

func (d document) readSectionSecret(r *Delegation) {
	inline, path := d.text("secret"), d.text("secret_path")
	switch {
	case inline != "" && path != "":
		r.problem("secret and secret_path exclude each other")
	case inline != "" && !d.isString("secret"):
		r.problem("secret must be a string: put it in quotes")
	case inline != "":
		r.SecretHash = hash(inline)
	case path == "":
		r.problem("secret or secret_path is missing")
	default:
		secret, problem := readSecret(path)
		if problem != "" {
			r.problem("secret_path " + problem)
			return
		}
		r.SecretHash = hash(secret)
	}
	if path != "" && !filepath.IsAbs(path) {
		r.problem("secret_path is relative, which Synapse takes as relative to the directory it is started in: write it from / on")
	}
}

func (r *Delegation) problem(s string) { r.Problems = append(r.Problems, s) }

// readSecret reads a file as Synapse does: without white space at both ends (config/_base.py read_secret_from_file_once).
func readSecret(path string) (secret, problem string) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", path + ": there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "", path + ": may not be read by who runs this command, so it was not compared"
	case err != nil:
		return "", path + ": cannot be read"
	}
	if secret = strings.TrimSpace(string(text)); secret == "" {
		return "", path + ": is empty: Synapse starts, and then nobody's token is good"
	}
	return secret, ""
}

// hash hides a secret and lets it be compared. It has 128 bits of randomness, or is easier to guess than to hash.
func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
