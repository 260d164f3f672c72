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
		ext := path.Ext(e.Name())
		sum := sha256.Sum256(body)
		hashed := strings.TrimSuffix(e.Name(), ext) + "." + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10])) + ext
		all[hashed] = asset{assetKinds[ext], body}
		names[e.Name()] = hashed
	}
	return all, names
}

// assetPath is where the pages find an asset.
func assetPath(name string) (string, error) {
	hashed, ok := assetNames[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return "/assets/" + hashed, nil
}

func serveAsset(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	a, ok := assets[path.Base(r.URL.Path)]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	case !ok:
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotFound)
	default:
		h.Set("Content-Type", a.kind)
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			w.Write(a.body) //nolint:errcheck // The browser is gone: nobody is left to tell.
		}
	}
}
