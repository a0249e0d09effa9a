CREATE TABLE {if_not_exists}{t}accounts (
    id                text{bytewise} NOT NULL,
    email             text NOT NULL,
    email_key         text{bytewise} NOT NULL,
    name              text,
    plan              text NOT NULL,
    password_hash     text NOT NULL, -- a PHC string
    pepper_version    bigint,
    created_at        bigint NOT NULL, -- milliseconds since 1970, as all times
    -- A token names the generation in which it was issued.
    token_generation  bigint NOT NULL DEFAULT 0,
    -- A sign-up with an idempotency key can be retried: the nonce that its answer is derived
    -- from, the version of the replay secret, and a tag that recognizes the request.
    replay_nonce      bytea,
    replay_version    bigint,
    replay_tag        bytea,
    email_verified_at bigint,
    state             text{bytewise} NOT NULL DEFAULT 'active',
    delete_at         bigint, -- the date of a planned deletion
    event_number      bigint NOT NULL DEFAULT 0, -- of the last event
    email_unverified  bigint, -- 1 for a sign-up whose address is to be verified after it
    ticket_nonce      bytea, -- what the account's tickets are bound to
    CONSTRAINT {p}accounts_pkey PRIMARY KEY (id),
    CONSTRAINT {p}accounts_email_key_key UNIQUE (email_key){accounts_indexes}
);
