package demo

import (
	"net/http"
	"strings"
)

// Each act comes from an address of its own (documentation addresses, RFC 5737), so that no act spends another's limit by address,
// and those that spend much have a person of their own.
const (
	fromHome      = "203.0.113.10" // a stolen object
	fromCafe      = "203.0.113.20" // a wrong token
	fromFrank     = "203.0.113.21" // a token taken back
	fromTrain     = "203.0.113.30" // a bent path
	fromLibrary   = "203.0.113.40" // a forged identity
	fromOutside   = "203.0.113.50" // a neighbour
	fromDora      = "203.0.113.60" // a flood
	fromElsewhere = "203.0.113.61"
	fromMallory   = "203.0.113.66" // a flood of bad tokens
	fromOperator  = "203.0.113.70" // live
	fromErin      = "203.0.113.80"
)

// served is the wish that the service answers with these words.
func served(says string) want { return want{status: http.StatusOK, says: says} }

// allowed is the wish that the gates let the request through, by a rule.
func allowed(says, rule string) want {
	w := served(says)
	w.reason, w.rule = "allowed", rule
	return w
}

// refused is the wish that the authz gate refuses.
func refused(status int, reason, rule string) want {
	return want{status: status, reason: reason, rule: rule}
}

// Why some lines need the real thing.
const (
	onlyEnvoyCleans = "it is Envoy that cleans paths"
	onlyEnvoyFields = "it is Envoy that refuses such a header"
	onlyEnvoyTLS    = "it is Envoy that checks certificates"
	onlyEnvoyFails  = "it is Envoy that asks, and gets no answer"
	onlyEnvoyBodies = "it is Envoy that shows bodies"
)

func (s *stage) stolenObject() {
	s.act("1. A stolen object",
		"Alice changes one word of an address and asks for what is Bob's. The service looks up whatever it is asked for.")
	t := s.tokens
	orders := func(token, owner string) request {
		return request{target: "/users/" + owner + "/orders", token: token, from: fromHome}
	}
	s.ask(line{says: "Alice reads her orders", request: orders(t.alice, "alice"), without: served("alice's orders"), with: allowed("alice's orders", "list-orders")})
	s.ask(line{says: "Alice reads Bob's orders", request: orders(t.alice, "bob"), without: served("bob's orders"), with: refused(403, "owner", "list-orders")})
	s.ask(line{says: "Carol, an admin, reads Bob's", request: orders(t.carol, "bob"), without: served("bob's orders"), with: allowed("bob's orders", "list-orders")})
	s.ask(line{says: "Alice reads her own profile", request: request{target: "/users/alice", token: t.alice, from: fromHome},
		without: served("alice's profile"), with: allowed("alice's profile", "profile")})
	s.ask(line{says: "Carol reads Alice's profile", request: request{target: "/users/alice", token: t.carol, from: fromHome},
		without: served("alice's profile"), with: refused(403, "owner", "profile")})
	remove := func(ids string) request {
		return request{method: http.MethodPost, target: "/orders:delete", token: t.alice, from: fromHome, body: `{"ids":[` + ids + `]}`}
	}
	s.ask(line{says: "Alice deletes two of her orders", request: remove(`"a1","a2"`), envoy: onlyEnvoyBodies,
		without: served("deleted a1, a2"), with: allowed("deleted a1, a2", "delete")})
	s.ask(line{says: "a list with one of Bob's", request: remove(`"a1","b9"`), envoy: onlyEnvoyBodies,
		without: served("deleted a1, b9"), with: refused(403, "owner", "delete"), notes: s.why})
	edit := func(token, user, body string) request {
		return request{method: http.MethodPatch, target: "/users/" + user, token: token, from: fromHome, body: body}
	}
	s.ask(line{says: "Alice gives herself another name", request: edit(t.alice, "alice", `{"name":"Al"}`), envoy: onlyEnvoyBodies,
		without: served("set name"), with: allowed("set name", "edit-profile")})
	s.ask(line{says: "Alice makes herself admin", request: edit(t.alice, "alice", `{"name":"Al","role":"admin"}`), envoy: onlyEnvoyBodies,
		without: served("set name, role"), with: refused(403, "field_not_writable", "edit-profile"), notes: pointed})
	s.ask(line{says: "a page that no rule names", request: request{target: "/debug/vars", token: t.carol, from: fromHome},
		without: served("all settings"), with: refused(403, "no_rule", "")})
}

func (s *stage) wrongToken() {
	s.act("2. A wrong token", "Alice's own orders, each time with a token that does not say that this is Alice. "+
		"The client hears one reason for all bad tokens; the word after the slash stands only in the audit log.")
	t := s.tokens
	ask := func(says, token string, with want) {
		l := line{says: says, request: request{target: "/users/alice/orders", token: token, from: fromCafe}, without: served("alice's orders"), with: with}
		if says == "no token at all" || with.status == 403 {
			l.notes = heard("www-authenticate")
		}
		s.ask(l)
	}
	invalid := func(detail string) want {
		w := refused(401, "invalid_token/"+detail, "list-orders")
		w.more = challenges("invalid_token")
		return w
	}
	none := refused(401, "no_token", "list-orders")
	none.more = challenges("")
	scope := refused(403, "insufficient_scope", "list-orders")
	scope.more = challenges("insufficient_scope")
	ask("no token at all", "", none)
	ask("expired an hour ago", t.expired, invalid("expired"))
	ask("for another API", t.otherAudience, invalid("audience"))
	ask("HS256 with the public key", t.hs256, invalid("algorithm"))
	ask("not signed (alg: none)", t.unsigned, invalid("algorithm"))
	ask("an ID token", t.idToken, invalid("type"))
	ask("scope read:orders missing", t.unscoped, scope)
	s.lostPhone()
}

func (s *stage) bentPath() {
	s.act("3. A bent path", "Alice spells Bob's orders in ways that the service reads generously. "+
		"What Envoy can clean arrives clean and is judged so; what it cannot is refused, not guessed at.")
	t := s.tokens
	bobs := served("bob's orders")
	path := func(target string, without, with want, envoy string) {
		s.ask(line{says: target, request: request{target: target, token: t.alice, from: fromTrain}, without: without, with: with, envoy: envoy})
	}
	clean := allowed("alice's orders", "list-orders")
	clean.more = saw("/users/alice/orders")
	s.ask(line{says: "/users/./alice//orders", request: request{target: "/users/./alice//orders", token: t.alice, from: fromTrain},
		without: served("alice's orders"), with: clean, envoy: onlyEnvoyCleans,
		notes: func(a answered) string { return "hers, so it is answered; the service saw " + orDash(a.echo.Target) }})
	path("/catalogue/../users/bob/orders", bobs, refused(403, "owner", "list-orders"), onlyEnvoyCleans)
	path("/users/alice/%2e%2e/bob/orders", bobs, refused(403, "owner", "list-orders"), onlyEnvoyCleans)
	path("/users/b%6Fb/orders", bobs, refused(403, "owner", "list-orders"), onlyEnvoyCleans)
	path("//users//bob//orders", bobs, refused(403, "owner", "list-orders"), onlyEnvoyCleans)
	path("/users/bob;v=1/orders", bobs, refused(400, "bad_target", ""), "")
	path("/users%2Fbob%2Forders", bobs, want{status: 400, reason: "refused by Envoy itself"}, onlyEnvoyCleans)
	path("/USERS/bob/orders", bobs, refused(400, "ambiguous_path", ""), "")
	path("/users/bob/orders/", bobs, refused(400, "ambiguous_path", ""), "")
	path("/v0/users/bob/orders", bobs, refused(410, "gone", "retired"), "")
}

func (s *stage) forgedIdentity() {
	s.act("4. A forged identity", "The service believes the header x-user-id, which the gate sets. Alice sends one of her own.")
	t := s.tokens
	me := func(token string, fields ...field) request {
		return request{target: "/me", token: token, from: fromLibrary, fields: fields}
	}
	hers := allowed("hello alice", "whoami")
	hers.more = knows("alice")
	told := func(a answered) string {
		if len(a.echo.UserIDs) == 0 {
			return "the service was told no name"
		}
		return "the service was told: " + strings.Join(a.echo.UserIDs, ", ")
	}
	s.ask(line{says: "x-user-id: admin", request: me(t.alice, field{"x-user-id", "admin"}), without: served("hello admin"), with: hers, notes: told})
	s.ask(line{says: "x-user-id twice: bob, admin", request: me(t.alice, field{"x-user-id", "bob"}, field{"x-user-id", "admin"}),
		without: served("hello admin"), with: hers})
	s.ask(line{says: "x_user_id: admin (an underscore)", request: me(t.alice, field{"x_user_id", "admin"}),
		without: served("hello admin"), with: want{status: 400, reason: "refused by Envoy itself"}, envoy: onlyEnvoyFields})
	if s.standIn != nil {
		s.ask(line{says: "x_user_id: admin", request: me(t.alice, field{"x_user_id", "admin"}), without: served("hello admin"), with: refused(400, "bad_header", "")})
	}
	nobody := allowed("tea for nobody", "catalogue")
	nobody.reason, nobody.more = "public", knows()
	s.ask(line{says: "x-user-id on a public page", request: request{target: "/catalogue/tea", from: fromLibrary, fields: []field{{"x-user-id", "admin"}}},
		without: served("tea for admin"), with: nobody, notes: told})
}

func (s *stage) neighbour() {
	s.act("5. A neighbour", "Between workloads the certificate of the connection is the whole identity. Only shop/indexer may start a reindex.")
	reindex := request{method: http.MethodPost, target: "/internal/reindex", from: fromOutside}
	play := func(says string, who workload, with want, envoy string) {
		if s.over() {
			return
		}
		through, err := s.doors.mesh(who)
		if err != nil {
			s.fail(err)
			return
		}
		r := reindex
		r.from = ""
		s.ask(line{says: says, request: r, door: through, without: served("reindexed"), with: with, envoy: envoy})
	}
	indexer := spiffeID("shop", "indexer")
	play("shop/indexer asks", workload{id: indexer}, allowed("reindexed", "reindex"), "")
	play("shop/frontend asks", workload{id: spiffeID("shop", "frontend")}, refused(403, "caller", "reindex"), "")
	play("shop/indexer, by another authority", workload{id: indexer, forged: true}, nothing, onlyEnvoyTLS)
	withToken := reindex
	withToken.token = s.tokens.carol
	s.ask(line{says: "Carol, through the front door", request: withToken, without: served("reindexed"), with: refused(403, "caller", "reindex")})
}

func (s *stage) floodAct() {
	s.act("6. A flood", "100 a minute and 1000 an hour for each person, in a sliding window; 200 a minute for each address, before anybody is asked who they are.")
	t := s.tokens
	orders := request{target: "/users/dora/orders", token: t.dora, from: fromDora}
	spent := want{status: 429, reason: "over_limit", rule: "mesh.who", more: bounded}
	s.pour(flood{says: "Dora asks 101 times", request: orders, room: 100, before: 200, without: true, with: spent,
		notes: func(a answered) string {
			return strings.Join([]string{heard("retry-after")(a), "x-ratelimit-limit: " + shorten(a.header.Get("X-Ratelimit-Limit"), 60)}, " | ")
		}})
	s.edge()
	elsewhere := orders
	elsewhere.from = fromElsewhere
	s.ask(line{says: "Dora, from another address", request: elsewhere, without: served("dora's orders"), with: spent})
	s.ask(line{says: "Bob, meanwhile", request: request{target: "/users/bob/orders", token: t.bob, from: fromDora},
		without: served("bob's orders"), with: allowed("bob's orders", "list-orders")})
	s.pour(flood{says: "201 bad tokens, one address", request: request{target: "/users/bob/orders", token: t.unsigned, from: fromMallory},
		room: 200, before: 401, without: true, with: want{status: 429, reason: "over_limit", rule: "edge limit", more: waits}, notes: heard("retry-after")})
}

// shorten cuts a text that would fill the line.
func shorten(text string, columns int) string {
	if len(text) <= columns {
		return text
	}
	return text[:columns-3] + "..."
}
