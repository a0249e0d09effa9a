CREATE TABLE {t}accounts (
    id             text   COLLATE "C" NOT NULL PRIMARY KEY,
    email          text   NOT NULL,
    email_key      text   COLLATE "C" NOT NULL,
    name           text,
    plan           text   NOT NULL,
    password_hash  text   NOT NULL, -- a PHC string
    pepper_version bigint,
    created_at     bigint NOT NULL, -- milliseconds since 1970
    CONSTRAINT {p}accounts_email_key_key UNIQUE (email_key)
);

CREATE TABLE {t}api_keys (
    digest     bytea  NOT NULL PRIMARY KEY,
    account_id text   COLLATE "C" NOT NULL REFERENCES {t}accounts (id) ON DELETE CASCADE,
    prefix     text   NOT NULL,
    created_at bigint NOT NULL -- milliseconds since 1970
);

CREATE INDEX {p}api_keys_account_id ON {t}api_keys (account_id);
