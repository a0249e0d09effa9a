CREATE TABLE {if_not_exists}{t}api_keys (
    digest         bytea NOT NULL,
    account_id     text{bytewise} NOT NULL{reference},
    name           text, -- what its owner calls it
    prefix         text NOT NULL,
    last_four      text NOT NULL DEFAULT '', -- the last digits, which are of the checksum
    created_at     bigint NOT NULL, -- milliseconds since 1970, as all times
    expires_at     bigint,
    replay_nonce   bytea,
    replay_version bigint,
    replay_tag     bytea,
    CONSTRAINT {p}api_keys_pkey PRIMARY KEY (digest),
    CONSTRAINT {p}api_keys_replay_tag UNIQUE (account_id, replay_tag){api_keys_indexes}
);

-- A ticket that was used stays used until it expires, even if its account is gone: only its
-- hash is kept.
CREATE TABLE {if_not_exists}{t}used_tickets (
    hash       bytea  NOT NULL,
    expires_at bigint NOT NULL,
    CONSTRAINT {p}used_tickets_pkey PRIMARY KEY (hash){used_tickets_indexes}
);

-- The events of accounts, numbered for each. There is no foreign key: an event outlives its
-- account.
CREATE TABLE {if_not_exists}{t}events (
    account_id   text{bytewise} NOT NULL,
    number       bigint NOT NULL,
    id           text{bytewise} NOT NULL,
    kind         text{bytewise} NOT NULL,
    created_at   bigint NOT NULL,
    data         text   NOT NULL, -- an object in JSON
    partition_id bigint NOT NULL, -- 0 to 63, by the account
    delivery     text{bytewise} NOT NULL DEFAULT 'waiting', -- or delivered, stopped, skipped
    attempts     bigint NOT NULL DEFAULT 0,
    due_at       bigint NOT NULL, -- the time of the next attempt, or of the next look at it
    CONSTRAINT {p}events_pkey PRIMARY KEY (account_id, number),
    CONSTRAINT {p}events_id_key UNIQUE (id){events_indexes}
);

-- Only the instance that knows the fence of a partition delivers its events.
CREATE TABLE {if_not_exists}{t}event_leases (
    partition_id bigint NOT NULL,
    fence        bigint NOT NULL,
    expires_at   bigint NOT NULL,
    version      bigint NOT NULL DEFAULT 0, -- counts changes of the order of its events
    CONSTRAINT {p}event_leases_pkey PRIMARY KEY (partition_id)
);
INSERT INTO {t}event_leases (partition_id, fence, expires_at) VALUES
    (0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (5, 0, 0), (6, 0, 0), (7, 0, 0),
    (8, 0, 0), (9, 0, 0), (10, 0, 0), (11, 0, 0), (12, 0, 0), (13, 0, 0), (14, 0, 0), (15, 0, 0),
    (16, 0, 0), (17, 0, 0), (18, 0, 0), (19, 0, 0), (20, 0, 0), (21, 0, 0), (22, 0, 0), (23, 0, 0),
    (24, 0, 0), (25, 0, 0), (26, 0, 0), (27, 0, 0), (28, 0, 0), (29, 0, 0), (30, 0, 0), (31, 0, 0),
    (32, 0, 0), (33, 0, 0), (34, 0, 0), (35, 0, 0), (36, 0, 0), (37, 0, 0), (38, 0, 0), (39, 0, 0),
    (40, 0, 0), (41, 0, 0), (42, 0, 0), (43, 0, 0), (44, 0, 0), (45, 0, 0), (46, 0, 0), (47, 0, 0),
    (48, 0, 0), (49, 0, 0), (50, 0, 0), (51, 0, 0), (52, 0, 0), (53, 0, 0), (54, 0, 0), (55, 0, 0),
    (56, 0, 0), (57, 0, 0), (58, 0, 0), (59, 0, 0), (60, 0, 0), (61, 0, 0), (62, 0, 0), (63, 0, 0)
    ON CONFLICT (partition_id) DO NOTHING;

-- Security notices that are not sent yet.
CREATE TABLE {if_not_exists}{t}notices (
    account_id     text{bytewise} NOT NULL,
    id             text{bytewise} NOT NULL, -- that of the event of the same change
    kind           text{bytewise} NOT NULL,
    email          text   NOT NULL,
    email_key      text{bytewise} NOT NULL,
    api_keys_ended bigint,
    api_keys_kept  bigint,
    created_at     bigint NOT NULL,
    due_at         bigint NOT NULL, -- from then on any instance may send it
    takeovers      bigint NOT NULL,
    CONSTRAINT {p}notices_pkey PRIMARY KEY (account_id, id){notices_indexes}
);
