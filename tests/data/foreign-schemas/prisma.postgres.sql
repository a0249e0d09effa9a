CREATE TABLE "User" (
    "id" SERIAL NOT NULL,
    "email" TEXT NOT NULL,
    "name" TEXT,
    "password" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "User_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
INSERT INTO "User" ("email", "name", "password", "createdAt", "updatedAt")
    VALUES ('Jane@example.com', 'Jane', '{hash}', '2024-02-29 12:00', '2024-02-29 12:00'),
           ('JANE@example.com', NULL, '{hash}', '2024-02-29 12:00', '2024-02-29 12:00'),
           ('hub@example.com', NULL, NULL, '2024-02-29 12:00', '2024-02-29 12:00');
