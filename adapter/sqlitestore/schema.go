package sqlitestore

// A file says whose it is in its header, and which schema it has.
const (
	applicationID = 0x52756e6c // "Runl"
	schemaVersion = 2
)

// migrations[i] brings a file from version i to version i+1. A migration that was released is never
// changed.
var migrations = [schemaVersion]string{schema1, schema2}

// schema1 keeps texts as blobs: any byte survives, and comparing is comparing bytes.
//
// What lists, groups and counts ask of the letters is kept beside them, so that nobody ever reads all
// letters to count them. Triggers do that for what is changed and deleted, by a person with a shell too;
// what is added the writer counts once a transaction (sqlCount), which is three times as fast.
//
//   - a lane is a stage and a key: a sequence, where the stage keeps an order. It knows how many of its
//     letters hold it. A lane without letters is deleted.
//   - a cause is a stage and a fingerprint: a group.
//   - a facet is all that letters have in common: cause, topic, reason, error type, state. There are
//     few, so a filter selects facets first and then, by the index of (facet, n), their letters in order.
//   - spread counts the live letters of a cause in a lane, so that a group knows its sequences.
//
// letters.n is a letter's place: the order of Put. It also is the letter's identity, unless the letter
// died again after it was discarded; then id keeps the first place. Live means not discarded.
const schema1 = `
CREATE TABLE totals (
	one     INTEGER PRIMARY KEY CHECK (one = 1),
	prefix  TEXT    NOT NULL,           -- of the letters' ids, so that those of another file name nothing here
	letters INTEGER NOT NULL DEFAULT 0,
	lanes   INTEGER NOT NULL DEFAULT 0, -- that have an order
	held    INTEGER NOT NULL DEFAULT 0, -- lanes
	version INTEGER NOT NULL DEFAULT 0  -- grows whenever a lane becomes held
);

CREATE TABLE lanes (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	stage      BLOB    NOT NULL,
	key        BLOB    NOT NULL,
	ordered    INTEGER NOT NULL,
	letters    INTEGER NOT NULL DEFAULT 0,
	live       INTEGER NOT NULL DEFAULT 0,
	holding    INTEGER NOT NULL DEFAULT 0 CHECK (holding >= 0),
	held_since INTEGER NOT NULL DEFAULT 0, -- totals.version then
	UNIQUE (stage, key, ordered)
);
CREATE INDEX lanes_by_key ON lanes (key);
CREATE INDEX lanes_held ON lanes (held_since) WHERE holding > 0;

CREATE TABLE causes (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	stage       BLOB    NOT NULL,
	fingerprint BLOB    NOT NULL,
	lanes       INTEGER NOT NULL DEFAULT 0, -- with live letters of it, that have an order
	UNIQUE (stage, fingerprint)
);

CREATE TABLE facets (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	cause      INTEGER NOT NULL REFERENCES causes (id),
	topic      BLOB    NOT NULL,
	reason     BLOB    NOT NULL,
	error_type BLOB    NOT NULL,
	state      BLOB    NOT NULL,
	live       INTEGER NOT NULL,
	follower   INTEGER NOT NULL,
	ordered    INTEGER NOT NULL,
	letters    INTEGER NOT NULL DEFAULT 0,
	bytes      INTEGER NOT NULL DEFAULT 0,
	UNIQUE (cause, topic, reason, error_type, state, follower, ordered)
);

CREATE TABLE spread (
	cause   INTEGER NOT NULL REFERENCES causes (id),
	lane    INTEGER NOT NULL REFERENCES lanes (id),
	letters INTEGER NOT NULL,
	PRIMARY KEY (cause, lane)
) WITHOUT ROWID;
CREATE INDEX spread_by_lane ON spread (lane);

CREATE TABLE letters (
	n          INTEGER PRIMARY KEY AUTOINCREMENT,
	id         INTEGER,
	lane       INTEGER NOT NULL REFERENCES lanes (id),
	facet      INTEGER NOT NULL REFERENCES facets (id),
	live       INTEGER NOT NULL,
	holds      INTEGER NOT NULL,
	stage      BLOB    NOT NULL,
	event_id   BLOB    NOT NULL,
	dead_at    INTEGER NOT NULL, -- microseconds since 1970
	updated_at INTEGER NOT NULL,
	bytes      INTEGER NOT NULL,
	given_id   BLOB    NOT NULL,
	origin     INTEGER NOT NULL, -- the bits of an unsigned number
	topic_key  BLOB    NOT NULL,
	seq        INTEGER NOT NULL, -- the bits of an unsigned number
	time       BLOB    NOT NULL, -- packed, as are header, causes, history and notes
	codec      BLOB    NOT NULL,
	attempts   INTEGER NOT NULL,
	redrives   INTEGER NOT NULL,
	error      BLOB    NOT NULL,
	header     BLOB    NOT NULL,
	causes     BLOB    NOT NULL,
	history    BLOB    NOT NULL,
	notes      BLOB    NOT NULL,
	stack      BLOB    NOT NULL,
	payload    BLOB    NOT NULL,
	original   BLOB
);
CREATE UNIQUE INDEX letters_by_event ON letters (stage, event_id) WHERE event_id <> x'';
CREATE UNIQUE INDEX letters_by_id ON letters (id) WHERE id IS NOT NULL;
CREATE INDEX letters_by_lane ON letters (lane, live);
CREATE INDEX letters_by_facet ON letters (facet);
CREATE INDEX letters_by_age ON letters (facet, dead_at);

CREATE TABLE claims (
	token INTEGER PRIMARY KEY AUTOINCREMENT, -- so that it grows with every claim
	stage BLOB    NOT NULL,
	key   BLOB    NOT NULL,
	solo  BLOB    NOT NULL,
	owner BLOB    NOT NULL,
	until INTEGER NOT NULL, -- milliseconds since 1970, by SQLite's clock
	UNIQUE (stage, key, solo)
);
CREATE INDEX claims_by_end ON claims (until);

CREATE TRIGGER letters_removed AFTER DELETE ON letters BEGIN
	UPDATE totals SET letters = letters - 1;
	UPDATE spread SET letters = letters - 1
		WHERE cause = (SELECT cause FROM facets WHERE id = OLD.facet AND live AND ordered) AND lane = OLD.lane;
	UPDATE facets SET letters = letters - 1, bytes = bytes - OLD.bytes WHERE id = OLD.facet;
	UPDATE lanes SET letters = letters - 1, live = live - OLD.live, holding = holding - (OLD.live AND OLD.holds)
		WHERE id = OLD.lane;
END;

CREATE TRIGGER letters_changed AFTER UPDATE OF facet, bytes ON letters BEGIN
	INSERT INTO spread (cause, lane, letters)
		SELECT cause, NEW.lane, 1 FROM facets WHERE id = NEW.facet AND live AND ordered
		ON CONFLICT DO UPDATE SET letters = letters + 1;
	UPDATE spread SET letters = letters - 1
		WHERE cause = (SELECT cause FROM facets WHERE id = OLD.facet AND live AND ordered) AND lane = OLD.lane;
	UPDATE facets SET letters = letters + 1, bytes = bytes + NEW.bytes WHERE id = NEW.facet;
	UPDATE facets SET letters = letters - 1, bytes = bytes - OLD.bytes WHERE id = OLD.facet;
	UPDATE lanes SET live = live + NEW.live - OLD.live,
		holding = holding + (NEW.live AND NEW.holds) - (OLD.live AND OLD.holds) WHERE id = NEW.lane;
END;

CREATE TRIGGER lanes_added AFTER INSERT ON lanes WHEN NEW.ordered BEGIN
	UPDATE totals SET lanes = lanes + 1;
END;
CREATE TRIGGER lanes_removed AFTER DELETE ON lanes WHEN OLD.ordered BEGIN
	UPDATE totals SET lanes = lanes - 1;
END;
CREATE TRIGGER lanes_emptied AFTER UPDATE OF letters ON lanes WHEN NEW.letters = 0 BEGIN
	DELETE FROM lanes WHERE id = NEW.id;
END;
CREATE TRIGGER lanes_closed AFTER UPDATE OF holding ON lanes WHEN OLD.holding = 0 AND NEW.holding > 0 BEGIN
	UPDATE totals SET held = held + 1, version = version + 1;
	UPDATE lanes SET held_since = (SELECT version FROM totals) WHERE id = NEW.id;
END;
CREATE TRIGGER lanes_opened AFTER UPDATE OF holding ON lanes WHEN OLD.holding > 0 AND NEW.holding = 0 BEGIN
	UPDATE totals SET held = held - 1;
END;

CREATE TRIGGER spread_added AFTER INSERT ON spread BEGIN
	UPDATE causes SET lanes = lanes + 1 WHERE id = NEW.cause;
END;
CREATE TRIGGER spread_removed AFTER DELETE ON spread BEGIN
	UPDATE causes SET lanes = lanes - 1 WHERE id = OLD.cause;
END;
CREATE TRIGGER spread_emptied AFTER UPDATE OF letters ON spread WHEN NEW.letters = 0 BEGIN
	DELETE FROM spread WHERE cause = NEW.cause AND lane = NEW.lane;
END;

CREATE TRIGGER facets_emptied AFTER UPDATE OF letters ON facets WHEN NEW.letters = 0 BEGIN
	DELETE FROM facets WHERE id = NEW.id;
END;
CREATE TRIGGER facets_removed AFTER DELETE ON facets
	WHEN NOT EXISTS (SELECT 1 FROM facets WHERE cause = OLD.cause) BEGIN
	DELETE FROM causes WHERE id = OLD.cause;
END;
`
