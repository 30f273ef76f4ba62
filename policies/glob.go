package policies

import (
	"strconv"
	"strings"
)

// longestName is how many characters the name of a resource may have.
const longestName = 63

// lengths has a cell for every place in two patterns, their ends included.
// Patterns are no longer than names, as their form says.
type lengths [longestName + 1][longestName + 1]uint8

// meet returns the shortest name that both patterns match; false where no
// name can. It is exact: a name exists if and only if one is returned. So what
// is shown of two patterns is true of every resource that may ever come.
func meet(a, b target) (string, bool) {
	x, y := a.pattern, b.pattern
	if !startAlike(x, y) {
		return "", false
	}
	// least[i][j] is the length of the shortest text that both x[i:] and
	// y[j:] match; none where there is no such text.
	const none = 2 * longestName
	var least lengths
	var room [4]globStep
	for i := len(x); i >= 0; i-- {
		for j := len(y); j >= 0; j-- {
			best := none
			if i == len(x) && j == len(y) {
				best = 0
			}
			for _, s := range steps(room[:0], x, y, i, j) {
				best = min(best, int(least[s.i][s.j])+s.cost)
			}
			least[i][j] = uint8(best)
		}
	}
	if least[0][0] > longestName {
		return "", false
	}
	return shortest(x, y, &least), true
}

// startAlike tells most pairs apart before any work is done.
func startAlike(x, y string) bool {
	x, _, globX := strings.Cut(x, "*")
	y, _, globY := strings.Cut(y, "*")
	if !globX && !globY {
		return x == y
	}
	return strings.HasPrefix(x, y) || strings.HasPrefix(y, x)
}

// globStep leads from one pair of places in two patterns to the next, by no
// character or by one.
type globStep struct{ i, j, cost int }

func steps(out []globStep, x, y string, i, j int) []globStep {
	starX, starY := i < len(x) && x[i] == '*', j < len(y) && y[j] == '*'
	if starX {
		out = append(out, globStep{i + 1, j, 0})
		if j < len(y) && !starY {
			out = append(out, globStep{i, j + 1, 1})
		}
	}
	if starY {
		out = append(out, globStep{i, j + 1, 0})
		if i < len(x) && !starX {
			out = append(out, globStep{i + 1, j, 1})
		}
	}
	if i < len(x) && j < len(y) && !starX && !starY && x[i] == y[j] {
		out = append(out, globStep{i + 1, j + 1, 1})
	}
	return out
}

func shortest(x, y string, least *lengths) string {
	var name strings.Builder
	i, j := 0, 0
	for i < len(x) || j < len(y) {
		for _, s := range steps(nil, x, y, i, j) {
			if int(least[s.i][s.j])+s.cost != int(least[i][j]) {
				continue
			}
			switch {
			case s.cost == 0:
			case i < len(x) && x[i] != '*':
				name.WriteByte(x[i])
			default:
				name.WriteByte(y[j])
			}
			i, j = s.i, s.j
			break
		}
	}
	if name.Len() == 0 {
		return "x" // two patterns of stars alone: any name
	}
	return name.String()
}

// example returns a name that both patterns match and nobody has; false where
// there is none. One that reads like a name is preferred.
func example(a, b target, taken func(string) bool) (string, bool) {
	shortest, ok := meet(a, b)
	if !ok || !a.glob() && taken(a.pattern) || !b.glob() && taken(b.pattern) {
		return "", false
	}
	fallback, found := shortest, !taken(shortest)
	if found && shortest == strings.Trim(shortest, "-") {
		return shortest, true
	}
	for i := 0; i < 3 || !found; i++ {
		longer := lengthened(a, b, filler(i))
		if len(longer) == 0 {
			break
		}
		for _, name := range longer {
			switch {
			case taken(name):
			case name == strings.Trim(name, "-"):
				return name, true
			case !found:
				fallback, found = name, true
			}
		}
	}
	return fallback, found
}

// filler is the i-th text to put where a star stands.
func filler(i int) string {
	if i == 0 {
		return "x"
	}
	return strconv.Itoa(i)
}

// lengthened returns names that both patterns match, with a text where a star
// of one of them stands.
func lengthened(a, b target, text string) (names []string) {
	for _, pair := range [][2]target{{a, b}, {b, a}} {
		for i, c := range pair[0].pattern {
			if c != '*' {
				continue
			}
			filled := target{pattern: pair[0].pattern[:i] + "*" + text + "*" + pair[0].pattern[i+1:]}
			if name, ok := meet(filled, pair[1]); ok {
				names = append(names, name)
			}
		}
	}
	return names
}
