//! The names of the settings, their meaning, and the detection of misspelt ones.

use std::fmt;

/// A setting's name, its default and its meaning, as `--help` prints them.
pub type Known = (&'static str, &'static str, &'static str);

/// All settings, in the order of the table in `examples/README.md`.
pub const KNOWN: [Known; 19] = [
    ("SIGNUP_ADDR", "127.0.0.1:3000", "where it listens: HOST:PORT, or a PORT of 127.0.0.1"),
    (
        "DATABASE_URL",
        "sqlite://signup.db",
        "sqlite://PATH, sqlite::memory:, postgres://…, mysql://… (features) or memory:",
    ),
    ("SIGNUP_JWT_SECRET", "a random one", "32 bytes or more: `openssl rand -hex 32` makes one"),
    (
        "SIGNUP_REPLAY_SECRET",
        "derived from the JWT secret",
        "another one, of which the answers to retries are derived",
    ),
    (
        "SIGNUP_VERIFICATION",
        "off",
        "first or after: a mailed code verifies the address (a feature)",
    ),
    ("SMTP_URL", "none, codes are printed", "smtps://… or smtp://…?tls=required (a feature)"),
    ("SIGNUP_MAIL_FROM", "no-reply@localhost", "the sender of mails: Name <address>"),
    ("SIGNUP_HASH_WORKERS", "the cores", "hashes at a time, 1024 at most"),
    ("SIGNUP_HASH_QUEUE", "256", "hashes waiting"),
    ("SIGNUP_HASH_DEADLINE_MS", "5000", "how long one may wait"),
    ("SIGNUP_RATE_LIMIT", "20/min", "sign-ups of a client, by s, min, h or d; or off"),
    ("SIGNUP_TRUSTED_HOPS", "0", "proxies in front, each of which adds to X-Forwarded-For"),
    ("REDIS_URL", "none", "where instances share the limits (a feature)"),
    ("SIGNUP_REDIS_DEADLINE_MS", "50", "how long Redis may take"),
    ("SIGNUP_WEBHOOK_URL", "none", "where events of accounts are posted (a feature)"),
    ("SIGNUP_WEBHOOK_SECRET", "none", "whsec_ and base64: the secret that signs them"),
    ("SIGNUP_WEBHOOK_DEADLINE_MS", "10000", "how long the receiver may take"),
    ("RUST_LOG", "info", "which logs are printed (the feature tracing)"),
    ("SIGNUP_CORS_ORIGIN", "none", "another origin whose pages may sign up"),
];

/// A name with at most this many wrong letters is a misspelt setting.
const MISSPELT: usize = 2;

pub fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|(known, ..)| *known == name)
}

/// Returns the text of `--help`.
pub fn help() -> String {
    let lines = KNOWN.iter().map(|(name, default, meaning)| {
        format!("  {name:<24}  {meaning}\n  {:<24}  default: {default}\n", "")
    });
    format!("Settings are environment variables:\n\n{}", lines.collect::<String>())
}

/// A variable with our prefix that is not a setting. It does not end the server: if a
/// service is called `signup`, Kubernetes sets `SIGNUP_PORT` and others.
#[derive(Debug, PartialEq, Eq)]
pub struct Unknown {
    name: String,
    nearest: &'static str,
}

impl Unknown {
    /// Checks a variable's name, and rejects a misspelt setting.
    pub fn of(name: &str) -> Result<Option<Self>, String> {
        let Some(rest) = name.strip_prefix("SIGNUP_").filter(|_| !is_known(name)) else {
            return Ok(None);
        };
        let distance = |known: &str| distance(rest, known.trim_start_matches("SIGNUP_"));
        let near = KNOWN.iter().map(|(known, ..)| (distance(known), *known)).min();
        match near {
            Some((wrong, nearest)) if wrong <= MISSPELT => {
                Err(format!("{name} is no setting of this server: did you mean {nearest}?"))
            }
            Some((_, nearest)) => Ok(Some(Self { name: name.to_owned(), nearest })),
            None => Ok(None),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nearest } = self;
        write!(f, "{name} is no setting of this server, the nearest is {nearest}: see --help")
    }
}

/// Counts the letters to insert, delete or replace (Levenshtein's distance).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<_> = (0..=to.chars().count()).collect();
    for (number, letter) in from.chars().enumerate() {
        let mut next = vec![number + 1];
        for (other, above) in to.chars().zip(row.windows(2)) {
            let [diagonal, up] = above else { continue };
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(letter != other)).min(up + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
