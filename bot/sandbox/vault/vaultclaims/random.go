package vaultclaims

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Random writes a script of n calls as chance has it: tokens are minted, used
// and ended, records written over each other, leases renewed and revoked, in
// an order that nobody thought of. There is nothing recorded in it; it is for
// two grounds that are held against each other.
//
// It keeps off what depends on the moment: a lease whose token has ended, or
// that was revoked without waiting, is not asked for again.
func Random(seed uint64, n int) (*Script, error) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), tokens: []string{"root", "bot", "janitor"}, leases: map[string]string{}}
	g.text.WriteString("! include tac\n\n== calls by chance\n")
	for range n {
		pick(g, calls)(g)
	}
	return parseScript(fmt.Sprintf("random-%d", seed), g.text.String())
}

type generator struct {
	*rand.Rand
	text      strings.Builder
	number    int
	tokens    []string          // that live, as far as we know
	accessors []string          // of tokens, also of ended ones; of token tN it is aN
	leases    map[string]string // to the token that each hangs on
	wraps     []string
}

func pick[T any](g *generator, of []T) T { return of[g.IntN(len(of))] }

func (g *generator) step(format string, args ...any) { fmt.Fprintf(&g.text, format+"\n", args...) }

// token is any that lives, but more often one that may do something.
func (g *generator) token() string {
	if g.IntN(2) == 0 {
		return g.minter()
	}
	return pick(g, g.tokens)
}

func (g *generator) lease() string {
	if len(g.leases) == 0 || g.IntN(8) == 0 {
		return "database/creds/orders-ro/none"
	}
	names := make([]string, 0, len(g.leases))
	for name := range g.leases {
		names = append(names, name)
	}
	slices.Sort(names)
	return "{{" + pick(g, names) + "}}"
}

func (g *generator) record() string { return fmt.Sprintf("grants/g%d", g.IntN(4)) }

// end forgets a token, and the leases that go with it.
func (g *generator) end(token string) {
	g.tokens = slices.DeleteFunc(g.tokens, func(t string) bool { return t == token })
	for lease, of := range g.leases {
		if of == token {
			delete(g.leases, lease)
		}
	}
}

var ttls = []string{`"1h"`, `"10m"`, `3600`, `"20h"`, `"90s"`, `""`, `0`, `"years"`, `"-5m"`}

// increments are none of the ttls: whether an hour is left of an hour depends
// on the moment.
var increments = []string{`"45m"`, `"8m"`, `2000`, `"15h"`, `"45s"`, `"years"`, `"-5m"`}

// calls are what may happen; some of it more often than the rest.
var calls = []func(*generator){
	mint, mint, mint, lookup, lookup, endToken, endSelf, renewSelf, renewSelf,
	creds, creds, creds, leaseLookup, leaseLookup, leaseRenew, leaseRenew, leaseRevoke,
	readRecord, readRecord, writeRecord, writeRecord, writeRecord, writeRecord, deleteRecord, describeRecord, listRecords,
	wrapData, unwrapData, unwrapData, sign, count,
}

func mint(g *generator) {
	g.number++
	token, accessor := fmt.Sprintf("t%d", g.number), fmt.Sprintf("a%d", g.number)
	body := fmt.Sprintf(`{"policies":[%s],"ttl":%s`, pick(g, []string{`"tac-db-orders-ro"`, `"tac-db-brief"`, `"tac-db-orders-ro","tac-none"`, `"tac-ssh-bastion"`}), pick(g, ttls))
	if g.IntN(3) == 0 {
		body += `,"explicit_max_ttl":` + pick(g, ttls[:5])
	}
	if g.IntN(4) == 0 {
		body += `,"renewable":true,"no_default_policy":true`
	}
	path := "create/tac"
	if g.IntN(3) == 0 {
		path = "create"
	}
	g.step("%s POST auth/token/%s %s}\n  maybe %s auth.client_token\n  maybe %s auth.accessor", g.minter(), path, body, token, accessor)
	g.tokens, g.accessors = append(g.tokens, token), append(g.accessors, accessor)
}

// minter is root or the bot: the children of others would end with them.
func (g *generator) minter() string { return pick(g, []string{"root", "bot"}) }

func (g *generator) accessor() string {
	if len(g.accessors) == 0 || g.IntN(8) == 0 {
		return "none"
	}
	return pick(g, g.accessors)
}

func named(name string) string {
	if name == "none" {
		return name
	}
	return "{{" + name + "}}"
}

func lookup(g *generator) {
	if g.IntN(2) == 0 {
		g.step("%s GET auth/token/lookup-self", g.token())
		return
	}
	g.step(`%s POST auth/token/lookup-accessor {"accessor":"%s"}`, g.minter(), named(g.accessor()))
}

func endToken(g *generator) {
	accessor := g.accessor()
	g.step(`%s POST auth/token/revoke-accessor {"accessor":"%s"}`, g.minter(), named(accessor))
	g.end(strings.Replace(accessor, "a", "t", 1))
}

func endSelf(g *generator) {
	if token := g.token(); strings.HasPrefix(token, "t") {
		g.step("%s POST auth/token/revoke-self", token)
		g.end(token) // or it may not end itself, and is left alone from now on
	}
}

func renewSelf(g *generator) {
	g.step(`%s POST auth/token/renew-self {"increment":%s}`, g.token(), pick(g, increments))
}

func creds(g *generator) {
	g.number++
	token, lease := g.token(), fmt.Sprintf("l%d", g.number)
	g.step("%s GET database/creds/%s\n  maybe %s lease_id", token, pick(g, []string{"orders-ro", "orders-ro", "brief", "none"}), lease)
	g.leases[lease] = token
}

func leaseLookup(g *generator) {
	g.step(`%s POST sys/leases/lookup {"lease_id":"%s"}`, g.token(), g.lease())
}

func leaseRenew(g *generator) {
	g.step(`%s PUT sys/leases/renew {"lease_id":"%s","increment":%s}`, g.token(), g.lease(), pick(g, append(increments, `""`, `0`)))
}

func leaseRevoke(g *generator) {
	lease, sync := g.lease(), pick(g, []string{`,"sync":true`, `,"sync":false`, ``})
	g.step(`%s PUT sys/leases/revoke {"lease_id":"%s"%s}`, g.minter(), lease, sync)
	if strings.Contains(sync, "false") {
		delete(g.leases, strings.Trim(lease, "{}"))
	}
}

func readRecord(g *generator) {
	g.step("%s GET tac/data/%s%s", g.token(), g.record(), pick(g, []string{"", "", "?version=1", "?version=2"}))
}

func writeRecord(g *generator) {
	options := pick(g, []string{`"options":{"cas":0},`, `"options":{"cas":0},`, `"options":{"cas":1},`, `"options":{"cas":2},`, `"options":{"cas":3},`, ``})
	g.step(`%s POST tac/data/%s {%s"data":{"n":%d}}`, g.token(), g.record(), options, g.IntN(100))
}

func deleteRecord(g *generator) {
	r := g.record()
	switch g.IntN(5) {
	case 0:
		g.step("%s DELETE tac/data/%s", g.token(), r)
	case 1:
		g.step(`%s POST tac/undelete/%s {"versions":[1,2]}`, g.token(), r)
	case 2:
		g.step(`%s POST tac/delete/%s {"versions":[1]}`, g.token(), r)
	case 3:
		g.step(`%s POST tac/destroy/%s {"versions":[2]}`, g.token(), r)
	default:
		g.step("%s DELETE tac/metadata/%s", g.token(), r)
	}
}

func describeRecord(g *generator) { g.step("%s GET tac/metadata/%s", g.token(), g.record()) }

func listRecords(g *generator) {
	g.step("%s LIST tac/metadata%s", g.token(), pick(g, []string{"", "/grants", "/none"}))
}

func wrapData(g *generator) {
	g.number++
	wrap := fmt.Sprintf("w%d", g.number)
	g.step("%s POST sys/wrapping/wrap {\"a\":%d}\n  header X-Vault-Wrap-TTL: %s\n  maybe %s wrap_info.token", g.token(), g.number, pick(g, []string{"60s", "5m", "29s", "1h"}), wrap)
	g.wraps = append(g.wraps, wrap)
}

func unwrapData(g *generator) {
	if len(g.wraps) == 0 {
		return
	}
	wrap := pick(g, g.wraps)
	switch g.IntN(4) {
	case 0:
		g.step(`%s POST sys/wrapping/unwrap {"token":"{{%s}}"}`, g.token(), wrap)
	case 1:
		g.step(`none POST sys/wrapping/lookup {"token":"{{%s}}"}`, wrap)
	default:
		g.step("%s POST sys/wrapping/unwrap {}", wrap)
	}
}

func sign(g *generator) {
	g.step(`%s POST transit/sign/tac-attest {"input":"b3RoZXI="}`, g.token())
}

func count(g *generator) { g.step("%s GET sys/leases/count?type=irrevocable", g.token()) }
