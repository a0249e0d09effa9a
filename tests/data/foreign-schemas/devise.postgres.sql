CREATE TABLE users (
    id bigserial PRIMARY KEY,
    email character varying DEFAULT '' NOT NULL,
    encrypted_password character varying DEFAULT '' NOT NULL,
    reset_password_token character varying,
    reset_password_sent_at timestamp(6) without time zone,
    remember_created_at timestamp(6) without time zone,
    confirmation_token character varying,
    confirmed_at timestamp(6) without time zone,
    confirmation_sent_at timestamp(6) without time zone,
    unconfirmed_email character varying,
    failed_attempts integer DEFAULT 0 NOT NULL,
    unlock_token character varying,
    locked_at timestamp(6) without time zone,
    created_at timestamp(6) without time zone NOT NULL,
    updated_at timestamp(6) without time zone NOT NULL
);
CREATE UNIQUE INDEX index_users_on_email ON users (email);
CREATE UNIQUE INDEX index_users_on_reset_password_token ON users (reset_password_token);
INSERT INTO users (email, encrypted_password, confirmed_at, locked_at, created_at, updated_at)
    VALUES ('jane@example.com', '{hash}', '2024-02-29 12:00', NULL, '2024-02-29 12:00:00.123456', now()),
           ('gone@example.com', '{hash}', NULL, '2024-02-29 12:00', '2024-02-29 12:00:00.123456', now()),
           ('jörg@example.com', '{hash}', NULL, NULL, '2024-02-29 12:00:00.123456', now()),
           ('hub@example.com', '', NULL, NULL, '2024-02-29 12:00:00.123456', now());
