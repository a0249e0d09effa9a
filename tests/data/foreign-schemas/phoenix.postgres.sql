CREATE TABLE users (
    id bigserial PRIMARY KEY,
    email public.citext NOT NULL,
    hashed_password varchar(255) NOT NULL,
    confirmed_at timestamp(0) without time zone,
    inserted_at timestamp(0) without time zone NOT NULL,
    updated_at timestamp(0) without time zone NOT NULL
);
CREATE UNIQUE INDEX users_email_index ON users (email);
ALTER TABLE users ADD CONSTRAINT email_has_an_at CHECK (email ~ '^[^@,;\s]+@[^@,;\s]+$');
INSERT INTO users (email, hashed_password, confirmed_at, inserted_at, updated_at)
    VALUES ('Jane@example.com', '{hash}', '2024-02-29 12:00', '2024-02-29 12:00', '2024-02-29 12:00'),
           ('jörg@example.com', '{hash}', NULL, '2024-02-29 12:00', '2024-02-29 12:00');
