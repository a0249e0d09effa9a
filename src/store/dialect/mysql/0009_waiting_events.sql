-- The first event of an account that waits.
ALTER TABLE {t}events ADD INDEX {p}events_waiting (account_id, delivery, number);
