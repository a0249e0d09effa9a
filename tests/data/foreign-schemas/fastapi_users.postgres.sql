CREATE TABLE "user" (
    id UUID NOT NULL,
    email VARCHAR(320) NOT NULL,
    hashed_password VARCHAR(1024) NOT NULL,
    is_active BOOLEAN NOT NULL,
    is_superuser BOOLEAN NOT NULL,
    is_verified BOOLEAN NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_user_email ON "user" (email);
INSERT INTO "user" VALUES
    (gen_random_uuid(), 'Jane@example.com', '{hash}', true, false, true),
    (gen_random_uuid(), 'gone@example.com', '{hash}', false, false, true);
