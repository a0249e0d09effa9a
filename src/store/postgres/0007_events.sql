-- What has happened to accounts, numbered for each. There is no foreign key: an event
-- outlives its account.
ALTER TABLE {t}accounts ADD COLUMN event_number bigint NOT NULL DEFAULT 0;
CREATE TABLE {t}events (
    account_id text   NOT NULL,
    number     bigint NOT NULL,
    id         text   NOT NULL CONSTRAINT {p}events_id_key UNIQUE,
    kind       text   NOT NULL,
    created_at bigint NOT NULL, -- milliseconds since 1970
    data       text   NOT NULL, -- an object in JSON
    CONSTRAINT {p}events_pkey PRIMARY KEY (account_id, number)
);
