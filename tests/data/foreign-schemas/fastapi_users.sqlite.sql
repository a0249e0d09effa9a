CREATE TABLE user (
    id CHAR(36) NOT NULL,
    email VARCHAR(320) NOT NULL,
    hashed_password VARCHAR(1024) NOT NULL,
    is_active BOOLEAN NOT NULL,
    is_superuser BOOLEAN NOT NULL,
    is_verified BOOLEAN NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_user_email ON user (email);
INSERT INTO user VALUES
    ('0193a6b0-0000-7000-8000-000000000001', 'Jane@example.com', '{hash}', true, false, true),
    ('0193a6b0-0000-7000-8000-000000000002', 'gone@example.com', '{hash}', false, false, true);
