CREATE TABLE {p}accounts (
    id             TEXT    NOT NULL PRIMARY KEY,
    email          TEXT    NOT NULL,
    email_key      TEXT    NOT NULL COLLATE BINARY UNIQUE,
    name           TEXT,
    plan           TEXT    NOT NULL,
    password_hash  TEXT    NOT NULL, -- a PHC string
    pepper_version INTEGER,
    created_at     INTEGER NOT NULL  -- milliseconds since 1970
) STRICT;

CREATE TABLE {p}api_keys (
    digest     BLOB    NOT NULL PRIMARY KEY,
    account_id TEXT    NOT NULL REFERENCES {p}accounts (id) ON DELETE CASCADE,
    prefix     TEXT    NOT NULL,
    created_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT;

CREATE INDEX {p}api_keys_account_id ON {p}api_keys (account_id);
