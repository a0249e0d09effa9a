-- A request with an idempotency key can be retried: the nonce that its answer is derived
-- from, the version of the replay secret, and a tag that recognizes the request. The key
-- itself is not kept.
ALTER TABLE {p}accounts ADD COLUMN replay_nonce   BLOB;
ALTER TABLE {p}accounts ADD COLUMN replay_version INTEGER;
ALTER TABLE {p}accounts ADD COLUMN replay_tag     BLOB;
ALTER TABLE {p}api_keys ADD COLUMN replay_nonce   BLOB;
ALTER TABLE {p}api_keys ADD COLUMN replay_version INTEGER;
ALTER TABLE {p}api_keys ADD COLUMN replay_tag     BLOB;
CREATE UNIQUE INDEX {p}api_keys_replay_tag ON {p}api_keys (account_id, replay_tag)
    WHERE replay_tag IS NOT NULL;
