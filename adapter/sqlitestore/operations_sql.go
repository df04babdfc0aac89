package sqlitestore

// The statements for operations; schema_operations.go has the tables. The token of a lease is how often the
// operation was taken.
const (
	operationColumns = `n, filter, selected, rate, most, parallel, who, why, at, state, succeeded, failed, blocked,
		untouched, stopped, started_at, ended_at, cancelled, owner, until, starts`
	leased = ` WHERE n = ?1 AND starts = ?2 AND open AND owner <> x''`

	sqlAddOperation = `INSERT INTO operations (open, stage, filter, selected, rate, most, parallel, who, why, at, state)
		VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING n`
	sqlOperation = `SELECT ` + operationColumns + ` FROM operations WHERE n = ?1`
	// A page of operations, from place ?1 downwards.
	sqlOperations = `SELECT ` + operationColumns + ` FROM operations WHERE n < ?1 ORDER BY n DESC LIMIT ?2`
	// The oldest that can be taken; ?1 is a JSON array of the stages' bytes in hexadecimal, or NULL for any.
	sqlTakeable = `SELECT n FROM operations WHERE open = 1 AND (owner = x'' OR until <= ` + now + `)
		AND (?1 IS NULL OR hex(stage) IN (SELECT value FROM json_each(?1))) ORDER BY n LIMIT 1`
	sqlTake = `UPDATE operations SET state = ?2, owner = ?3, until = ` + now + ` + ?4, starts = starts + 1,
		started_at = CASE started_at WHEN 0 THEN ` + now + ` ELSE started_at END WHERE n = ?1`
	sqlRenewOperation   = `UPDATE operations SET until = ` + now + ` + ?3` + leased
	sqlReleaseOperation = `UPDATE operations SET owner = x'', until = ` + now + leased
	sqlEndOperation     = `UPDATE operations SET open = 0, state = ?3, selected = ?4, blocked = ?5, untouched = ?6,
		stopped = ?7, ended_at = ` + now + leased
	sqlCancelOperation = `UPDATE operations SET open = 0, state = ?2, cancelled = ?3, ended_at = ` + now + `
		WHERE n = ?1 AND open`
	sqlLeased       = `SELECT EXISTS (SELECT 1 FROM operations` + leased + `)`
	sqlCountSuccess = `UPDATE operations SET succeeded = succeeded + 1 WHERE n = ?1`
	sqlAddFailure   = `INSERT INTO failures (operation, letter, stage, key, error) SELECT n, ?2, ?3, ?4, ?5
		FROM operations WHERE n = ?1 ON CONFLICT DO UPDATE SET error = excluded.error`
	sqlFailures = `SELECT n, letter, stage, key, error FROM failures WHERE operation = ?1 AND n > ?2 ORDER BY n LIMIT ?3`
	// Ended ones beyond the newest ?1, a few at a time.
	sqlForgetOperations = `DELETE FROM operations WHERE n IN (SELECT n FROM operations WHERE open = 0
		AND n < (SELECT n FROM operations WHERE open = 0 ORDER BY n DESC LIMIT 1 OFFSET ?1) ORDER BY n LIMIT 8)`
)

var (
	writingOperations = []string{
		sqlAddOperation, sqlOperation, sqlTakeable, sqlTake, sqlRenewOperation, sqlReleaseOperation, sqlEndOperation,
		sqlCancelOperation, sqlLeased, sqlCountSuccess, sqlAddFailure, sqlForgetOperations,
	}
	readingOperations = []string{sqlOperation, sqlOperations, sqlFailures}
)
