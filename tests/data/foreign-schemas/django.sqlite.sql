CREATE TABLE "auth_user" (
    "id" integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    "password" varchar(128) NOT NULL,
    "last_login" datetime NULL,
    "is_superuser" bool NOT NULL,
    "username" varchar(150) NOT NULL UNIQUE,
    "last_name" varchar(150) NOT NULL,
    "email" varchar(254) NOT NULL,
    "is_staff" bool NOT NULL,
    "is_active" bool NOT NULL,
    "date_joined" datetime NOT NULL,
    "first_name" varchar(150) NOT NULL
);
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff,
        is_active, date_joined)
    VALUES ('{hash}', false, 'jane', '', '', 'Jane@example.com', false, true, '2024-02-29 12:00:00.123456'),
           ('{hash}', false, 'gone', '', '', 'gone@example.com', false, false, '2024-02-29 12:00:00.123456'),
           ('{hash}', false, 'twin', '', '', 'JANE@example.com', false, true, '2024-02-29 12:00:00.123456'),
           ('{hash}', false, 'umlaut', '', '', 'jörg@example.com', false, true, '2024-02-29 12:00:00.123456');
