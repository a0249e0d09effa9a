CREATE INDEX {p}api_keys_expires_at ON {t}api_keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX {p}used_tickets_expires_at ON {t}used_tickets (expires_at);
CREATE INDEX {p}events_due ON {t}events (partition_id, due_at) WHERE delivery = 'waiting';
CREATE INDEX {p}events_open ON {t}events (account_id, number)
    WHERE delivery IN ('waiting', 'stopped');
CREATE INDEX {p}events_age ON {t}events (delivery, created_at, id);
CREATE INDEX {p}notices_due ON {t}notices (due_at);
CREATE INDEX {p}notices_age ON {t}notices (created_at);
