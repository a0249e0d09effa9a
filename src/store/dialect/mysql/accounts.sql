-- The definition of a table is one statement that commits by itself, and can be repeated.
-- The order of the keys is that in which they are checked: a taken address comes first.
CREATE TABLE IF NOT EXISTS {t}accounts (
    row_id            bigint AUTO_INCREMENT NOT NULL PRIMARY KEY,
    id                varchar(64)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    email             varchar(320)    NOT NULL,
    email_key         varbinary(1280) NOT NULL, -- UTF-8, compared by its bytes
    name              text,
    plan              varchar(64)     NOT NULL,
    password_hash     text            CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- a PHC string
    pepper_version    bigint,
    created_at        bigint          NOT NULL, -- milliseconds since 1970, as all times
    -- A token names the generation in which it was issued.
    token_generation  bigint          NOT NULL DEFAULT 0,
    -- A sign-up with an idempotency key can be retried: the nonce that its answer is derived
    -- from, the version of the replay secret, and a tag that recognizes the request.
    replay_nonce      varbinary(16),
    replay_version    bigint,
    replay_tag        varbinary(32),
    email_verified_at bigint,
    state             varchar(32)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'active',
    delete_at         bigint, -- the date of a planned deletion
    event_number      bigint          NOT NULL DEFAULT 0, -- of the last event
    email_unverified  bigint, -- 1 for a sign-up whose address is to be verified after it
    ticket_nonce      varbinary(16), -- what the account's tickets are bound to
    CONSTRAINT {p}accounts_email_key_key UNIQUE (email_key),
    CONSTRAINT {p}accounts_id_key UNIQUE (id),
    INDEX {p}accounts_state (state, created_at, id),
    INDEX {p}accounts_plan (plan, created_at, id),
    INDEX {p}accounts_delete_at (delete_at, id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
