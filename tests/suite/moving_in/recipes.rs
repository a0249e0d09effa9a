//! The recipes of `docs/moving-in.md`, as they stand there.

use signup::store::{AccountColumn, TableMap, TimeFormat};

pub mod laravel {
    use super::*;

    pub fn users(time: TimeFormat) -> TableMap {
        TableMap::new("users")
            .column(AccountColumn::PasswordHash, "password")
            .time(AccountColumn::CreatedAt, time)
            .time(AccountColumn::EmailVerifiedAt, time)
            .fill_with("name", "?", |new| {
                new.name().unwrap_or_default().chars().take(255).collect()
            })
            .exclude("deleted_at IS NOT NULL")
    }

    pub const POSTGRES: &str = "ALTER TABLE users ALTER COLUMN email TYPE varchar(256);";
    pub const MYSQL: &str = "
ALTER TABLE users
    MODIFY email varchar(256) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL;";
    pub const AFTER: &str = "UPDATE users SET account_name = nullif(name, '');";
}

pub mod devise {
    use super::*;

    pub fn users() -> TableMap {
        TableMap::new("users")
            .column(AccountColumn::PasswordHash, "encrypted_password")
            .time(AccountColumn::CreatedAt, TimeFormat::DateTime)
            .column(AccountColumn::EmailVerifiedAt, "confirmed_at")
            .time(AccountColumn::EmailVerifiedAt, TimeFormat::DateTime)
            .fill("updated_at", "CURRENT_TIMESTAMP")
            .disabled_if("locked_at IS NOT NULL")
    }
}

pub mod django {
    use super::*;

    pub fn users(time: TimeFormat) -> TableMap {
        TableMap::new("auth_user")
            .column(AccountColumn::PasswordHash, "password")
            .column(AccountColumn::CreatedAt, "date_joined")
            .time(AccountColumn::CreatedAt, time)
            .fill_with("username", "?", |new| new.id().as_str().to_owned())
            .fill("first_name", "''")
            .fill("last_name", "''")
            .fill("is_superuser", "false")
            .fill("is_staff", "false")
            .fill("is_active", "true")
            .disabled_if("NOT is_active")
    }

    pub const POSTGRES: &str = "ALTER TABLE auth_user ALTER COLUMN email TYPE varchar(256);";
    pub const MYSQL: &str = "ALTER TABLE auth_user MODIFY email varchar(256) NOT NULL;";
}

pub mod wordpress {
    use super::*;

    pub fn users() -> TableMap {
        TableMap::new("wp_users")
            .primary_key("ID")
            .column(AccountColumn::Email, "user_email")
            .column(AccountColumn::PasswordHash, "user_pass")
            .column(AccountColumn::CreatedAt, "user_registered")
            .time(AccountColumn::CreatedAt, TimeFormat::DateTime)
            .fill_with("user_login", "?", |new| new.id().as_str().to_owned())
            .fill_with("user_nicename", "?", |new| new.id().as_str().to_owned())
            .fill_with("display_name", "?", |new| {
                new.name().unwrap_or_default().chars().take(250).collect()
            })
    }

    pub const MYSQL: &str = "
SET SESSION sql_mode = '';
ALTER TABLE wp_users
    MODIFY user_email varchar(256) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '';
UPDATE wp_users SET user_registered = '1970-01-02' WHERE user_registered = '0000-00-00';";
    pub const AFTER: &str = "UPDATE wp_users SET account_name = nullif(display_name, '');";
}

pub mod phoenix {
    use super::*;

    pub fn users() -> TableMap {
        TableMap::new("users")
            .column(AccountColumn::PasswordHash, "hashed_password")
            .column(AccountColumn::CreatedAt, "inserted_at")
            .time(AccountColumn::CreatedAt, TimeFormat::DateTime)
            .column(AccountColumn::EmailVerifiedAt, "confirmed_at")
            .time(AccountColumn::EmailVerifiedAt, TimeFormat::DateTime)
            .fill("updated_at", "CURRENT_TIMESTAMP")
    }
}

pub mod prisma {
    use super::*;

    pub fn users() -> TableMap {
        TableMap::new("User")
            .column(AccountColumn::Name, "name")
            .column(AccountColumn::PasswordHash, "password")
            .column(AccountColumn::CreatedAt, "createdAt")
            .time(AccountColumn::CreatedAt, TimeFormat::DateTime)
            .fill("updatedAt", "CURRENT_TIMESTAMP")
    }

    pub fn users_in_sqlite() -> TableMap {
        TableMap::new("User")
            .column(AccountColumn::Name, "name")
            .column(AccountColumn::PasswordHash, "password")
            .fill("createdAt", "unixepoch() * 1000")
            .fill("updatedAt", "unixepoch() * 1000")
    }

    pub const MYSQL: &str = "
ALTER TABLE `User`
    MODIFY email varchar(256) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    MODIFY name varchar(256) NULL;";
    pub const SQLITE: &str = r#"
ALTER TABLE "User" ADD COLUMN created_at integer;
UPDATE "User" SET created_at = "createdAt";"#;
}

pub mod supabase {
    use super::*;

    pub fn users() -> TableMap {
        TableMap::new("users")
            .time(AccountColumn::CreatedAt, TimeFormat::Timestamp)
            .column(AccountColumn::EmailVerifiedAt, "email_confirmed_at")
            .time(AccountColumn::EmailVerifiedAt, TimeFormat::Timestamp)
            .disabled_if("banned_until > now()")
    }

    pub const POSTGRES: &str = "
CREATE TABLE users AS
    SELECT id, email::text, nullif(encrypted_password, '')::text AS password_hash, created_at,
           email_confirmed_at, banned_until
    FROM auth.users
    WHERE email IS NOT NULL AND deleted_at IS NULL AND NOT is_anonymous AND NOT is_sso_user;
ALTER TABLE users ADD PRIMARY KEY (id), ALTER COLUMN id SET DEFAULT gen_random_uuid();";
}

pub mod better_auth {
    use super::*;

    pub fn users() -> TableMap {
        TableMap::new("user")
            .column(AccountColumn::CreatedAt, "createdAt")
            .time(AccountColumn::CreatedAt, TimeFormat::Timestamp)
            .column(AccountColumn::EmailVerifiedAt, "verified_at")
            .time(AccountColumn::EmailVerifiedAt, TimeFormat::Timestamp)
            .fill_with("id", "?", |new| new.id().as_str().to_owned())
            .fill_with("name", "?", |new| {
                new.name().unwrap_or_default().chars().take(255).collect()
            })
            .fill("emailVerified", "false")
            .fill("updatedAt", "CURRENT_TIMESTAMP")
    }

    pub const POSTGRES: &str = r#"
ALTER TABLE "user" ADD COLUMN password_hash text, ADD COLUMN verified_at timestamptz;
UPDATE "user" SET verified_at = "createdAt" WHERE "emailVerified";
UPDATE "user" SET password_hash = (SELECT a.password FROM account a
    WHERE a."userId" = "user".id AND a."providerId" = 'credential');"#;
    pub const SQLITE: &str = r#"
ALTER TABLE "user" ADD COLUMN password_hash text;
ALTER TABLE "user" ADD COLUMN verified_at date;
UPDATE "user" SET verified_at = "createdAt" WHERE "emailVerified";
UPDATE "user" SET password_hash = (SELECT a.password FROM account a
    WHERE a."userId" = "user".id AND a."providerId" = 'credential');"#;
    pub const MYSQL: &str = "
ALTER TABLE user ADD COLUMN password_hash varchar(255), ADD COLUMN verified_at timestamp(3) NULL,
    MODIFY email varchar(256) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL;
UPDATE user SET verified_at = createdAt WHERE emailVerified;
UPDATE user SET password_hash = (SELECT a.password FROM account a
    WHERE a.userId = user.id AND a.providerId = 'credential');";
    pub const AFTER: &str = r#"UPDATE "user" SET account_name = nullif(name, '');"#;
    pub const MYSQL_AFTER: &str = "UPDATE user SET account_name = nullif(name, '');";
}

pub mod fastapi_users {
    use super::*;

    pub fn users(new_id: &str) -> TableMap {
        TableMap::new("user")
            .column(AccountColumn::PasswordHash, "hashed_password")
            .fill("id", new_id)
            .fill("is_active", "true")
            .fill("is_superuser", "false")
            .fill("is_verified", "false")
            .disabled_if("NOT is_active")
    }

    pub const AFTER: &str =
        r#"UPDATE "user" SET email_verified_at = created_at WHERE is_verified;"#;
}

/// The text of this file between two lines, without its indentation.
fn texts() -> Vec<String> {
    let source = include_str!("recipes.rs").replace("\r\n", "\n");
    let mut texts = Vec::new();
    let mut function: Option<String> = None;
    for line in source.lines().take_while(|line| !line.starts_with("/// The text of this file")) {
        let line = line.strip_prefix("    ").unwrap_or(line);
        if let Some(signature) = line.strip_prefix("pub fn ") {
            function = Some(format!("fn {signature}\n"));
        } else if let Some(text) = &mut function {
            text.push_str(line);
            text.push('\n');
            if line == "}" {
                texts.extend(function.take());
            }
        }
    }
    texts
}

#[test]
fn the_guide_has_each_recipe() {
    let guide = include_str!("../../../docs/moving-in.md").replace("\r\n", "\n");
    let maps = texts();
    assert_eq!(maps.len(), 10);
    let sql = [
        laravel::POSTGRES,
        laravel::MYSQL,
        laravel::AFTER,
        django::POSTGRES,
        django::MYSQL,
        wordpress::MYSQL,
        wordpress::AFTER,
        prisma::MYSQL,
        prisma::SQLITE,
        supabase::POSTGRES,
        better_auth::POSTGRES,
        better_auth::SQLITE,
        better_auth::MYSQL,
        better_auth::AFTER,
        better_auth::MYSQL_AFTER,
        fastapi_users::AFTER,
    ];
    for text in maps.iter().map(String::as_str).chain(sql) {
        assert!(guide.contains(text.trim()), "the guide lacks:\n{text}");
    }
}
