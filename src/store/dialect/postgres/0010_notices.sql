-- Security notices that were not sent yet. An index is written as a constraint, because not
-- each database that speaks the language can define others.
CREATE TABLE IF NOT EXISTS {t}notices (
    account_id     text   NOT NULL,
    id             text   NOT NULL, -- that of the event of the same change
    kind           text   NOT NULL,
    email          text   NOT NULL,
    email_key      text   NOT NULL,
    api_keys_ended bigint,
    api_keys_kept  bigint,
    created_at     bigint NOT NULL,
    due_at         bigint NOT NULL, -- from then on any process may send it
    takeovers      bigint NOT NULL,
    CONSTRAINT {p}notices_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT {p}notices_due UNIQUE (due_at, account_id, id)
);
