CREATE TABLE `auth_user` (
    `id` integer AUTO_INCREMENT NOT NULL PRIMARY KEY,
    `password` varchar(128) NOT NULL,
    `last_login` datetime(6) NULL,
    `is_superuser` bool NOT NULL,
    `username` varchar(150) NOT NULL UNIQUE,
    `first_name` varchar(150) NOT NULL,
    `last_name` varchar(150) NOT NULL,
    `email` varchar(254) NOT NULL,
    `is_staff` bool NOT NULL,
    `is_active` bool NOT NULL,
    `date_joined` datetime(6) NOT NULL
) CHARACTER SET utf8mb4;
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff,
        is_active, date_joined)
    VALUES ('{hash}', false, 'jane', '', '', 'Jane@example.com', false, true, '2024-02-29 12:00'),
           ('{hash}', false, 'gone', '', '', 'gone@example.com', false, false, '2024-02-29 12:00'),
           ('{hash}', false, 'twin', '', '', 'JANE@example.com', false, true, '2024-02-29 12:00'),
           ('{hash}', false, 'umlaut', '', '', 'jörg@example.com', false, true, '2024-02-29 12:00');
