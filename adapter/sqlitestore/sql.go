package sqlitestore

import "slices"

// Every statement of the store is here; schema.go has the tables. No statement reads all letters:
// TestFault51_PlansDoNotScanLetters asks SQLite how it runs each of them.

// now is SQLite's clock, in milliseconds.
const now = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`

// What is read of a letter, light: what filters and groups look at; full: all of it.
const (
	lightColumns = `l.n, l.lane, l.facet, coalesce(l.id, l.n), l.stage, a.key, a.ordered, f.topic, f.reason, l.error,
		f.error_type, f.follower, c.fingerprint, f.state, l.dead_at`
	fullColumns = lightColumns + `, l.holds, l.event_id, l.updated_at, l.given_id, l.origin, l.topic_key, l.seq, l.time,
		l.codec, l.attempts, l.redrives, l.header, l.causes, l.history, l.notes, l.stack, l.payload,
		l.original IS NOT NULL, l.original`
	fromLetters = ` FROM letters AS l CROSS JOIN lanes AS a ON a.id = l.lane
		CROSS JOIN facets AS f ON f.id = l.facet CROSS JOIN causes AS c ON c.id = f.cause `
)

// A letter by its id: the place that a letter had first.
const (
	byID     = ` WHERE l.n = coalesce((SELECT n FROM letters WHERE id = ?1), ?1) AND coalesce(l.id, l.n) = ?1`
	sqlGet   = `SELECT ` + fullColumns + fromLetters + byID
	sqlGlean = `SELECT ` + lightColumns + fromLetters + byID
)

// The lane of stage ?2 and key ?3 that has an order, and its head.
const (
	theLane   = ` (SELECT id FROM lanes WHERE stage = ?2 AND key = ?3 AND ordered = 1)`
	headPlace = ` WHERE l.n = (SELECT min(n) FROM letters WHERE live = 1 AND lane =` + theLane + `)`
	// By a claim, that is: without one there is no row.
	sqlHead = `SELECT ` + fullColumns + fromLetters + headPlace + ` AND` + claimed
	// The first letters of a lane, ?1 of them.
	sqlAhead = `SELECT ` + fullColumns + fromLetters + ` WHERE l.n IN
		(SELECT n FROM letters WHERE live = 1 AND lane =` + theLane + ` ORDER BY n LIMIT ?1) ORDER BY l.n`
	sqlHeadCause = `SELECT ` + lightColumns + fromLetters + headPlace
)

// Storing.
const (
	// What a letter meets: the limits, its lane, and the letter of the same event.
	sqlLook = `SELECT t.letters, t.lanes, coalesce(a.id, 0), coalesce(a.live, 0), coalesce(a.holding, 0),
		coalesce(e.n, 0), coalesce(e.id, e.n, 0), coalesce(e.live, 0)
		FROM totals AS t LEFT JOIN lanes AS a ON a.stage = ?1 AND a.key = ?2 AND a.ordered = ?3
		LEFT JOIN letters AS e ON e.stage = ?1 AND e.event_id = ?4 AND e.event_id <> x''`
	sqlAddLane   = `INSERT INTO lanes (stage, key, ordered) VALUES (?1, ?2, ?3)`
	sqlFindFacet = `SELECT f.id FROM causes AS c CROSS JOIN facets AS f ON f.cause = c.id
		WHERE c.stage = ?1 AND c.fingerprint = ?2 AND f.topic = ?3 AND f.reason = ?4 AND f.error_type = ?5
		AND f.state = ?6 AND f.follower = ?7 AND f.ordered = ?8`
	sqlAddCause = `INSERT INTO causes (stage, fingerprint) VALUES (?1, ?2) ON CONFLICT DO NOTHING`
	sqlAddFacet = `INSERT INTO facets (cause, topic, reason, error_type, state, follower, ordered, live)
		SELECT id, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM causes WHERE stage = ?1 AND fingerprint = ?2`
	sqlAddLetter = `INSERT INTO letters (id, lane, facet, live, holds, stage, event_id, dead_at, updated_at, bytes,
		given_id, origin, topic_key, seq, time, codec, attempts, redrives, error, header, causes, history, notes,
		stack, payload, original) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	sqlChangeLetter = `UPDATE letters SET facet = ?2, live = ?3, updated_at = ?4, bytes = ?5, attempts = ?6,
		redrives = ?7, error = ?8, causes = ?9, history = ?10, notes = ?11, stack = ?12, payload = ?13, original = ?14
		WHERE n = ?1`
	sqlRemove  = `DELETE FROM letters WHERE n = ?1`
	sqlHolding = `SELECT holding FROM lanes WHERE stage = ?1 AND key = ?2 AND ordered = 1`
)

// sqlCount counts the letters that were added, from place ?1 on.
var sqlCount = []string{
	`UPDATE totals SET letters = letters + (SELECT count(*) FROM letters NOT INDEXED WHERE n >= ?1)`,
	`UPDATE lanes SET letters = lanes.letters + d.letters, live = lanes.live + d.live, holding = lanes.holding + d.holding
		FROM (SELECT lane, count(*) AS letters, sum(live) AS live, sum(live AND holds) AS holding
			FROM letters NOT INDEXED WHERE n >= ?1 GROUP BY lane) AS d
		WHERE lanes.id = d.lane`,
	`UPDATE facets SET letters = facets.letters + d.letters, bytes = facets.bytes + d.bytes
		FROM (SELECT facet, count(*) AS letters, sum(bytes) AS bytes FROM letters NOT INDEXED WHERE n >= ?1 GROUP BY facet) AS d
		WHERE facets.id = d.facet`,
	`INSERT INTO spread (cause, lane, letters)
		SELECT f.cause, l.lane, count(*) FROM letters AS l NOT INDEXED CROSS JOIN facets AS f ON f.id = l.facet
		WHERE l.n >= ?1 AND f.live AND f.ordered GROUP BY f.cause, l.lane
		ON CONFLICT DO UPDATE SET letters = spread.letters + excluded.letters`,
}

// Claims. A claim is valid while its row is there: a later one replaces the row, and its token.
const (
	claimed  = ` EXISTS (SELECT 1 FROM claims WHERE token = ?1 AND stage = ?2 AND key = ?3 AND solo = ?4)`
	sqlClaim = `INSERT OR REPLACE INTO claims (stage, key, solo, owner, until)
		SELECT ?1, ?2, ?3, ?4, ` + now + ` + ?5
		WHERE NOT EXISTS (SELECT 1 FROM claims
			WHERE stage = ?1 AND key = ?2 AND solo = ?3 AND owner <> ?4 AND until > ` + now + `)
		RETURNING token, until`
	sqlRenew        = `UPDATE claims SET until = ` + now + ` + ?5 WHERE token = ?1 AND stage = ?2 AND key = ?3 AND solo = ?4`
	sqlRelease      = `DELETE FROM claims WHERE token = ?1 AND stage = ?2 AND key = ?3 AND solo = ?4`
	sqlClaimed      = `SELECT` + claimed
	sqlExpireClaims = `DELETE FROM claims WHERE token IN
		(SELECT token FROM claims WHERE until < ` + now + ` - ?1 ORDER BY until LIMIT 64)`
	// Fenced: without the claim, or in another sequence, it removes nothing. The letter's id is ?5.
	resolve        = `DELETE FROM letters WHERE n = coalesce((SELECT n FROM letters WHERE id = ?5), ?5) AND coalesce(id, n) = ?5`
	sqlResolve     = resolve + ` AND lane =` + theLane + ` AND` + claimed
	sqlResolveSolo = resolve + ` AND` + claimed
)

// Looking.
const (
	// The letters at places, a JSON array, whose error has ?2 in it.
	atPlaces = ` WHERE l.n IN (SELECT value FROM json_each(?1)) AND (?2 = x'' OR instr(l.error, ?2) > 0) ORDER BY l.n`
	sqlPage  = `SELECT ` + fullColumns + fromLetters + atPlaces
	sqlSkim  = `SELECT ` + lightColumns + fromLetters + atPlaces
	// The places of the letters with these ids, a JSON array.
	sqlPlaces = `SELECT l.n FROM json_each(?1) AS i CROSS JOIN letters AS l
		ON l.n = coalesce((SELECT n FROM letters WHERE id = i.value), i.value) AND coalesce(l.id, l.n) = i.value
		ORDER BY l.n`
	sqlLanesOfKey = `SELECT id FROM lanes WHERE key = ?1 AND (?2 = x'' OR stage = ?2)`
	sqlOfLane     = `SELECT n FROM letters WHERE lane = ?1 AND live = ?2 AND n > ?3 ORDER BY n LIMIT ?4`
	sqlFacets     = `SELECT f.id, f.state FROM facets AS f JOIN causes AS c ON c.id = f.cause
		WHERE (?1 = x'' OR c.stage = ?1) AND (?2 = x'' OR c.fingerprint = ?2) AND (?3 = x'' OR f.topic = ?3)
		AND (?4 = x'' OR f.reason = ?4) AND (?5 = x'' OR f.error_type = ?5)`
	sqlOfFacet = `SELECT n FROM letters WHERE facet = ?1 AND n > ?2 ORDER BY n LIMIT ?3`
	// Of a time: among the next letters, and by the index of times.
	sqlNextOfAge = `SELECT n FROM (SELECT n, dead_at FROM letters INDEXED BY letters_by_facet
		WHERE facet = ?1 AND n > ?2 ORDER BY n LIMIT ?5) WHERE dead_at >= ?3 AND dead_at <= ?4`
	sqlOfAge = `SELECT n FROM letters INDEXED BY letters_by_age
		WHERE facet = ?1 AND dead_at >= ?3 AND dead_at <= ?4 AND n > ?2 ORDER BY n LIMIT ?5`
	// Groups of live letters, by stage and fingerprint where these are given.
	sqlGroups = `WITH g AS (
			SELECT c.stage AS stage, c.fingerprint AS fingerprint, sum(f.letters) AS letters,
				max(c.lanes) + sum(CASE WHEN f.ordered THEN 0 ELSE f.letters END) AS sequences,
				min((SELECT min(dead_at) FROM letters WHERE facet = f.id)) AS first,
				max((SELECT max(dead_at) FROM letters WHERE facet = f.id)) AS last,
				coalesce(min(CASE WHEN f.follower THEN NULL ELSE (SELECT min(n) FROM letters WHERE facet = f.id) END),
					min((SELECT min(n) FROM letters WHERE facet = f.id))) AS sample
			FROM causes AS c JOIN facets AS f ON f.cause = c.id
			WHERE f.live AND (?1 = x'' OR c.stage = ?1) AND (?2 = x'' OR c.fingerprint = ?2)
			GROUP BY c.id)
		SELECT g.stage, g.fingerprint, g.letters, g.sequences, g.first, g.last, f.reason, l.error, f.error_type
		FROM g CROSS JOIN letters AS l ON l.n = g.sample CROSS JOIN facets AS f ON f.id = l.facet
		ORDER BY g.letters DESC, g.first, g.stage, g.fingerprint`
	sqlCounts = `SELECT f.state, sum(f.letters), sum(f.bytes),
		min(CASE WHEN f.live THEN (SELECT min(dead_at) FROM letters WHERE facet = f.id) END)
		FROM facets AS f GROUP BY f.state`
	sqlHeldCount = `SELECT held FROM totals`
)

// Removing. A letter that changed since it was found has another facet, or another error.
const (
	sqlLaneOf = `SELECT l.stage, a.key, a.ordered FROM letters AS l CROSS JOIN lanes AS a ON a.id = l.lane
		WHERE l.n = ?1 AND l.facet = ?2 AND (?3 = x'' OR instr(l.error, ?3) > 0)`
	sqlLast     = `SELECT coalesce(max(n), 0) FROM letters`
	sqlOutdated = `SELECT l.n, l.facet, l.bytes FROM facets AS f CROSS JOIN letters AS l ON l.facet = f.id
		WHERE f.live = 0 AND l.dead_at < ?1 AND l.updated_at < ?1 LIMIT ?2`
)

// Opening, and what others did.
const (
	sqlTotals  = `SELECT prefix, version FROM totals`
	sqlVersion = `SELECT version FROM totals`
	// Another one after each commit of another connection.
	sqlDataVersion = `PRAGMA data_version`
	sqlHeld        = `SELECT stage, key FROM lanes WHERE holding > 0 AND held_since > ?1`
)

// The statements that each side prepares when it opens.
var (
	writing = slices.Concat([]string{
		sqlGet, sqlGlean, sqlHeadCause, sqlLook, sqlAddLane, sqlFindFacet, sqlAddCause, sqlAddFacet,
		sqlAddLetter, sqlChangeLetter, sqlRemove, sqlHolding, sqlClaim, sqlRenew, sqlRelease, sqlClaimed,
		sqlExpireClaims, sqlResolve, sqlResolveSolo, sqlLaneOf, sqlVersion, sqlHeld, sqlAhead,
		sqlDataVersion,
	}, sqlCount, writingOperations)
	reading = append([]string{
		sqlGet, sqlHead, sqlClaimed, sqlPage, sqlSkim, sqlPlaces, sqlLanesOfKey, sqlOfLane, sqlFacets, sqlOfFacet,
		sqlNextOfAge, sqlOfAge, sqlGroups, sqlCounts, sqlHeldCount, sqlLast, sqlOutdated, sqlTotals, sqlVersion, sqlHeld,
	}, readingOperations...)
)
