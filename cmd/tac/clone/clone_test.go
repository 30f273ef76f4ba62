package clone

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A clone may be somebody else's: what it holds must not make its reader hang
// or eat memory. Limits are told by sizes and counts here, and not by time.

// bareClone lays out an empty bare repository by hand.
func bareClone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"HEAD":                    "ref: refs/heads/main\n",
		"config":                  "[core]\n\tbare = true\n",
		"refs/heads/.keep":        "",
		"objects/info/alternates": "",
	} {
		put(t, filepath.Join(dir, filepath.FromSlash(name)), content)
	}
	return dir
}

func put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string) (*Clone, error) {
	t.Helper()
	c, err := Open(dir)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

func TestObjectsAreBorrowedOnceFromEachPlace(t *testing.T) {
	mine, other := bareClone(t), bareClone(t)
	here, there := filepath.Join(mine, "objects"), filepath.Join(other, "objects")
	put(t, filepath.Join(here, "info", "alternates"), strings.Join([]string{here, here, "../objects", there, there + "//", "# no path"}, "\n"))
	put(t, filepath.Join(there, "info", "alternates"), here+"\n"+there+"\n"+here+"\n")
	t.Chdir(mine)
	c, err := open(t, ".")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.objects) != 2 {
		t.Errorf("objects are looked for in %d places", len(c.objects))
	}
	// The library must not borrow by itself what was borrowed already: it
	// would go round without end for an object that is nowhere.
	if _, err := c.Revision(strings.Repeat("ab", 20)); err == nil || !strings.Contains(err.Error(), "is not in this clone") {
		t.Errorf("an object that is nowhere: %v", err)
	}
}

func TestAFewPlacesToBorrowFromAreEnough(t *testing.T) {
	lines := func(n int) (text string) {
		for i := range n {
			text += fmt.Sprintf("../../lender-%d/objects\n", i)
		}
		return text
	}
	dir := bareClone(t)
	alternates := filepath.Join(dir, "objects", "info", "alternates")
	put(t, alternates, lines(mostLenders))
	if c, err := open(t, dir); err != nil {
		t.Fatal(err)
	} else if len(c.objects) != mostLenders+1 {
		t.Errorf("objects are looked for in %d places", len(c.objects))
	}
	put(t, alternates, lines(mostLenders+1))
	if _, err := open(t, dir); err == nil || !strings.HasSuffix(err.Error(), "it borrows objects from more than 32 places, and tac looks into no more") {
		t.Errorf("one too many: %v", err)
	}
}

func TestNoFileOfACloneIsReadWithoutBound(t *testing.T) {
	for name, most := range map[string]int64{
		"HEAD": mostText, "config": mostText, "refs/heads/main": mostText, "packed-refs": mostList, "shallow": mostList,
		"commondir": mostLine, "objects/info/alternates": mostText,
	} {
		want := fmt.Sprintf("is no file of at most %d bytes", most)
		if name == "HEAD" || strings.HasPrefix(name, "refs/") {
			want = "there is no such branch" // the library looks on in packed-refs
		}
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			read := func(dir string) error {
				c, err := open(t, dir)
				if err == nil {
					_, err = c.Revision("HEAD")
				}
				return err
			}
			dir := bareClone(t)
			put(t, filepath.Join(dir, name), "")
			if err := os.Truncate(filepath.Join(dir, name), most+1); err != nil { // takes no room
				t.Fatal(err)
			}
			if err := read(dir); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("too long: %v", err)
			}
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/dev/zero", filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if err := read(dir); err == nil { // links out of the clone have words of the library's own
				t.Error("it reads what has no end")
			}
		})
	}
}

func TestWhatNamesTheRepositoryIsALine(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, ".git"), "gitdir: "+strings.Repeat("x", int(mostLine)))
	if _, err := open(t, dir); err == nil || !strings.Contains(err.Error(), "is no file of at most 8192 bytes") {
		t.Errorf("%v", err)
	}
}
