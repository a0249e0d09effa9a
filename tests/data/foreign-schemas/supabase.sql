CREATE SCHEMA auth;
CREATE TABLE auth.users (
    id uuid NOT NULL PRIMARY KEY,
    aud character varying(255),
    role character varying(255),
    email character varying(255),
    encrypted_password character varying(255),
    email_confirmed_at timestamp with time zone,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    deleted_at timestamp with time zone,
    is_anonymous boolean NOT NULL DEFAULT false
);
INSERT INTO auth.users (id, email, encrypted_password, email_confirmed_at, created_at)
    VALUES (gen_random_uuid(), 'jane@example.com', '{hash}', '2024-02-29 12:00Z',
               '2024-02-29 12:00Z'),
           (gen_random_uuid(), 'hub@example.com', '', '2024-02-29 12:00Z', '2024-02-29 12:00Z'),
           (gen_random_uuid(), NULL, NULL, NULL, '2024-02-29 12:00Z');
