//! The values of settings, and why a value is rejected.

use std::net::SocketAddr;

use signup::limit::Quota;

use super::Features;

/// The address to listen on: a host, which may be a name, and a port.
#[derive(Debug, PartialEq, Eq)]
pub struct Address(pub String);

impl Default for Address {
    fn default() -> Self {
        Self("127.0.0.1:3000".to_owned())
    }
}

impl Address {
    /// Parses `127.0.0.1:3000`, `[::1]:3000`, `localhost:3000`, `:3000` or `3000`. A port
    /// alone means this machine only: all networks have to be named.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unreadable =
            || format!("`{text}` can't be read: set it to HOST:PORT, such as 127.0.0.1:3000");
        if text.parse::<SocketAddr>().is_ok() {
            return Ok(Self(text.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let is_name = |host: &str| {
            host.chars().all(|letter| letter.is_ascii_alphanumeric() || "-.".contains(letter))
        };
        let port: u16 = port.parse().map_err(|_| unreadable())?;
        match host {
            "" => Ok(Self(format!("127.0.0.1:{port}"))),
            host if is_name(host) => Ok(Self(format!("{host}:{port}"))),
            _ => Err(unreadable()),
        }
    }
}

/// The database of the accounts.
#[derive(Debug, PartialEq, Eq)]
pub enum Database {
    Memory,
    Sqlite(String),
    Postgres(String),
    MySql(String),
}

impl Default for Database {
    fn default() -> Self {
        Self::Sqlite("sqlite://signup.db".to_owned())
    }
}

impl Database {
    /// Parses a URL, which no error repeats: it may contain a password.
    pub fn parse(url: &str, built_with: Features) -> Result<Self, String> {
        let without = |feature| Err(format!("this server is built without the feature {feature}"));
        match url.split_once(':') {
            Some(("sqlite", rest)) if is_memory_misspelt(rest) => {
                Err("that is a file named memory: write sqlite::memory: or memory:".to_owned())
            }
            Some(("", "memory:")) => {
                Err("it has no scheme: write sqlite::memory: or memory:".to_owned())
            }
            Some(("memory", _)) => Ok(Self::Memory),
            Some(("sqlite", _)) => Ok(Self::Sqlite(url.to_owned())),
            Some(("postgres" | "postgresql", _)) if built_with.postgres => {
                Ok(Self::Postgres(url.to_owned()))
            }
            Some(("postgres" | "postgresql", _)) => without("postgres"),
            Some(("mysql" | "mariadb", _)) if built_with.mysql => Ok(Self::MySql(url.to_owned())),
            Some(("mysql" | "mariadb", _)) => without("mysql"),
            _ => {
                Err("it is none of sqlite://PATH, sqlite::memory:, postgres://…, mysql://… (both \
                      features) and memory:"
                    .to_owned())
            }
        }
    }
}

fn is_memory_misspelt(rest: &str) -> bool {
    let path = rest.split('?').next().unwrap_or_default();
    matches!(path.strip_prefix("//").unwrap_or(path), "memory" | ":memory" | "memory:")
}

/// Reads a quota by client, with units in words too; or none, from `off`.
pub fn rate_limit(text: &str) -> Result<Option<Quota>, String> {
    if text == "off" {
        return Ok(None);
    }
    let (number, unit) = text.split_once('/').unwrap_or((text, ""));
    let unit = match unit {
        "second" | "seconds" | "sec" => "s",
        "minute" | "minutes" => "min",
        "hour" | "hours" => "h",
        "day" | "days" => "d",
        other => other,
    };
    let quota = format!("{number}/{unit}").parse();
    quota.map(Some).map_err(|_| {
        format!("`{text}` can't be read: set it to `off`, or to a quota by client such as 20/min")
    })
}

/// Scheme, host and port of another site's pages, as a browser sends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(pub String);

impl Origin {
    /// Reads an origin (RFC 6454, section 6.2), and refuses what no browser sends. No
    /// complaint repeats the text, which may have a password in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let no_origin = || "it is no origin such as http://localhost:5173".to_owned();
        let uri: hyper::Uri = text.parse().map_err(|_| no_origin())?;
        let (scheme, authority) = uri.scheme_str().zip(uri.authority()).ok_or_else(no_origin)?;
        let port = authority.port_u16();
        let default = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let reason = if authority.as_str().contains('@') {
            "an origin has no user in it"
        } else if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            "a browser sends an origin in lower case"
        } else if port.is_some() && port == default {
            "a browser leaves the default port out"
        } else if text != format!("{scheme}://{authority}") {
            "an origin ends behind host and port: no slash, no path"
        } else if !is_canonical(authority) {
            "its port can't be read"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(format!("{reason}, so it would match nothing"))
    }
}

/// Returns whether a port is written as usual: not empty, and without leading zeros.
fn is_canonical(authority: &hyper::http::uri::Authority) -> bool {
    let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    authority.as_str() == format!("{}{port}", authority.host())
}
