package pgstore

import (
	"fmt"
	"strings"
)

// The statements on letters and their counters are here; operations.go has those of operations, and schema.go
// the tables. None of them reads all letters: TestPlansDoNotScanLetters asks the server how it runs each.

// What a transaction begins with. Who writes waits here for all others.
const sqlLock = `SELECT last, change, letters, lanes, held FROM meta FOR UPDATE`

// What a transaction reads, by what it is about.
const (
	sqlLanes = `SELECT lane, cause, letters, live, holding, coalesce(change, 0), version, ordered, stage, key FROM lanes WHERE lane = ANY ($1::uuid[])`
	byEvent  = ` FROM letters WHERE event = ANY ($1::bytea[])`
	// A letter by its id: the place that it had first.
	byPlace   = ` FROM letters WHERE n = ANY ($1::bigint[]) AND id IS NULL`
	byID      = ` FROM letters WHERE id = ANY ($1::bigint[]) AND id IS NOT NULL`
	sqlEvents = `SELECT ` + lightColumns + byEvent
	sqlGlean  = `SELECT ` + lightColumns + byPlace + ` UNION ALL SELECT ` + lightColumns + byID
	sqlGet    = `SELECT ` + fullColumns + byPlace + ` UNION ALL SELECT ` + fullColumns + byID
	// The heads of lanes, and whole ones, unless they are large.
	ofLanes  = ` FROM unnest($1::uuid[]) AS q (lane) CROSS JOIN LATERAL (SELECT * FROM letters AS a WHERE a.lane = q.lane AND a.live ORDER BY a.n LIMIT 1) AS l`
	sqlHeads = `SELECT ` + lightColumns + ofLanes
	// The first letters of lanes, as many as $3 and $2 bytes allow.
	sqlAhead = `SELECT ` + fullColumns + ` FROM unnest($1::uuid[]) AS q (lane) CROSS JOIN LATERAL (
		SELECT p.*, sum(size) OVER (ORDER BY n) AS upto FROM (SELECT * FROM letters AS a
			WHERE (a.lane, a.live, a.n) > (q.lane, true, 0) AND (a.lane, a.live, a.n) <= (q.lane, true, 9223372036854775807)
			ORDER BY a.lane, a.live, a.n LIMIT $3) AS p) AS l WHERE upto <= $2 ORDER BY n`
	sqlHead = `SELECT ` + fullColumns + ` FROM letters 
		WHERE (lane, live, n) > ($1, true, 0) AND (lane, live, n) <= ($1, true, 9223372036854775807) ORDER BY lane, live, n LIMIT 1`
	sqlClaimed = `SELECT EXISTS (SELECT FROM claims WHERE sequence = $1 AND token = $2 AND owner = $3)`
	sqlClaims  = `SELECT sequence, owner, token, until FROM claims WHERE sequence = ANY ($1::uuid[])`
	sqlNow     = `SELECT clock_timestamp()`
)

// Looking. The first letters of a lane are asked for as a range of its index, and those of a facet in an order that
// no other index has: asked for the first n that are equal to something, the server might walk all of n.
const (
	firstOfFacet = `(SELECT n FROM letters AS a WHERE a.facet = f.facet ORDER BY a.n + 0 LIMIT 1)`
	// Light and whole letters at places, whose error has $2 in it.
	atPlaces = ` FROM letters WHERE n = ANY ($1::bigint[]) AND ($2 = ''::bytea OR position($2 IN error) > 0) ORDER BY n`
	sqlPage  = `SELECT ` + fullColumns + atPlaces
	sqlSkim  = `SELECT ` + lightColumns + atPlaces
	// Places with the sizes of their letters: by ids, of lanes, of facets, and of an age.
	sqlPlaces  = `SELECT n, size` + byPlace + ` UNION ALL SELECT n, size` + byID + ` ORDER BY 1`
	sqlOfLanes = `SELECT l.n, l.size FROM unnest($1::uuid[]) AS q (lane) CROSS JOIN (VALUES (true), (false)) AS v (live)
		CROSS JOIN LATERAL (SELECT n, size FROM letters AS a 
			WHERE (a.lane, a.live, a.n) > (q.lane, v.live, $2) AND (a.lane, a.live, a.n) <= (q.lane, v.live, 9223372036854775807) ORDER BY a.lane, a.live, a.n LIMIT $3) AS l ORDER BY 1 LIMIT $3`
	sqlOfFacets = `SELECT l.n, l.size FROM unnest($1::uuid[]) AS q (facet)
		CROSS JOIN LATERAL (SELECT n, size FROM letters AS a 
			WHERE a.facet = q.facet AND a.n + 0 > $2 ORDER BY a.n + 0 LIMIT $3) AS l
		ORDER BY 1 LIMIT $3`
	sqlOfAge = `SELECT l.n, l.size FROM unnest($1::uuid[]) AS q (facet)
		CROSS JOIN LATERAL (SELECT n, size FROM letters AS a WHERE a.facet = q.facet AND a.dead_at >= $2 AND a.dead_at <= $3) AS l
		ORDER BY 1`
	sqlLanesOfKey = `SELECT DISTINCT lane FROM lanes WHERE sha256(key) = sha256($1::bytea) AND ($2 = ''::bytea OR stage = $2)`
	sqlFacets     = `SELECT f.facet, f.state FROM facets AS f JOIN causes AS c USING (cause)
		WHERE ($1 = ''::bytea OR c.stage = $1) AND ($2 = ''::bytea OR c.fingerprint = $2) AND ($3 = ''::bytea OR f.topic = $3)
		AND ($4 = ''::bytea OR f.reason = $4) AND ($5 = ''::bytea OR f.error_type = $5)`
	// Groups of live letters, by stage and fingerprint where these are given.
	sqlGroups = `WITH g AS (
			SELECT c.stage, c.fingerprint, sum(f.letters)::bigint AS letters,
				(max(c.lanes) + sum(CASE WHEN f.ordered THEN 0 ELSE f.letters END))::bigint AS sequences,
				min((SELECT dead_at FROM letters WHERE facet = f.facet ORDER BY dead_at LIMIT 1)) AS first,
				max((SELECT dead_at FROM letters WHERE facet = f.facet ORDER BY dead_at DESC LIMIT 1)) AS last,
				coalesce(min(CASE WHEN NOT f.follower THEN ` + firstOfFacet + ` END),
					min(` + firstOfFacet + `)) AS sample
			FROM causes AS c JOIN facets AS f USING (cause)
			WHERE f.live AND ($1 = ''::bytea OR c.stage = $1) AND ($2 = ''::bytea OR c.fingerprint = $2)
			GROUP BY c.cause)
		SELECT g.stage, g.fingerprint, g.letters, g.sequences, g.first, g.last, l.reason, l.error, l.error_type
		FROM g JOIN letters AS l ON l.n = g.sample ORDER BY g.letters DESC, g.first, g.stage, g.fingerprint`
	sqlCounts = `SELECT f.state, sum(f.letters)::bigint, sum(f.bytes)::bigint,
		min(CASE WHEN f.live THEN (SELECT dead_at FROM letters WHERE facet = f.facet ORDER BY dead_at LIMIT 1) END),
		(SELECT held FROM meta) FROM facets AS f GROUP BY f.state`
	sqlLast     = `SELECT last FROM meta`
	sqlOutdated = `SELECT ` + lightColumns + ` FROM letters WHERE NOT live AND updated_at < $1 ORDER BY updated_at LIMIT $2`
)

// Opening, and what others did.
const (
	sqlChange = `SELECT prefix, change FROM meta`
	sqlHeld   = `SELECT stage, key FROM lanes WHERE change > $1 AND change <= 9223372036854775807`
)

// What a transaction writes, all rows of a table at once.
const (
	sqlRemove      = `DELETE FROM letters WHERE n = ANY ($1::bigint[])`
	sqlCountCauses = `UPDATE causes AS c SET lanes = c.lanes + d.lanes FROM unnest($1::uuid[], $2::bigint[]) AS d (cause, lanes)
		WHERE c.cause = d.cause`
	sqlTakeFacets = `UPDATE facets AS f SET letters = f.letters + d.letters, bytes = f.bytes + d.bytes
		FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS d (facet, letters, bytes) WHERE f.facet = d.facet`
	sqlSetLanes = `UPDATE lanes AS a SET letters = d.letters, live = d.live, holding = d.holding, change = d.change, version = d.version
		FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
			AS d (lane, cause, letters, live, holding, change, version)
		WHERE a.lane = d.lane AND a.cause = d.cause`
	sqlDropLanes = `DELETE FROM lanes AS a USING unnest($1::uuid[], $2::uuid[]) AS d (lane, cause) WHERE a.lane = d.lane AND a.cause = d.cause`
	// A facet goes with its last letter, a cause with its last facet.
	sqlDropFacets = `WITH gone AS (DELETE FROM facets WHERE facet = ANY ($1::uuid[]) AND letters = 0 RETURNING facet, cause)
		DELETE FROM causes AS c USING gone AS g WHERE c.cause = g.cause
		AND NOT EXISTS (SELECT FROM facets AS f WHERE f.cause = c.cause AND f.facet NOT IN (SELECT facet FROM gone))`
	sqlDropClaims   = `DELETE FROM claims WHERE sequence = ANY ($1::uuid[])`
	sqlForgetClaims = `DELETE FROM claims WHERE until < clock_timestamp() - interval '24 hours'`
	sqlMeta         = `UPDATE meta SET last = $1, change = $2, letters = $3, lanes = $4, held = $5`
	sqlCommitted    = `INSERT INTO commits (writer, serial, at) VALUES ($1, $2, clock_timestamp())
		ON CONFLICT (writer) DO UPDATE SET serial = excluded.serial, at = excluded.at`
	sqlDidCommit = `SELECT EXISTS (SELECT FROM commits WHERE writer = $1 AND serial = $2)`
	sqlForget    = `DELETE FROM commits WHERE writer = $1 OR at < clock_timestamp() - interval '30 days'`
)

var (
	sqlAddLetters = rows(`INSERT INTO letters (n, id, lane, facet, event, live, holds, ordered, follower, dead_at, updated_at, size,
		origin, seq, attempts, redrives, stage, key, topic, reason, error, error_type, fingerprint, state, event_id, given_id,
		topic_key, codec, time, header, causes, history, notes, stack, payload, original)`,
		`bigint bigint uuid uuid bytea bool bool bool bool bigint bigint bigint bigint bigint bigint bigint`+strings.Repeat(" bytea", 20))
	sqlAddLanes = rows(`INSERT INTO lanes (lane, cause, letters, live, holding, change, version, stage, key, ordered)`,
		`uuid uuid bigint bigint bigint bigint bigint bytea bytea bool`)
	sqlAddCauses = `INSERT INTO causes (cause, stage, fingerprint, lanes)
		SELECT *, 0 FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) ON CONFLICT DO NOTHING`
	sqlAddFacets = rows(`INSERT INTO facets AS f (facet, cause, topic, reason, error_type, state, live, follower, ordered, letters, bytes)`,
		`uuid uuid bytea bytea bytea bytea bool bool bool bigint bigint`) + ` ON CONFLICT (facet) DO UPDATE
		SET letters = f.letters + excluded.letters, bytes = f.bytes + excluded.bytes`
	sqlSetClaims = rows(`INSERT INTO claims (sequence, owner, token, until)`, `uuid bytea bigint timestamptz`) + ` ON CONFLICT (sequence)
		DO UPDATE SET owner = excluded.owner, token = excluded.token, until = excluded.until`
)

// rows has an INSERT take arrays, one for each column.
func rows(insert, types string) string {
	arrays := strings.Fields(types)
	for i := range arrays {
		arrays[i] = fmt.Sprintf("$%d::%s[]", i+1, arrays[i])
	}
	return insert + " SELECT * FROM unnest(" + strings.Join(arrays, ", ") + ")"
}
