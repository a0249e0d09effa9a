-- The state of an account, and when one that is to be deleted will be.
ALTER TABLE {t}accounts ADD COLUMN state text NOT NULL DEFAULT 'active';
ALTER TABLE {t}accounts ADD COLUMN delete_at bigint;
CREATE INDEX {p}accounts_created_at ON {t}accounts (created_at, id);
