-- When the address was proven; null for an account whose address was not. A ticket that was
-- used once stays used until it expires, even if its account is gone: only its hash is
-- kept, and nothing of a person's.
ALTER TABLE {p}accounts ADD COLUMN email_verified_at INTEGER;
CREATE TABLE {p}used_tickets (
    hash       BLOB    NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT;
