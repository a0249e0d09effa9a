CREATE INDEX {p}accounts_state ON {t}accounts (state, created_at, id);
CREATE INDEX {p}accounts_plan ON {t}accounts (plan, created_at, id);
CREATE INDEX {p}accounts_delete_at ON {t}accounts (delete_at, id) WHERE delete_at IS NOT NULL;
