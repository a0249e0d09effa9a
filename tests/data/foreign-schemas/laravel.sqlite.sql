create table "users" (
    "id" integer primary key autoincrement not null,
    "name" varchar not null,
    "email" varchar not null,
    "email_verified_at" datetime,
    "password" varchar not null,
    "remember_token" varchar,
    "created_at" datetime,
    "updated_at" datetime,
    "deleted_at" datetime
);
create unique index "users_email_unique" on "users" ("email");
INSERT INTO users (name, email, password, email_verified_at, created_at, deleted_at)
    VALUES ('Jane', 'Jane@example.com', '{hash}', '2024-02-29 12:00:00', '2024-02-29 12:00:00', NULL),
           ('Gone', 'gone@example.com', '{hash}', NULL, '2024-02-29 12:00:00', '2024-02-29 12:00:00'),
           ('Jörg', 'jörg@example.com', '{hash}', NULL, '2024-02-29 12:00:00', NULL);
