-- Whether the address may be that of someone else, who has not made the account: 1 for an
-- account that signed up while addresses were verified after the sign-up. The nonce that its
-- tickets are bound to.
ALTER TABLE {t}accounts ADD COLUMN IF NOT EXISTS email_unverified bigint;
ALTER TABLE {t}accounts ADD COLUMN IF NOT EXISTS ticket_nonce bytea;
