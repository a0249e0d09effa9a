-- The first event of an account that waits.
CREATE INDEX {p}events_waiting ON {t}events (account_id, delivery, number);
