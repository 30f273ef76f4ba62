// Package gitreal shows bot/gitstore on git's own server, and the sandbox's
// git server to the real git:
//
//	backend_test.go  git http-backend behind net/http/cgi, under the claims of
//	                 bot/gitstore/storeclaims
//	sandbox_test.go  the git command against bot/sandbox/github
package gitreal

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/tigeraccess/tac/bot/gitstore/storeclaims"
)

// shown counts the claims that were shown to hold.
var shown atomic.Int64

func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Println("tally: git-claims", shown.Load())
	os.Exit(code)
}

const token = "a token of tests alone"

// backend serves every bare repository below its folder as git itself does.
// protocol is the highest version that it is let to speak.
func backend(t *testing.T, root, protocol string) *httptest.Server {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	handler := &cgi.Handler{
		Path: path, Args: []string{"http-backend"}, Stderr: os.Stderr,
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "HOME=" + root},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "x-access-token" || password != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		if protocol == "0" {
			r.Header.Del("Git-Protocol")
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestTheStoreAgainstGitsOwnServer(t *testing.T) {
	for _, protocol := range []string{"2", "0"} {
		t.Run("protocol "+protocol, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			server := backend(t, root, protocol)
			repos := 0
			n := storeclaims.Run(t, func(t *testing.T) storeclaims.Repo {
				repos++
				name := fmt.Sprintf("access-%d.git", repos)
				return bare(t, filepath.Join(root, name), server.URL+"/"+name)
			})
			if n == 0 {
				t.Error("nothing was shown")
			}
			shown.Add(int64(n))
		})
	}
}

// bare makes a repository whose server looks closely at what is pushed.
func bare(t *testing.T, dir, address string) storeclaims.Repo {
	t.Helper()
	storeclaims.MustGit(t, filepath.Dir(dir), "init", "-q", "--bare", "--initial-branch=main", dir)
	for _, setting := range [][2]string{
		{"http.receivepack", "true"}, {"receive.fsckObjects", "true"}, {"receive.fsck.zeroPaddedFilemode", "error"}, {"gc.auto", "0"},
	} {
		storeclaims.MustGit(t, dir, "config", setting[0], setting[1])
	}
	pulls := 0
	return storeclaims.Repo{URL: address, Token: token, Dir: dir, Pull: func(t *testing.T, branch string) int {
		t.Helper()
		pulls++
		storeclaims.MustGit(t, dir, "update-ref", fmt.Sprintf("refs/pull/%d/head", pulls), "refs/heads/"+branch)
		return pulls
	}}
}
