-- It is written often, and holds little: rows that are replaced make room for the next ones within their pages.
CREATE TABLE slate (
    key bytea PRIMARY KEY,
    value bytea NOT NULL
) WITH (fillfactor = 50);

COMMENT ON TABLE slate IS 'What matters only while things run, such as how far a consumer is: in no backup and no archive';
COMMENT ON COLUMN slate.key IS 'What it is of';
COMMENT ON COLUMN slate.value IS 'The message that is kept';
