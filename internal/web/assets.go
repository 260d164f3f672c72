package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base32"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages load. Its name holds its hash: it never changes.
type asset struct {
	kind string
	body []byte
}

var (
	assetKinds = map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	assets, assetNames = loadAssets()
)

// loadAssets returns the assets by their hashed names, and the hashed names by the plain ones.
func loadAssets() (map[string]asset, map[string]string) {
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // Embedded.
	}
	all, names := make(map[string]asset), make(map[string]string)
	for _, e := range entries {
		body, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err) // Embedded.
		}
		hashed, a := newAsset(e.Name(), body)
		all[hashed], names[e.Name()] = a, hashed
	}
	return all, names
}

// newAsset makes an asset, and its name with the hash in it.
func newAsset(name string, body []byte) (hashed string, a asset) {
	ext := path.Ext(name)
	sum := sha256.Sum256(body)
	return strings.TrimSuffix(name, ext) + "." + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10])) + ext, asset{assetKinds[ext], body}
}

const assetsPath = "/assets/"

// assetPath is where the pages find an asset.
func assetPath(name string) (string, error) {
	hashed, ok := assetNames[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return assetsPath + hashed, nil
}

func (h *Handler) serveAsset(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	a, ok := assets[name]
	if !ok {
		a, ok = h.assets[name]
	}
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	case !ok:
		header.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotFound)
	default:
		header.Set("Content-Type", a.kind)
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
		header.Set("Cache-Control", "public, max-age=31536000, immutable")
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			w.Write(a.body) //nolint:errcheck // The browser is gone: nobody is left to tell.
		}
	}
}
