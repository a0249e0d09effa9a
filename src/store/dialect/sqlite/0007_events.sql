-- What has happened to accounts, numbered for each. There is no foreign key: an event
-- outlives its account.
ALTER TABLE {p}accounts ADD COLUMN event_number INTEGER NOT NULL DEFAULT 0;
CREATE TABLE {p}events (
    account_id   TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    id           TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL, -- milliseconds since 1970
    data         TEXT    NOT NULL, -- an object in JSON
    partition_id INTEGER NOT NULL, -- 0 to 63, by the account
    delivery     TEXT    NOT NULL DEFAULT 'waiting', -- or delivered, stopped, skipped
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       INTEGER NOT NULL DEFAULT 0, -- the time of the next attempt
    PRIMARY KEY (account_id, number)
) STRICT;
CREATE INDEX {p}events_due ON {p}events (partition_id, delivery, due_at);
-- The instance that delivers the events of a partition is the one that knows its fence.
CREATE TABLE {p}event_leases (
    partition_id INTEGER PRIMARY KEY,
    fence        INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
INSERT INTO {p}event_leases
    WITH RECURSIVE partitions (id) AS (
        SELECT 0 UNION ALL SELECT id + 1 FROM partitions WHERE id < 63)
    SELECT id, 0, 0 FROM partitions;
