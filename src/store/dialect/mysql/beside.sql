CREATE TABLE IF NOT EXISTS {t}api_keys (
    digest         varbinary(32) NOT NULL PRIMARY KEY,
    account_id     varchar(64)   CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    name           varchar(100), -- what its owner calls it
    prefix         varchar(64)   NOT NULL,
    last_four      varchar(16)   NOT NULL DEFAULT '', -- the last digits, which are of the checksum
    created_at     bigint        NOT NULL, -- milliseconds since 1970, as all times
    expires_at     bigint,
    replay_nonce   varbinary(16),
    replay_version bigint,
    replay_tag     varbinary(32),
    CONSTRAINT {p}api_keys_replay_tag UNIQUE (account_id, replay_tag),
    INDEX {p}api_keys_expires_at (expires_at),
    CONSTRAINT {p}api_keys_account_id_fkey FOREIGN KEY (account_id)
        REFERENCES {accounts} (@id) ON DELETE CASCADE
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A ticket that was used stays used until it expires, even if its account is gone: only its
-- hash is kept.
CREATE TABLE IF NOT EXISTS {t}used_tickets (
    row_id     bigint AUTO_INCREMENT NOT NULL PRIMARY KEY,
    hash       varbinary(32) NOT NULL,
    expires_at bigint        NOT NULL,
    CONSTRAINT {p}used_tickets_hash_key UNIQUE (hash),
    INDEX {p}used_tickets_expires_at (expires_at)
) ENGINE = InnoDB;

-- The events of accounts, numbered for each. There is no foreign key: an event outlives its
-- account.
CREATE TABLE IF NOT EXISTS {t}events (
    account_id   varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number       bigint      NOT NULL,
    id           varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    kind         varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    created_at   bigint      NOT NULL,
    data         text        NOT NULL, -- an object in JSON
    partition_id bigint      NOT NULL, -- 0 to 63, by the account
    delivery     varchar(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'waiting',
    attempts     bigint      NOT NULL DEFAULT 0,
    due_at       bigint      NOT NULL, -- the time of the next attempt, or of the next look at it
    PRIMARY KEY (account_id, number),
    CONSTRAINT {p}events_id_key UNIQUE (id),
    INDEX {p}events_due (partition_id, delivery, due_at),
    INDEX {p}events_open (account_id, delivery, number),
    INDEX {p}events_age (delivery, created_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Only the instance that knows the fence of a partition delivers its events.
CREATE TABLE IF NOT EXISTS {t}event_leases (
    partition_id bigint NOT NULL PRIMARY KEY,
    fence        bigint NOT NULL,
    expires_at   bigint NOT NULL,
    version      bigint NOT NULL DEFAULT 0 -- counts changes of the order of its events
) ENGINE = InnoDB;
INSERT INTO {t}event_leases (partition_id, fence, expires_at)
    WITH RECURSIVE partitions (id) AS (
        SELECT 0 UNION ALL SELECT id + 1 FROM partitions WHERE id < 63)
    SELECT id, 0, 0 FROM partitions
    ON DUPLICATE KEY UPDATE partition_id = partition_id;

-- Security notices that are not sent yet.
CREATE TABLE IF NOT EXISTS {t}notices (
    account_id     varchar(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id             varchar(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- that of the event
    kind           varchar(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    email          varchar(320)    NOT NULL,
    email_key      varbinary(1280) NOT NULL,
    api_keys_ended bigint,
    api_keys_kept  bigint,
    created_at     bigint          NOT NULL,
    due_at         bigint          NOT NULL, -- from then on any instance may send it
    takeovers      bigint          NOT NULL,
    PRIMARY KEY (account_id, id),
    INDEX {p}notices_due (due_at),
    INDEX {p}notices_age (created_at)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
