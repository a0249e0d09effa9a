-- The last four digits of a key, which are of its checksum.
ALTER TABLE {p}api_keys ADD COLUMN last_four  TEXT NOT NULL DEFAULT '';
ALTER TABLE {p}api_keys ADD COLUMN expires_at INTEGER; -- milliseconds since 1970

-- Tokens issued before are no longer good; milliseconds since 1970.
ALTER TABLE {p}accounts ADD COLUMN tokens_valid_after INTEGER;
