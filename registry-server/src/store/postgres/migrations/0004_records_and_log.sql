-- Names are unqualified: everything lies in the first schema of the search path.

CREATE TABLE store (
    identity uuid NOT NULL DEFAULT gen_random_uuid(),
    whole boolean NOT NULL DEFAULT true,
    oldest bigint NOT NULL DEFAULT 1,
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO store DEFAULT VALUES;

-- A row has several revisions: rows are what costs. Together they are packed to about a page.
CREATE TABLE log (
    last_revision bigint PRIMARY KEY,
    first_revision bigint NOT NULL,
    batch uuid NOT NULL,
    size integer NOT NULL,
    entries bytea NOT NULL
);

-- The revision is part of the primary key so that a record that is written again and again is found at once: its newest version comes
-- first, and versions that an old snapshot keeps are not walked. There is one row for each kind and key.
--
-- The place of a record in an index is in a column of its row: rows are what costs. Only those in slots where a record may have
-- several places, or beyond the sixth, are rows of their own.
CREATE TABLE record (
    kind smallint NOT NULL,
    key bytea NOT NULL,
    revision bigint NOT NULL,
    payload bytea NOT NULL,
    slot_1 bytea,
    slot_2 bytea,
    slot_3 bytea,
    slot_4 bytea,
    slot_5 bytea,
    slot_6 bytea,
    places bytea,
    facts text,
    PRIMARY KEY (kind, key, revision)
);
CREATE INDEX slot_1 ON record (kind, (slot_1 || key)) WHERE slot_1 IS NOT NULL;
CREATE INDEX slot_2 ON record (kind, (slot_2 || key)) WHERE slot_2 IS NOT NULL;
CREATE INDEX slot_3 ON record (kind, (slot_3 || key)) WHERE slot_3 IS NOT NULL;
CREATE INDEX slot_4 ON record (kind, (slot_4 || key)) WHERE slot_4 IS NOT NULL;
CREATE INDEX slot_5 ON record (kind, (slot_5 || key)) WHERE slot_5 IS NOT NULL;
CREATE INDEX slot_6 ON record (kind, (slot_6 || key)) WHERE slot_6 IS NOT NULL;

CREATE TABLE place (
    kind smallint NOT NULL,
    slot smallint NOT NULL,
    position bytea NOT NULL,
    key bytea NOT NULL,
    PRIMARY KEY (kind, slot, position)
);

-- The views for people, and the comments that tell which numbers mean what, are made from a program's table of kinds when it
-- opens the store: a new kind needs no migration.
CREATE TABLE layout (
    definition text NOT NULL,
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);

-- The log is compressed already; a record would cost more processor time than it saves. A row of a few kilobytes stays in its page.
ALTER TABLE log ALTER COLUMN entries SET STORAGE EXTERNAL;
ALTER TABLE log SET (toast_tuple_target = 8160);
ALTER TABLE record ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE record SET (toast_tuple_target = 8160);

COMMENT ON TABLE schema_version IS 'Which migrations of Model Registry were run here';
COMMENT ON COLUMN schema_version.version IS 'The number of the migration';
COMMENT ON COLUMN schema_version.time IS 'When it was run';

COMMENT ON TABLE store IS 'One row. Commits do not write it: the newest revision is that of the log';
COMMENT ON COLUMN store.identity IS 'Which store this is, whatever is in it: the place of the artifacts names it as its owner, and servers stop when it changes';
COMMENT ON COLUMN store.whole IS 'False in the middle of a restore: nothing may be served then';
COMMENT ON COLUMN store.oldest IS 'The first revision that the log has: those before were dropped';
COMMENT ON COLUMN store.only_row IS 'Makes sure that there is one row';

COMMENT ON TABLE log IS 'Every revision: the truth that record can be made from';
COMMENT ON COLUMN log.last_revision IS 'The last revision of the row. They are contiguous from store.oldest on';
COMMENT ON COLUMN log.first_revision IS 'The first revision of the row';
COMMENT ON COLUMN log.batch IS 'Revisions that one server committed together; by it the server finds out whether a commit that it got no answer to happened. Later it means nothing';
COMMENT ON COLUMN log.size IS 'How many bytes the entries have unpacked';
COMMENT ON COLUMN log.entries IS 'A modelregistry.store.v1.LogGroup: for each revision what changed, when, who changed it, and why, and what makes the state out of the one before. A zstd frame, unless it is as long as size says';

COMMENT ON TABLE record IS 'What there is; views show the parts for people';
COMMENT ON COLUMN record.key IS 'The parts of the name, closed by zero bytes; numbers are big-endian';
COMMENT ON COLUMN record.revision IS 'The revision that wrote it';
COMMENT ON COLUMN record.payload IS 'The message that is kept';
COMMENT ON COLUMN record.places IS 'A modelregistry.store.v1.StoredRecord with the places alone that the table place has of it; null: none';
COMMENT ON COLUMN record.facts IS 'Copies of parts of the payload, for people, as JSON; null: its kind has none';

COMMENT ON TABLE place IS 'Where indexes list records that they may list several times';
COMMENT ON COLUMN place.kind IS 'The kind of the record';
COMMENT ON COLUMN place.position IS 'What the index is ordered by: the place, and behind it the key of the record';
COMMENT ON COLUMN place.key IS 'The key of the record';

COMMENT ON TABLE layout IS 'One row: what the views were made with';
COMMENT ON COLUMN layout.definition IS 'The statements, which are run again when they are no longer those of the program';
COMMENT ON COLUMN layout.only_row IS 'Makes sure that there is at most one row';
