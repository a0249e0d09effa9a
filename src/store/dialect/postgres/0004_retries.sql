-- A request with an idempotency key can be retried: the nonce that its answer is derived
-- from, the version of the replay secret, and a tag that recognizes the request. The key
-- itself is not kept.
ALTER TABLE {t}accounts ADD COLUMN replay_nonce   bytea;
ALTER TABLE {t}accounts ADD COLUMN replay_version bigint;
ALTER TABLE {t}accounts ADD COLUMN replay_tag     bytea;
ALTER TABLE {t}api_keys ADD COLUMN replay_nonce   bytea;
ALTER TABLE {t}api_keys ADD COLUMN replay_version bigint;
ALTER TABLE {t}api_keys ADD COLUMN replay_tag     bytea;
CREATE UNIQUE INDEX {p}api_keys_replay_tag ON {t}api_keys (account_id, replay_tag)
    WHERE replay_tag IS NOT NULL;
