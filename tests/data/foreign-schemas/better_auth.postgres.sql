create table "user" ("id" text not null primary key, "name" text not null, "email" text not null unique, "emailVerified" boolean not null, "image" text, "createdAt" timestamptz default CURRENT_TIMESTAMP not null, "updatedAt" timestamptz default CURRENT_TIMESTAMP not null);
create table "account" ("id" text not null primary key, "accountId" text not null, "providerId" text not null, "userId" text not null references "user" ("id") on delete cascade, "accessToken" text, "refreshToken" text, "idToken" text, "accessTokenExpiresAt" timestamptz, "refreshTokenExpiresAt" timestamptz, "scope" text, "password" text, "createdAt" timestamptz default CURRENT_TIMESTAMP not null, "updatedAt" timestamptz not null);
INSERT INTO "user" ("id", "name", "email", "emailVerified", "createdAt", "updatedAt")
    VALUES ('u1', 'Jane', 'Jane@example.com', true, '2024-02-29 12:00Z', '2024-02-29 12:00Z'),
           ('u2', 'By GitHub', 'hub@example.com', true, '2024-02-29 12:00Z', '2024-02-29 12:00Z'),
           ('u3', 'Jane again', 'JANE@example.com', true, '2024-02-29 12:00Z', '2024-02-29 12:00Z');
INSERT INTO "account" ("id", "accountId", "providerId", "userId", "password", "createdAt",
        "updatedAt")
    VALUES ('a1', 'u1', 'credential', 'u1', '{hash}', now(), now()),
           ('a2', '1', 'github', 'u2', NULL, now(), now());
