create table `users` (
    `id` bigint unsigned not null auto_increment primary key,
    `name` varchar(255) not null,
    `email` varchar(255) not null,
    `email_verified_at` timestamp null,
    `password` varchar(255) not null,
    `remember_token` varchar(100) null,
    `created_at` timestamp null,
    `updated_at` timestamp null,
    `deleted_at` timestamp null
) default character set utf8mb4 collate 'utf8mb4_unicode_ci';
alter table `users` add unique `users_email_unique`(`email`);
SET time_zone = '+00:00';
INSERT INTO users (name, email, password, email_verified_at, created_at, deleted_at)
    VALUES ('Jane', 'Jane@example.com', '{hash}', '2024-02-29 12:00:00', '2024-02-29 12:00:00', NULL),
           ('Gone', 'gone@example.com', '{hash}', NULL, '2024-02-29 12:00:00', '2024-02-29 12:00:00'),
           ('Jörg', 'jörg@example.com', '{hash}', NULL, '2024-02-29 12:00:00', NULL);
