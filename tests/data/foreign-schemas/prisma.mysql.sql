CREATE TABLE `User` (
    `id` INTEGER NOT NULL AUTO_INCREMENT,
    `email` VARCHAR(191) NOT NULL,
    `name` VARCHAR(191) NULL,
    `password` VARCHAR(191) NULL,
    `createdAt` DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    `updatedAt` DATETIME(3) NOT NULL,
    UNIQUE INDEX `User_email_key`(`email`),
    PRIMARY KEY (`id`)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
INSERT INTO `User` (email, name, password, createdAt, updatedAt)
    VALUES ('Jane@example.com', 'Jane', '{hash}', '2024-02-29 12:00', '2024-02-29 12:00'),
           ('hub@example.com', NULL, NULL, '2024-02-29 12:00', '2024-02-29 12:00');
