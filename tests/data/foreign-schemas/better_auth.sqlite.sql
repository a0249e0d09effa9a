create table "user" ("id" text not null primary key, "name" text not null, "email" text not null unique, "emailVerified" integer not null, "image" text, "createdAt" date not null, "updatedAt" date not null);
create table "account" ("id" text not null primary key, "accountId" text not null, "providerId" text not null, "userId" text not null references "user" ("id") on delete cascade, "accessToken" text, "refreshToken" text, "idToken" text, "accessTokenExpiresAt" date, "refreshTokenExpiresAt" date, "scope" text, "password" text, "createdAt" date not null, "updatedAt" date not null);
INSERT INTO "user" ("id", "name", "email", "emailVerified", "createdAt", "updatedAt")
    VALUES ('u1', 'Jane', 'Jane@example.com', 1, '2024-02-29T12:00:00.000Z', '2024-02-29T12:00:00.000Z'),
           ('u2', 'By GitHub', 'hub@example.com', 1, '2024-02-29T12:00:00.000Z', '2024-02-29T12:00:00.000Z'),
           ('u3', 'Jane again', 'JANE@example.com', 1, '2024-02-29T12:00:00.000Z', '2024-02-29T12:00:00.000Z');
INSERT INTO "account" ("id", "accountId", "providerId", "userId", "password", "createdAt",
        "updatedAt")
    VALUES ('a1', 'u1', 'credential', 'u1', '{hash}', '2024-02-29T12:00:00.000Z', '2024-02-29T12:00:00.000Z'),
           ('a2', '1', 'github', 'u2', NULL, '2024-02-29T12:00:00.000Z', '2024-02-29T12:00:00.000Z');
