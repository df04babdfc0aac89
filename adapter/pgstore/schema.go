package pgstore

// schemaVersion is the newest that this package knows.
const schemaVersion = 1

// migrations[i] brings a schema from version i to version i+1. A migration that was released is never
// changed.
var migrations = [schemaVersion]string{schema1}

// schema1 keeps every text as bytea: any byte survives. Where an index needs a short value it has a digest.
//
// What lists, groups and counts ask of the letters is kept beside them, in the transaction that changes
// them, so that nobody ever reads all letters to count them:
//
//   - a lane is a stage and a key, of letters that have an order or of those that have none. Its row for
//     each cause knows how many of its letters hold it. A row without letters is deleted.
//   - a cause is a stage and a fingerprint: a group.
//   - a facet is all that letters have in common: cause, topic, reason, error type, state. There are few,
//     so a filter selects facets first and then, by the index of (facet, n), their letters in order.
//
// letters.n is a letter's place: the order of Put. It also is the letter's identity, unless the letter
// died again after it was discarded; then id keeps the first place. Live means not discarded. Times of
// letters are microseconds since 1970, those of leases the server's.
const schema1 = `
CREATE TABLE meta (
	one     boolean PRIMARY KEY CHECK (one), -- every transaction that writes locks this row first
	kind    text    NOT NULL,                -- whose schema it is
	version int     NOT NULL,
	prefix  text    NOT NULL,                -- of the letters' ids, so that those of another schema name nothing here
	last    bigint  NOT NULL DEFAULT 0,      -- the last place, token or number that was given
	change  bigint  NOT NULL DEFAULT 0,      -- grows whenever a lane becomes held
	letters bigint  NOT NULL DEFAULT 0,
	lanes   bigint  NOT NULL DEFAULT 0,      -- that have an order
	held    bigint  NOT NULL DEFAULT 0       -- lanes
) WITH (fillfactor = 10);

CREATE TABLE commits ( -- the last one of each store, so that it learns what became of one whose answer was lost
	writer uuid        PRIMARY KEY,
	serial bigint      NOT NULL,
	at     timestamptz NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE lanes (
	lane    uuid    NOT NULL,
	cause   uuid    NOT NULL,
	stage   bytea   NOT NULL,
	key     bytea   NOT NULL,
	ordered boolean NOT NULL,
	letters bigint  NOT NULL CHECK (letters >= 0),
	live    bigint  NOT NULL CHECK (live >= 0),
	holding bigint  NOT NULL CHECK (holding >= 0),
	change  bigint,          -- meta.change when it became held; NULL: it is not
	version bigint  NOT NULL, -- another one after each change of its letters
	PRIMARY KEY (lane, cause)
) WITH (fillfactor = 70);
CREATE INDEX lanes_change ON lanes (change) WHERE change IS NOT NULL;
CREATE INDEX lanes_key ON lanes (sha256(key));

CREATE TABLE causes (
	cause       uuid   PRIMARY KEY,
	stage       bytea  NOT NULL,
	fingerprint bytea  NOT NULL,
	lanes       bigint NOT NULL CHECK (lanes >= 0) -- with live letters of it, that have an order
) WITH (fillfactor = 50);

CREATE TABLE facets (
	facet      uuid    PRIMARY KEY,
	cause      uuid    NOT NULL REFERENCES causes,
	topic      bytea   NOT NULL,
	reason     bytea   NOT NULL,
	error_type bytea   NOT NULL,
	state      bytea   NOT NULL,
	live       boolean NOT NULL,
	follower   boolean NOT NULL,
	ordered    boolean NOT NULL,
	letters    bigint  NOT NULL CHECK (letters >= 0),
	bytes      bigint  NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX facets_cause ON facets (cause);

CREATE TABLE letters (
	n           bigint  PRIMARY KEY,
	id          bigint,
	lane        uuid    NOT NULL,
	facet       uuid    NOT NULL,
	event       bytea,
	live        boolean NOT NULL,
	holds       boolean NOT NULL,
	ordered     boolean NOT NULL,
	follower    boolean NOT NULL,
	dead_at     bigint  NOT NULL,
	updated_at  bigint  NOT NULL,
	size        bigint  NOT NULL,
	origin      bigint  NOT NULL, -- the bits of an unsigned number
	seq         bigint  NOT NULL, -- the bits of an unsigned number
	attempts    bigint  NOT NULL,
	redrives    bigint  NOT NULL,
	stage       bytea   NOT NULL,
	key         bytea   NOT NULL,
	topic       bytea   NOT NULL,
	reason      bytea   NOT NULL,
	error       bytea   NOT NULL,
	error_type  bytea   NOT NULL,
	fingerprint bytea   NOT NULL,
	state       bytea   NOT NULL,
	event_id    bytea   NOT NULL,
	given_id    bytea   NOT NULL,
	topic_key   bytea   NOT NULL,
	codec       bytea   NOT NULL,
	time        bytea   NOT NULL, -- packed, as are header, causes, history and notes
	header      bytea   NOT NULL,
	causes      bytea   NOT NULL,
	history     bytea   NOT NULL,
	notes       bytea   NOT NULL,
	stack       bytea   NOT NULL,
	payload     bytea   NOT NULL,
	original    bytea
);
CREATE UNIQUE INDEX letters_id ON letters (id) WHERE id IS NOT NULL;
CREATE UNIQUE INDEX letters_event ON letters (event) WHERE event IS NOT NULL;
CREATE INDEX letters_lane ON letters (lane, live, n);
CREATE INDEX letters_facet ON letters (facet, (n + 0)); -- an order that no other index has
CREATE INDEX letters_age ON letters (facet, dead_at);
CREATE INDEX letters_discarded ON letters (updated_at) WHERE NOT live;

CREATE TABLE claims (
	sequence uuid        PRIMARY KEY,
	owner    bytea       NOT NULL,
	token    bigint      NOT NULL,
	until    timestamptz NOT NULL
);
CREATE INDEX claims_until ON claims (until);

CREATE TABLE operations (
	n          bigint  PRIMARY KEY,
	open       boolean NOT NULL DEFAULT true,
	stage      bytea   NOT NULL, -- of the filter
	filter     bytea   NOT NULL, -- as deadletter.Filter.MarshalBinary writes it
	selected   bigint  NOT NULL,
	rate       float8  NOT NULL,
	most       bigint  NOT NULL,
	parallel   bigint  NOT NULL,
	who        bytea   NOT NULL,
	why        bytea   NOT NULL,
	at         bytea   NOT NULL, -- packed
	state      bytea   NOT NULL,
	succeeded  bigint  NOT NULL DEFAULT 0,
	failed     bigint  NOT NULL DEFAULT 0,
	blocked    bigint  NOT NULL DEFAULT 0,
	untouched  bigint  NOT NULL DEFAULT 0,
	stopped    bytea   NOT NULL DEFAULT '',
	started_at timestamptz,
	ended_at   timestamptz,
	cancelled  bytea   NOT NULL DEFAULT '', -- packed
	owner      bytea   NOT NULL DEFAULT '',
	until      timestamptz,
	starts     bigint  NOT NULL DEFAULT 0   -- also the token of the lease
);
CREATE INDEX operations_open ON operations (n) WHERE open;
CREATE INDEX operations_ended ON operations (n) WHERE NOT open;

CREATE TABLE failures (
	n         bigint PRIMARY KEY,
	operation bigint NOT NULL REFERENCES operations ON DELETE CASCADE,
	letter    bytea  NOT NULL,
	stage     bytea  NOT NULL,
	key       bytea  NOT NULL,
	error     bytea  NOT NULL
);
CREATE UNIQUE INDEX failures_letter ON failures (operation, sha256(letter));
CREATE INDEX failures_order ON failures (operation, n);
`
