CREATE TABLE "User" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "email" TEXT NOT NULL,
    "name" TEXT,
    "password" TEXT,
    "createdAt" DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" DATETIME NOT NULL
);
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
INSERT INTO "User" ("email", "name", "password", "createdAt", "updatedAt")
    VALUES ('Jane@example.com', 'Jane', '{hash}', 1709208000000, 1709208000000),
           ('JANE@example.com', NULL, '{hash}', 1709208000000, 1709208000000),
           ('hub@example.com', NULL, NULL, 1709208000000, 1709208000000);
