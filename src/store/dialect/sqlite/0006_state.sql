-- The state of an account, and when one that is to be deleted will be.
ALTER TABLE {p}accounts ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE {p}accounts ADD COLUMN delete_at INTEGER;
CREATE INDEX {p}accounts_created_at ON {p}accounts (created_at, id);
