-- A token names the generation that it was issued in; ending an account's tokens begins
-- the next one.
ALTER TABLE {p}accounts ADD COLUMN token_generation INTEGER NOT NULL DEFAULT 0;
UPDATE {p}accounts SET token_generation = 1 WHERE tokens_valid_after IS NOT NULL;
