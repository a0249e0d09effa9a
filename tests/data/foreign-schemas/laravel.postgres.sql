create table "users" (
    "id" bigserial not null primary key,
    "name" varchar(255) not null,
    "email" varchar(255) not null,
    "email_verified_at" timestamp(0) without time zone null,
    "password" varchar(255) not null,
    "remember_token" varchar(100) null,
    "created_at" timestamp(0) without time zone null,
    "updated_at" timestamp(0) without time zone null,
    "deleted_at" timestamp(0) without time zone null
);
alter table "users" add constraint "users_email_unique" unique ("email");
INSERT INTO users (name, email, password, email_verified_at, created_at, deleted_at)
    VALUES ('Jane', 'Jane@example.com', '{hash}', '2024-02-29 12:00:00', '2024-02-29 12:00:00', NULL),
           ('Gone', 'gone@example.com', '{hash}', NULL, '2024-02-29 12:00:00', '2024-02-29 12:00:00'),
           ('Jörg', 'jörg@example.com', '{hash}', NULL, '2024-02-29 12:00:00', NULL);
