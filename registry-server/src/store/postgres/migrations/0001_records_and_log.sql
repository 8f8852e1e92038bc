-- Names are unqualified: everything lies in the first schema of the search path.

CREATE TABLE head (
    revision bigint NOT NULL,
    whole boolean NOT NULL DEFAULT true,
    identity uuid NOT NULL DEFAULT gen_random_uuid(),
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row)
);
INSERT INTO head (revision) VALUES (0);

CREATE TABLE log (
    revision bigint PRIMARY KEY,
    time timestamptz NOT NULL DEFAULT now(),
    batch uuid NOT NULL,
    events bytea NOT NULL,
    writes bytea NOT NULL
);

-- What an index lists has its place there in a column: one row for a record, however many list it.
CREATE TABLE record (
    kind smallint NOT NULL,
    key bytea NOT NULL,
    revision bigint NOT NULL,
    payload bytea NOT NULL,
    live_models bytea,
    live_models_by_age bytea,
    models_by_age bytea,
    live_versions bytea,
    ready_versions bytea,
    stage_entries bytea,
    contents bytea,
    deleted_versions bytea,
    deleted_models bytea,
    name text,
    team text,
    stage text,
    framework text,
    created timestamptz,
    updated timestamptz,
    deleted timestamptz,
    PRIMARY KEY (kind, key)
);
CREATE INDEX live_models ON record ((live_models || key)) WHERE live_models IS NOT NULL;
CREATE INDEX live_models_by_age ON record ((live_models_by_age || key)) WHERE live_models_by_age IS NOT NULL;
CREATE INDEX models_by_age ON record ((models_by_age || key)) WHERE models_by_age IS NOT NULL;
CREATE INDEX live_versions ON record ((live_versions || key)) WHERE live_versions IS NOT NULL;
CREATE INDEX ready_versions ON record ((ready_versions || key)) WHERE ready_versions IS NOT NULL;
CREATE INDEX stage_entries ON record ((stage_entries || key)) WHERE stage_entries IS NOT NULL;
CREATE INDEX contents ON record ((contents || key)) WHERE contents IS NOT NULL;
CREATE INDEX deleted_versions ON record ((deleted_versions || key)) WHERE deleted_versions IS NOT NULL;
CREATE INDEX deleted_models ON record ((deleted_models || key)) WHERE deleted_models IS NOT NULL;

-- Compressing costs more processor time than it saves here, and a row of a few kilobytes stays in its page.
ALTER TABLE log ALTER COLUMN events SET STORAGE EXTERNAL, ALTER COLUMN writes SET STORAGE EXTERNAL;
ALTER TABLE log SET (toast_tuple_target = 8160);
ALTER TABLE record ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE record SET (toast_tuple_target = 8160);

CREATE VIEW models AS
    SELECT name, team, created, updated, deleted, revision, octet_length(payload) AS bytes FROM record WHERE kind = 1;
CREATE VIEW versions AS
    SELECT name, stage, framework, created, updated, deleted, revision, octet_length(payload) AS bytes FROM record WHERE kind = 2;
CREATE VIEW artifacts AS
    SELECT name, created, revision, octet_length(payload) AS bytes FROM record WHERE kind = 3;

COMMENT ON TABLE schema_version IS 'Which migrations of Model Registry were run here';
COMMENT ON COLUMN schema_version.version IS 'The number of the migration';
COMMENT ON COLUMN schema_version.time IS 'When it was run';

COMMENT ON TABLE head IS 'One row; who writes locks it, so that commits have an order over all servers';
COMMENT ON COLUMN head.revision IS 'The newest revision';
COMMENT ON COLUMN head.whole IS 'False in the middle of a restore: nothing may be served then';
COMMENT ON COLUMN head.identity IS 'Which store this is, whatever is in it: the place of the artifacts names it as its owner';
COMMENT ON COLUMN head.only_row IS 'Makes sure that there is one row';

COMMENT ON TABLE log IS 'Every revision: the truth that record can be made from';
COMMENT ON COLUMN log.revision IS 'Contiguous from 1';
COMMENT ON COLUMN log.time IS 'When the batch that it belongs to began to commit';
COMMENT ON COLUMN log.batch IS 'Revisions that one server committed together; by it the server finds out whether a commit that it got no answer to happened';
COMMENT ON COLUMN log.events IS 'A modelregistry.v1.WatchedEvents: what changed, who changed it, and why';
COMMENT ON COLUMN log.writes IS 'A modelregistry.store.v1.LogEntry with the writes alone: what makes the state out of the one before';

COMMENT ON TABLE record IS 'What there is; the views models, versions and artifacts show the parts for people';
COMMENT ON COLUMN record.kind IS '1 model, 2 version, 3 artifact, 4 label, 5 stage holder, 6 request, 7 chain head, 8 event reference, 9 what an artifact consists of, 10 newest sweep, 11 chunks of a sweep, 12 a namespace''s key, wrapped, 13 what a namespace adds up to';
COMMENT ON COLUMN record.key IS 'The parts of the name, closed by zero bytes; numbers are big-endian';
COMMENT ON COLUMN record.revision IS 'The revision that wrote it';
COMMENT ON COLUMN record.payload IS 'The message that is kept; the columns from name on are copies of parts of it, for people';
COMMENT ON COLUMN record.live_models IS 'What its key comes behind among the models that are not deleted, by name; null: it is not among them';
COMMENT ON COLUMN record.live_models_by_age IS 'The same for the models that are not deleted, by the revision that made them';
COMMENT ON COLUMN record.models_by_age IS 'The same for all models, by the revision that made them';
COMMENT ON COLUMN record.live_versions IS 'The same for the versions that are not deleted, by number';
COMMENT ON COLUMN record.ready_versions IS 'The same for the versions that are READY and not deleted, by number';
COMMENT ON COLUMN record.stage_entries IS 'The same for the versions in a stage, by when they entered it';
COMMENT ON COLUMN record.contents IS 'The same for what artifacts consist of, by the digest of their chunks';
COMMENT ON COLUMN record.deleted_versions IS 'The same for the versions that are deleted and not purged, by the time of their deletion';
COMMENT ON COLUMN record.deleted_models IS 'The same for the models that are deleted and have versions that are not, by the time of their deletion';
COMMENT ON COLUMN record.name IS 'The resource name';
COMMENT ON COLUMN record.team IS 'The team of a model';
COMMENT ON COLUMN record.stage IS 'The stage of a version: development, staging, production or archived';
COMMENT ON COLUMN record.framework IS 'What a version was made with';
COMMENT ON COLUMN record.created IS 'When it was made';
COMMENT ON COLUMN record.updated IS 'When it was changed last';
COMMENT ON COLUMN record.deleted IS 'When it was deleted, if it is';

COMMENT ON VIEW models IS 'The models, deleted ones too';
COMMENT ON COLUMN models.name IS 'The resource name';
COMMENT ON COLUMN models.team IS 'Whose it is';
COMMENT ON COLUMN models.created IS 'When it was made';
COMMENT ON COLUMN models.updated IS 'When it was changed last';
COMMENT ON COLUMN models.deleted IS 'When it was deleted, if it is';
COMMENT ON COLUMN models.revision IS 'The revision that wrote it';
COMMENT ON COLUMN models.bytes IS 'How long its message is';

COMMENT ON VIEW versions IS 'The versions of all models, deleted ones too';
COMMENT ON COLUMN versions.name IS 'The resource name';
COMMENT ON COLUMN versions.stage IS 'Its stage: development, staging, production or archived';
COMMENT ON COLUMN versions.framework IS 'What it was made with';
COMMENT ON COLUMN versions.created IS 'When it was made';
COMMENT ON COLUMN versions.updated IS 'When it was changed last';
COMMENT ON COLUMN versions.deleted IS 'When it was deleted, if it is';
COMMENT ON COLUMN versions.revision IS 'The revision that wrote it';
COMMENT ON COLUMN versions.bytes IS 'How long its message is';

COMMENT ON VIEW artifacts IS 'The artifacts of all versions';
COMMENT ON COLUMN artifacts.name IS 'The resource name';
COMMENT ON COLUMN artifacts.created IS 'When it was made';
COMMENT ON COLUMN artifacts.revision IS 'The revision that wrote it';
COMMENT ON COLUMN artifacts.bytes IS 'How long its record''s message is; the bytes of the artifact lie elsewhere';
