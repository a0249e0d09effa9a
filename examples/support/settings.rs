//! The settings of the example servers, which are environment variables.

#![allow(dead_code, reason = "each server uses its part")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

use signup::idempotency::ReplaySecret;
use signup::limit::Quota;
use signup::token::SigningKey;

#[path = "settings/known.rs"]
pub mod known;
#[path = "settings/values.rs"]
pub mod values;

use known::Unknown;
use values::{Address, Database, Origin, rate_limit};

/// An error for the person at the terminal.
type Complaint = String;

/// More workers than cores only wait for each other: this many are a typing error.
const WORKERS: RangeInclusive<u64> = 1..=1024;
const QUEUE: RangeInclusive<u64> = 1..=1_000_000;
/// An hour: a client that waits longer has left.
const MILLIS: RangeInclusive<u64> = 1..=3_600_000;
const HOPS: RangeInclusive<u64> = 0..=100;

const SECRET: &str = "SIGNUP_JWT_SECRET";
const REPLAY_SECRET: &str = "SIGNUP_REPLAY_SECRET";
/// The command that makes a secret.
const MAKE_ONE: &str = "`openssl rand -hex 32` makes one";

/// Features of the crate that a setting may need.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "a feature is on or off")]
pub struct Features {
    pub mysql: bool,
    pub postgres: bool,
    pub redis: bool,
    pub smtp: bool,
    pub verification: bool,
    pub webhooks: bool,
}

impl Features {
    /// The features of this build.
    pub const HERE: Self = Self {
        mysql: cfg!(feature = "mysql"),
        postgres: cfg!(feature = "postgres"),
        redis: cfg!(feature = "redis"),
        smtp: cfg!(feature = "smtp"),
        verification: cfg!(feature = "verification"),
        webhooks: cfg!(feature = "webhooks"),
    };
}

/// The settings. `None` means the library's default.
pub struct Settings {
    pub addr: Address,
    pub cors_origin: Option<Origin>,
    pub database: Database,
    pub jwt_secret: Option<Vec<u8>>,
    pub replay_secret: Option<ReplaySecret>,
    /// The mails that verify addresses, if they are verified.
    pub mails: Option<Mails>,
    pub workers: Option<u64>,
    pub queue: Option<u64>,
    pub hash_deadline: Option<Duration>,
    pub rate_limit: Option<Quota>,
    pub redis: Option<Redis>,
    pub trusted_hops: u64,
    /// The receiver of events, if they are posted.
    pub webhook: Option<Webhook>,
    /// Warnings to print when the server has started.
    pub warnings: Vec<Complaint>,
}

/// When addresses are verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    First,
    After,
}

/// The email verification, and the transport of its mails: SMTP, or none, where codes are
/// printed.
pub struct Mails {
    pub when: When,
    pub smtp: Option<String>,
    pub from: String,
}

/// The receiver of events, the secret that signs them, and the time limit of an attempt.
pub struct Webhook {
    pub url: String,
    pub secret: String,
    pub deadline: Duration,
}

/// The Redis in which instances share their limits, and its time limit.
pub struct Redis {
    pub url: String,
    pub deadline: Duration,
}

impl Settings {
    /// Reads the settings, and rejects the first invalid one.
    pub fn read(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        built_with: Features,
    ) -> Result<Self, Complaint> {
        let variables = Variables::of(variables)?;
        let jwt_secret = variables.secret()?;
        let redis = variables.redis(built_with)?;
        if redis.is_some() && jwt_secret.is_none() {
            return Err(format!(
                "REDIS_URL: instances that share limits have one {SECRET}: {MAKE_ONE}"
            ));
        }
        Ok(Self {
            addr: variables.parsed("SIGNUP_ADDR", Address::parse)?.unwrap_or_default(),
            cors_origin: variables.parsed("SIGNUP_CORS_ORIGIN", Origin::parse)?,
            database: variables
                .parsed("DATABASE_URL", |url| Database::parse(url, built_with))?
                .unwrap_or_default(),
            replay_secret: variables.replay_secret()?,
            mails: variables.mails(built_with)?,
            workers: variables.number("SIGNUP_HASH_WORKERS", WORKERS)?,
            queue: variables.number("SIGNUP_HASH_QUEUE", QUEUE)?,
            hash_deadline: variables.millis("SIGNUP_HASH_DEADLINE_MS")?,
            rate_limit: rate_limit(variables.text("SIGNUP_RATE_LIMIT").unwrap_or("20/min"))
                .map_err(|reason| format!("SIGNUP_RATE_LIMIT: {reason}"))?,
            trusted_hops: variables.number("SIGNUP_TRUSTED_HOPS", HOPS)?.unwrap_or(0),
            webhook: variables.webhook(built_with)?,
            warnings: variables.warnings(),
            redis,
            jwt_secret,
        })
    }
}

/// The environment: settings and anything else.
struct Variables {
    texts: BTreeMap<String, String>,
    unknown: Vec<Unknown>,
}

impl Variables {
    /// Keeps the settings, each of which must be text without a stray line end: a file that
    /// became a variable has one, and it would be part of a secret or a path.
    fn of(all: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Complaint> {
        let (mut texts, mut unknown) = (BTreeMap::new(), Vec::new());
        for (name, value) in all {
            let Ok(name) = name.into_string() else { continue };
            if let Some(stranger) = Unknown::of(&name)? {
                unknown.push(stranger);
            }
            if !known::is_known(&name) && name != "JWT_SECRET" {
                continue;
            }
            let value = value.into_string().map_err(|_| format!("{name}: it is not UTF-8"))?;
            if known::is_known(&name) && value.trim() != value {
                return Err(format!(
                    "{name}: it begins or ends with white space, such as the end of a line: \
                     take that away"
                ));
            }
            texts.insert(name, value);
        }
        Ok(Self { texts, unknown })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Result<Option<T>, Complaint> {
        self.text(name).map(parse).transpose().map_err(|reason| format!("{name}: {reason}"))
    }

    fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Complaint> {
        self.parsed(name, |text| {
            let (least, most) = range.clone().into_inner();
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or(format!("`{text}` is no number from {least} to {most}"))
        })
    }

    fn millis(&self, name: &str) -> Result<Option<Duration>, Complaint> {
        Ok(self.number(name, MILLIS)?.map(Duration::from_millis))
    }

    fn secret(&self) -> Result<Option<Vec<u8>>, Complaint> {
        self.parsed(SECRET, |secret| {
            let secret = secret.as_bytes();
            SigningKey::hs256(secret).map_err(|error| error.to_string())?;
            Ok(secret.to_vec())
        })
    }

    fn replay_secret(&self) -> Result<Option<ReplaySecret>, Complaint> {
        self.parsed(REPLAY_SECRET, |secret| {
            if self.text(SECRET) == Some(secret) {
                return Err(format!("it is {SECRET}: take another, {MAKE_ONE}"));
            }
            ReplaySecret::new(secret.as_bytes()).map_err(|error| error.to_string())
        })
    }

    fn mails(&self, built_with: Features) -> Result<Option<Mails>, Complaint> {
        let smtp = self.text("SMTP_URL").map(str::to_owned);
        let when = match self.text("SIGNUP_VERIFICATION") {
            None | Some("off") => return Ok(None),
            Some("first") => When::First,
            Some("after") => When::After,
            Some(_) => return Err("SIGNUP_VERIFICATION: set it to off, first or after".to_owned()),
        };
        if !built_with.verification {
            let text = "SIGNUP_VERIFICATION: this server is built without the feature verification";
            return Err(text.to_owned());
        }
        if smtp.is_some() && !built_with.smtp {
            return Err("SMTP_URL: this server is built without the feature smtp".to_owned());
        }
        let from = self.text("SIGNUP_MAIL_FROM").unwrap_or("no-reply@localhost").to_owned();
        Ok(Some(Mails { when, smtp, from }))
    }

    fn redis(&self, built_with: Features) -> Result<Option<Redis>, Complaint> {
        let deadline = self.millis("SIGNUP_REDIS_DEADLINE_MS")?;
        self.parsed("REDIS_URL", |url| {
            if !built_with.redis {
                return Err("this server is built without the feature redis".to_owned());
            }
            let deadline = deadline.unwrap_or(Duration::from_millis(50));
            Ok(Redis { url: url.to_owned(), deadline })
        })
    }

    fn webhook(&self, built_with: Features) -> Result<Option<Webhook>, Complaint> {
        let deadline = self.millis("SIGNUP_WEBHOOK_DEADLINE_MS")?;
        self.parsed("SIGNUP_WEBHOOK_URL", |url| {
            if !built_with.webhooks {
                return Err("this server is built without the feature webhooks".to_owned());
            }
            let secret = self.text("SIGNUP_WEBHOOK_SECRET").ok_or(
                "SIGNUP_WEBHOOK_SECRET is not set: `echo whsec_$(openssl rand -base64 32)` makes \
                 one",
            )?;
            let deadline = deadline.unwrap_or(Duration::from_secs(10));
            Ok(Webhook { url: url.to_owned(), secret: secret.to_owned(), deadline })
        })
    }

    fn warnings(&self) -> Vec<Complaint> {
        let mut warnings: Vec<_> = self.unknown.iter().map(ToString::to_string).collect();
        if self.text(SECRET).is_none() {
            let other = match self.text("JWT_SECRET") {
                Some(_) => " (JWT_SECRET is, but this server does not read it)",
                None => "",
            };
            warnings.push(format!(
                "{SECRET} is not set{other}: tokens end with this process; {MAKE_ONE}"
            ));
        }
        if self.text(REPLAY_SECRET).is_none() {
            warnings.push(format!(
                "{REPLAY_SECRET} is not set: it is derived from that of the tokens, so that \
                 both have to be rotated together; {MAKE_ONE}"
            ));
        }
        let proves = matches!(self.text("SIGNUP_VERIFICATION"), Some("first" | "after"));
        if proves && self.text("SMTP_URL").is_none() {
            warnings.push("SMTP_URL is not set: codes are printed here".to_owned());
        }
        warnings
    }
}
