-- Security notices that were not sent yet.
CREATE TABLE {p}notices (
    account_id     TEXT    NOT NULL,
    id             TEXT    NOT NULL, -- that of the event of the same change
    kind           TEXT    NOT NULL,
    email          TEXT    NOT NULL,
    email_key      TEXT    NOT NULL,
    api_keys_ended INTEGER,
    api_keys_kept  INTEGER,
    created_at     INTEGER NOT NULL,
    due_at         INTEGER NOT NULL, -- from then on any process may send it
    takeovers      INTEGER NOT NULL,
    PRIMARY KEY (account_id, id)
) STRICT;
CREATE INDEX {p}notices_due ON {p}notices (due_at);
