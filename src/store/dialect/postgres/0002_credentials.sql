-- The last four digits of a key, which are of its checksum.
ALTER TABLE {t}api_keys ADD COLUMN last_four  text NOT NULL DEFAULT '';
ALTER TABLE {t}api_keys ADD COLUMN expires_at bigint; -- milliseconds since 1970

-- Tokens issued before are no longer good; milliseconds since 1970.
ALTER TABLE {t}accounts ADD COLUMN tokens_valid_after bigint;
