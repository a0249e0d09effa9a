-- What has happened to accounts, numbered for each. There is no foreign key: an event
-- outlives its account.
ALTER TABLE {t}accounts ADD COLUMN event_number bigint NOT NULL DEFAULT 0;
CREATE TABLE {t}events (
    account_id   text   NOT NULL,
    number       bigint NOT NULL,
    id           text   NOT NULL CONSTRAINT {p}events_id_key UNIQUE,
    kind         text   NOT NULL,
    created_at   bigint NOT NULL, -- milliseconds since 1970
    data         text   NOT NULL, -- an object in JSON
    partition_id bigint NOT NULL, -- 0 to 63, by the account
    delivery     text   NOT NULL DEFAULT 'waiting', -- or delivered, stopped, skipped
    attempts     bigint NOT NULL DEFAULT 0,
    due_at       bigint NOT NULL DEFAULT 0, -- the time of the next attempt
    CONSTRAINT {p}events_pkey PRIMARY KEY (account_id, number)
);
CREATE INDEX {p}events_due ON {t}events (partition_id, delivery, due_at);
-- The instance that delivers the events of a partition is the one that knows its fence.
CREATE TABLE {t}event_leases (
    partition_id bigint NOT NULL CONSTRAINT {p}event_leases_pkey PRIMARY KEY,
    fence        bigint NOT NULL,
    expires_at   bigint NOT NULL
);
INSERT INTO {t}event_leases
    WITH RECURSIVE partitions (id) AS (
        SELECT 0 UNION ALL SELECT id + 1 FROM partitions WHERE id < 63)
    SELECT id, 0, 0 FROM partitions;
