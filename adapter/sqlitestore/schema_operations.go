package sqlitestore

// schema2 records operations: bulk redrives. Texts are blobs, as everywhere.
const schema2 = `
CREATE TABLE operations (
	n          INTEGER PRIMARY KEY AUTOINCREMENT,
	open       INTEGER NOT NULL,
	stage      BLOB    NOT NULL,           -- of the filter
	filter     BLOB    NOT NULL,           -- as deadletter.Filter.MarshalBinary writes it
	selected   INTEGER NOT NULL,
	rate       REAL    NOT NULL,
	most       INTEGER NOT NULL,
	parallel   INTEGER NOT NULL,
	who        BLOB    NOT NULL,
	why        BLOB    NOT NULL,
	at         BLOB    NOT NULL,           -- packed
	state      BLOB    NOT NULL,
	succeeded  INTEGER NOT NULL DEFAULT 0,
	failed     INTEGER NOT NULL DEFAULT 0,
	blocked    INTEGER NOT NULL DEFAULT 0,
	untouched  INTEGER NOT NULL DEFAULT 0,
	stopped    BLOB    NOT NULL DEFAULT x'',
	started_at INTEGER NOT NULL DEFAULT 0, -- milliseconds since 1970, by SQLite's clock; 0: not yet
	ended_at   INTEGER NOT NULL DEFAULT 0,
	cancelled  BLOB    NOT NULL DEFAULT x'', -- packed
	owner      BLOB    NOT NULL DEFAULT x'',
	until      INTEGER NOT NULL DEFAULT 0,
	starts     INTEGER NOT NULL DEFAULT 0    -- also the token of the lease
);
CREATE INDEX operations_open ON operations (open, n);

CREATE TABLE failures (
	n         INTEGER PRIMARY KEY AUTOINCREMENT,
	operation INTEGER NOT NULL REFERENCES operations (n),
	letter    BLOB    NOT NULL,
	stage     BLOB    NOT NULL,
	key       BLOB    NOT NULL,
	error     BLOB    NOT NULL,
	UNIQUE (operation, letter)
);
CREATE INDEX failures_in_order ON failures (operation, n);

CREATE TRIGGER failures_added AFTER INSERT ON failures BEGIN
	UPDATE operations SET failed = failed + 1 WHERE n = NEW.operation;
END;
CREATE TRIGGER operations_removed BEFORE DELETE ON operations BEGIN
	DELETE FROM failures WHERE operation = OLD.n;
END;
`
