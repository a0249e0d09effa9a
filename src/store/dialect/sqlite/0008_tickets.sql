-- Whether the address may be that of someone else, who has not made the account: 1 for an
-- account that signed up while addresses were verified after the sign-up. The nonce that its
-- tickets are bound to.
ALTER TABLE {t}accounts ADD COLUMN email_unverified INTEGER;
ALTER TABLE {t}accounts ADD COLUMN ticket_nonce BLOB;
