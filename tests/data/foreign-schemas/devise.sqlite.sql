CREATE TABLE "users" (
    "id" integer PRIMARY KEY AUTOINCREMENT NOT NULL,
    "email" varchar DEFAULT '' NOT NULL,
    "encrypted_password" varchar DEFAULT '' NOT NULL,
    "reset_password_token" varchar,
    "reset_password_sent_at" datetime(6),
    "remember_created_at" datetime(6),
    "confirmation_token" varchar,
    "confirmed_at" datetime(6),
    "confirmation_sent_at" datetime(6),
    "unconfirmed_email" varchar,
    "failed_attempts" integer DEFAULT 0 NOT NULL,
    "unlock_token" varchar,
    "locked_at" datetime(6),
    "created_at" datetime(6) NOT NULL,
    "updated_at" datetime(6) NOT NULL
);
CREATE UNIQUE INDEX "index_users_on_email" ON "users" ("email");
CREATE UNIQUE INDEX "index_users_on_reset_password_token" ON "users" ("reset_password_token");
INSERT INTO users (email, encrypted_password, confirmed_at, locked_at, created_at, updated_at)
    VALUES ('jane@example.com', '{hash}', '2024-02-29 12:00', NULL, '2024-02-29 12:00:00.123456', '2024-03-01 00:00:00'),
           ('gone@example.com', '{hash}', NULL, '2024-02-29 12:00', '2024-02-29 12:00:00.123456', '2024-03-01 00:00:00'),
           ('jörg@example.com', '{hash}', NULL, NULL, '2024-02-29 12:00:00.123456', '2024-03-01 00:00:00'),
           ('hub@example.com', '', NULL, NULL, '2024-02-29 12:00:00.123456', '2024-03-01 00:00:00');
INSERT INTO users (email, encrypted_password, created_at, updated_at)
    VALUES ('late@example.com', '{hash}', 'yesterday', '2024-02-29 12:00:00');
