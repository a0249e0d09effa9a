-- What has happened to accounts, numbered for each. There is no foreign key: an event
-- outlives its account.
ALTER TABLE {p}accounts ADD COLUMN event_number INTEGER NOT NULL DEFAULT 0;
CREATE TABLE {p}events (
    account_id TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    id         TEXT    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL,
    created_at INTEGER NOT NULL, -- milliseconds since 1970
    data       TEXT    NOT NULL, -- an object in JSON
    PRIMARY KEY (account_id, number)
) STRICT;
