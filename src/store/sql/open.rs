//! Errors of opening a store, without secrets.

use std::error::Error as _;
use std::fmt;

use crate::issue::BoxError;

/// The reason why a store can't be opened or brought up to date. It names the URL
/// without user, password and parameters.
#[derive(thiserror::Error)]
#[error("can't {action} the store {location}: {source}")]
pub struct OpenError {
    action: &'static str,
    location: Location,
    source: BoxError,
}

impl OpenError {
    pub(in crate::store) fn open(location: Location, source: impl Into<BoxError>) -> Self {
        Self { action: "open", location, source: source.into() }
    }

    pub(in crate::store) fn migrate(location: Location, source: impl Into<BoxError>) -> Self {
        Self { action: "migrate", location, source: source.into() }
    }
}

crate::issue::debug_by_text!(OpenError);

/// The location of a store without secrets: scheme, host and path.
#[derive(Debug, Clone)]
pub(in crate::store) struct Location(String);

impl Location {
    /// Parses a URL that may be malformed in any way, with any character in its password.
    /// Parts that could belong to a password are left out.
    pub(in crate::store) fn from_url(url: &str) -> Self {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Self("(its URL has no scheme)".to_owned());
        };
        // A scheme (RFC 3986, section 3.1); anything else may be part of a secret.
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_scheme) {
            return Self("(its URL has no scheme)".to_owned());
        }
        if scheme == "sqlite" {
            // SQLite has neither user nor password, but a user who writes them expects them
            // hidden.
            let plain = url.split('?').next().unwrap_or(url);
            return match plain.rsplit_once('@') {
                Some((_secret, path)) => Self(format!("sqlite://{path}")),
                None => Self(plain.to_owned()),
            };
        }
        match place(rest) {
            Some(place) => Self(format!("{scheme}://{place}")),
            None => Self(format!("{scheme}://…")),
        }
    }
}

/// Checks that a URL has one of these schemes: the drivers take others for names of files or
/// hosts.
pub(in crate::store) fn check_scheme(url: &str, schemes: &[&str]) -> Result<(), BoxError> {
    let scheme = url.split(':').next().unwrap_or_default();
    if url.contains(':') && schemes.contains(&scheme) {
        return Ok(());
    }
    let schemes = schemes.iter().map(|scheme| format!("`{scheme}:`")).collect::<Vec<_>>();
    Err(format!("the URL of such a store begins with {}", schemes.join(" or ")).into())
}

/// Returns host, port and path of a URL's rest, unless they could belong to a password.
fn place(rest: &str) -> Option<&str> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    // A password with an unescaped `/`, `?`, `#` or `@` ends at the last `@`. One in the
    // parameters is cut with them, and a `@` there only hides more.
    let place = rest.rsplit_once('@').map_or(rest, |(_secret, place)| place);
    let place = place.split(['?', '#']).next().unwrap_or(place);
    let authority = place.split('/').next().unwrap_or(place);
    // Without an `@`, what follows a colon may be a password. Digits are a port.
    let port = match authority.rsplit_once(']') {
        Some((_, port)) => port.strip_prefix(':').unwrap_or(port),
        None => authority.split_once(':').map_or("", |(_, port)| port),
    };
    // An empty port is the beginning of a password with a slash in it.
    if authority.ends_with(':') {
        return None;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~%:[]/".contains(&byte);
    let is_plain = place.bytes().all(plain) && port.len() <= 5;
    (is_plain && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(place)
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shortens an error for the person who starts the server: without parts that may quote a
/// password, and with the cause if the error itself only says where.
pub(in crate::store) fn readable(error: sqlx::Error) -> BoxError {
    match error {
        sqlx::Error::Configuration(_) => {
            "the URL can't be read: escape `#`, `?`, `/` and `@` in user and password as %23, \
             %3F, %2F and %40"
                .into()
        }
        other => match other.source() {
            Some(source) if other.as_database_error().is_none() => source.to_string().into(),
            _ => super::fault::without_rows(other),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_another_database_is_refused() {
        for good in ["sqlite::memory:", "sqlite://app.db", "sqlite:app.db?mode=rwc"] {
            assert!(check_scheme(good, &["sqlite"]).is_ok(), "{good}");
        }
        for bad in [
            "mysql://app",
            "Postgres://app",
            "sqlite3://app.db",
            "jdbc:sqlite:app.db",
            "file:app.db",
            "host=127.0.0.1 dbname=app",
            "sqlite",
            "",
        ] {
            let refused = check_scheme(bad, &["sqlite"]).unwrap_err().to_string();
            assert_eq!(refused, "the URL of such a store begins with `sqlite:`", "{bad}");
        }
        let refused = check_scheme("postgresql+asyncpg://db/app", &["postgres", "postgresql"]);
        let refused = refused.unwrap_err().to_string();
        assert_eq!(refused, "the URL of such a store begins with `postgres:` or `postgresql:`");
    }

    #[test]
    fn a_location_tells_no_secret() {
        let cases = [
            ("sqlite://signup.db", "sqlite://signup.db"),
            ("sqlite:///var/lib/a.db?mode=rw", "sqlite:///var/lib/a.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            (
                "postgres://u:s3cret@db.local:5432/app?sslmode=require",
                "postgres://db.local:5432/app",
            ),
            ("postgres://u:s3c@ret@db/app", "postgres://db/app"),
            ("postgres://[::1]:5432/app", "postgres://[::1]:5432/app"),
            ("postgres://db:5432/app", "postgres://db:5432/app"),
            ("s3cret", "(its URL has no scheme)"),
            ("u ser:s3cret@db/app", "(its URL has no scheme)"),
            // An unescaped `#`, `?` or `/` in the password.
            ("postgres://app:s3cret#x@db/app", "postgres://db/app"),
            ("postgres://app:s3cret?x@db/app", "postgres://db/app"),
            ("postgres://app:s3cret/x@db/app", "postgres://db/app"),
            ("postgres://app:s3cret#@127.0.0.1/x", "postgres://127.0.0.1/x"),
            // The host was forgotten.
            ("postgres://app:s3cret", "postgres://…"),
            ("postgres://app:s3cret#x", "postgres://…"),
            ("postgres:app:s3cret", "postgres://…"),
            ("postgres://db/app?password=s3cret", "postgres://db/app"),
            ("postgres://db/app?password=s3c@ret:s3cret", "postgres://…"),
        ];
        for (url, expected) in cases {
            assert_eq!(Location::from_url(url).to_string(), expected, "{url}");
        }
    }

    #[test]
    fn no_part_of_a_password_is_shown_wherever_a_special_character_stands() {
        for special in "#?/@:%[]&= \\\"'".chars() {
            for at in 0.."s3cretpw".len() {
                let mut password = "s3cretpw".to_owned();
                password.insert(at, special);
                let with_host = format!("postgres://app:{password}@db:5432/x");
                let without = format!("postgres://app:{password}");
                // A reader of the URL takes the text after an `@` for the host.
                let urls = [Some(with_host), (special != '@').then_some(without)];
                for url in urls.into_iter().flatten() {
                    let shown = Location::from_url(&url).to_string();
                    let error = OpenError::open(Location::from_url(&url), "no");
                    let secret =
                        shown.contains("cret") || shown.contains("tpw") || shown.contains("s3c");
                    assert!(!secret, "{url} is shown as {shown}");
                    assert!(!format!("{error:?} {error}").contains("cret"), "{url}");
                }
            }
        }
    }
}
