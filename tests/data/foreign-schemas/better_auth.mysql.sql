create table `user` (`id` varchar(36) not null primary key, `name` varchar(255) not null, `email` varchar(255) not null unique, `emailVerified` boolean not null, `image` text, `createdAt` timestamp(3) default CURRENT_TIMESTAMP(3) not null, `updatedAt` timestamp(3) default CURRENT_TIMESTAMP(3) not null) character set utf8mb4;
create table `account` (`id` varchar(36) not null primary key, `accountId` text not null, `providerId` text not null, `userId` varchar(36) not null references `user` (`id`) on delete cascade, `accessToken` text, `refreshToken` text, `idToken` text, `accessTokenExpiresAt` timestamp(3) null, `refreshTokenExpiresAt` timestamp(3) null, `scope` text, `password` text, `createdAt` timestamp(3) default CURRENT_TIMESTAMP(3) not null, `updatedAt` timestamp(3) not null) character set utf8mb4;
SET time_zone = '+00:00';
INSERT INTO `user` (`id`, `name`, `email`, `emailVerified`, `createdAt`, `updatedAt`)
    VALUES ('u1', 'Jane', 'Jane@example.com', true, '2024-02-29 12:00', '2024-02-29 12:00'),
           ('u2', 'By GitHub', 'hub@example.com', true, '2024-02-29 12:00', '2024-02-29 12:00');
INSERT INTO `account` (`id`, `accountId`, `providerId`, `userId`, `password`, `createdAt`,
        `updatedAt`)
    VALUES ('a1', 'u1', 'credential', 'u1', '{hash}', now(), now()),
           ('a2', '1', 'github', 'u2', NULL, now(), now());
