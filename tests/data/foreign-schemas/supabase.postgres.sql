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
    banned_until timestamp with time zone,
    deleted_at timestamp with time zone,
    is_sso_user boolean NOT NULL DEFAULT false,
    is_anonymous boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX users_email_partial_key ON auth.users (email) WHERE (is_sso_user = false);
INSERT INTO auth.users (id, email, encrypted_password, email_confirmed_at, created_at,
        banned_until, deleted_at, is_sso_user, is_anonymous)
    VALUES (gen_random_uuid(), 'jane@example.com', '{hash}', '2024-02-29 12:00Z', '2024-02-29 12:00Z', NULL, NULL,
               false, false),
           (gen_random_uuid(), 'jane@example.com', NULL, '2024-02-29 12:00Z', '2024-02-29 12:00Z', NULL, NULL, true, false),
           (gen_random_uuid(), 'hub@example.com', '', '2024-02-29 12:00Z', '2024-02-29 12:00Z', NULL, NULL, false, false),
           (gen_random_uuid(), 'gone@example.com', '{hash}', '2024-02-29 12:00Z', '2024-02-29 12:00Z', '3000-01-01Z', NULL,
               false, false),
           (gen_random_uuid(), 'left@example.com', '{hash}', '2024-02-29 12:00Z', '2024-02-29 12:00Z', NULL, '2024-02-29 12:00Z',
               false, false),
           (gen_random_uuid(), NULL, NULL, NULL, '2024-02-29 12:00Z', NULL, NULL, false, true);
