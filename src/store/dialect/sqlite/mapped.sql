-- Beside a table of the host's, in which the accounts are.
CREATE TABLE {p}api_keys (
    digest         BLOB    NOT NULL PRIMARY KEY,
    account_id     TEXT    NOT NULL
        REFERENCES {accounts} (@id) ON DELETE CASCADE,
    prefix         TEXT    NOT NULL,
    last_four      TEXT    NOT NULL DEFAULT '', -- the last digits, which are of the checksum
    created_at     INTEGER NOT NULL, -- milliseconds since 1970
    expires_at     INTEGER,
    replay_nonce   BLOB,
    replay_version INTEGER,
    replay_tag     BLOB
) STRICT;
CREATE UNIQUE INDEX {p}api_keys_replay_tag ON {p}api_keys (account_id, replay_tag);

-- A ticket that was used once stays used until it expires, even if its account is gone:
-- only its hash is kept, and nothing of a person's.
CREATE TABLE {p}used_tickets (
    hash       BLOB    NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

-- What has happened to accounts, numbered for each.
CREATE TABLE {p}events (
    account_id   TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    id           TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
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
