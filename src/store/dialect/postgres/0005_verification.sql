-- When the address was proven; null for an account whose address was not. A ticket that was
-- used once stays used until it expires, even if its account is gone: only its hash is
-- kept, and nothing of a person's.
ALTER TABLE {t}accounts ADD COLUMN email_verified_at bigint;
CREATE TABLE {t}used_tickets (
    hash       bytea  NOT NULL CONSTRAINT {p}used_tickets_pkey PRIMARY KEY,
    expires_at bigint NOT NULL -- milliseconds since 1970
);
