CREATE TABLE {t}api_keys (
    digest         BLOB    NOT NULL PRIMARY KEY,
    account_id     TEXT    NOT NULL REFERENCES {accounts} (@id) ON DELETE CASCADE,
    name           TEXT, -- what its owner calls it
    prefix         TEXT    NOT NULL,
    last_four      TEXT    NOT NULL DEFAULT '', -- the last digits, which are of the checksum
    created_at     INTEGER NOT NULL, -- milliseconds since 1970, as all times
    expires_at     INTEGER,
    replay_nonce   BLOB,
    replay_version INTEGER,
    replay_tag     BLOB
) STRICT;
CREATE UNIQUE INDEX {p}api_keys_replay_tag ON {t}api_keys (account_id, replay_tag);
CREATE INDEX {p}api_keys_expires_at ON {t}api_keys (expires_at) WHERE expires_at IS NOT NULL;

-- A ticket that was used stays used until it expires, even if its account is gone: only its
-- hash is kept.
CREATE TABLE {t}used_tickets (
    hash       BLOB    NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX {p}used_tickets_expires_at ON {t}used_tickets (expires_at);

-- The events of accounts, numbered for each. There is no foreign key: an event outlives its
-- account.
CREATE TABLE {t}events (
    account_id   TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    id           TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    data         TEXT    NOT NULL, -- an object in JSON
    partition_id INTEGER NOT NULL, -- 0 to 63, by the account
    delivery     TEXT    NOT NULL DEFAULT 'waiting', -- or delivered, stopped, skipped
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       INTEGER NOT NULL, -- the time of the next attempt, or of the next look at it
    PRIMARY KEY (account_id, number)
) STRICT;
CREATE INDEX {p}events_due ON {t}events (partition_id, due_at) WHERE delivery = 'waiting';
CREATE INDEX {p}events_open ON {t}events (account_id, delivery, number);
CREATE INDEX {p}events_age ON {t}events (delivery, created_at, id);

-- Only the instance that knows the fence of a partition delivers its events.
CREATE TABLE {t}event_leases (
    partition_id INTEGER PRIMARY KEY,
    fence        INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    version      INTEGER NOT NULL DEFAULT 0 -- counts changes of the order of its events
) STRICT;
INSERT INTO {t}event_leases (partition_id, fence, expires_at)
    WITH RECURSIVE partitions (id) AS (
        SELECT 0 UNION ALL SELECT id + 1 FROM partitions WHERE id < 63)
    SELECT id, 0, 0 FROM partitions;

-- Security notices that are not sent yet.
CREATE TABLE {t}notices (
    account_id     TEXT    NOT NULL,
    id             TEXT    NOT NULL, -- that of the event of the same change
    kind           TEXT    NOT NULL,
    email          TEXT    NOT NULL,
    email_key      TEXT    NOT NULL,
    api_keys_ended INTEGER,
    api_keys_kept  INTEGER,
    created_at     INTEGER NOT NULL,
    due_at         INTEGER NOT NULL, -- from then on any instance may send it
    takeovers      INTEGER NOT NULL,
    PRIMARY KEY (account_id, id)
) STRICT;
CREATE INDEX {p}notices_due ON {t}notices (due_at);
CREATE INDEX {p}notices_age ON {t}notices (created_at);
