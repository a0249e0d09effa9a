CREATE TABLE {t}accounts (
    id                TEXT    NOT NULL PRIMARY KEY,
    email             TEXT    NOT NULL,
    email_key         TEXT    NOT NULL COLLATE BINARY UNIQUE,
    name              TEXT,
    plan              TEXT    NOT NULL,
    password_hash     TEXT    NOT NULL, -- a PHC string
    pepper_version    INTEGER,
    created_at        INTEGER NOT NULL, -- milliseconds since 1970, as all times
    -- A token names the generation in which it was issued.
    token_generation  INTEGER NOT NULL DEFAULT 0,
    -- A sign-up with an idempotency key can be retried: the nonce that its answer is derived
    -- from, the version of the replay secret, and a tag that recognizes the request.
    replay_nonce      BLOB,
    replay_version    INTEGER,
    replay_tag        BLOB,
    email_verified_at INTEGER,
    state             TEXT    NOT NULL DEFAULT 'active',
    delete_at         INTEGER, -- the date of a planned deletion
    event_number      INTEGER NOT NULL DEFAULT 0, -- of the last event
    email_unverified  INTEGER, -- 1 for a sign-up whose address is to be verified after it
    ticket_nonce      BLOB -- what the account's tickets are bound to
) STRICT;
CREATE INDEX {p}accounts_state ON {t}accounts (state, created_at, id);
CREATE INDEX {p}accounts_plan ON {t}accounts (plan, created_at, id);
CREATE INDEX {p}accounts_delete_at ON {t}accounts (delete_at, id) WHERE delete_at IS NOT NULL;
