//! The settings of the example servers: what is read, and what is refused with which
//! words.

use std::ffi::OsString;
use std::time::Duration;

use signup::idempotency::ReplaySecret;

#[path = "../../examples/support/settings.rs"]
mod example;

use example::known::{KNOWN, help};
use example::values::{Address, Database, Origin, rate_limit};
use example::{Features, Settings};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const REPLAY_SECRET: &str = "fedcba9876543210fedcba9876543210";
const ALL: Features = Features {
    mysql: true,
    postgres: true,
    redis: true,
    smtp: true,
    verification: true,
    webhooks: true,
};
const NONE: Features = Features {
    mysql: false,
    postgres: false,
    redis: false,
    smtp: false,
    verification: false,
    webhooks: false,
};

fn read(variables: &[(&str, &str)], built_with: Features) -> Result<Settings, String> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    Settings::read(variables, built_with)
}

/// Returns the error for invalid settings.
#[track_caller]
fn refusal(variables: &[(&str, &str)], built_with: Features) -> String {
    let read = read(variables, built_with);
    read.err().unwrap_or_else(|| panic!("{variables:?} is accepted"))
}

#[test]
fn nothing_set_is_the_library_s_defaults_and_two_warnings() {
    let settings = read(&[("PATH", "/bin"), ("HOME", " ")], NONE).unwrap();
    assert_eq!(settings.addr, Address("127.0.0.1:3000".to_owned()));
    assert_eq!(settings.database, Database::Sqlite("sqlite://signup.db".to_owned()));
    assert_eq!(settings.rate_limit.unwrap().to_string(), "20/min");
    assert!(settings.workers.is_none() && settings.queue.is_none());
    assert!(settings.redis.is_none() && settings.cors_origin.is_none());
    assert_eq!((settings.trusted_hops, settings.jwt_secret), (0, None));
    let [tokens, retries] = settings.warnings.as_slice() else { panic!("{:?}", settings.warnings) };
    assert!(tokens.starts_with("SIGNUP_JWT_SECRET is not set: "), "{tokens}");
    assert!(retries.starts_with("SIGNUP_REPLAY_SECRET is not set: it is derived"), "{retries}");
    for warning in [tokens, retries] {
        assert!(warning.contains("`openssl rand -hex 32`"), "{warning}");
    }
}

#[test]
fn each_setting_is_read() {
    let settings = [
        ("SIGNUP_JWT_SECRET", SECRET),
        ("SIGNUP_REPLAY_SECRET", REPLAY_SECRET),
        ("SIGNUP_ADDR", "0.0.0.0:80"),
        ("DATABASE_URL", "postgres://u:p@db/app"),
        ("SIGNUP_HASH_WORKERS", "1024"),
        ("SIGNUP_HASH_QUEUE", "1"),
        ("SIGNUP_HASH_DEADLINE_MS", "250"),
        ("SIGNUP_RATE_LIMIT", "off"),
        ("SIGNUP_TRUSTED_HOPS", "2"),
        ("REDIS_URL", "redis://cache"),
        ("SIGNUP_REDIS_DEADLINE_MS", "75"),
        ("SIGNUP_CORS_ORIGIN", "https://a.example"),
        ("SIGNUP_VERIFICATION", "first"),
        ("SMTP_URL", "smtps://u:p@smtp.example.com"),
        ("SIGNUP_MAIL_FROM", "Kim <kim@example.com>"),
        ("SIGNUP_WEBHOOK_URL", "http://billing/events"),
        ("SIGNUP_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("SIGNUP_WEBHOOK_DEADLINE_MS", "500"),
    ];
    let settings = read(&settings, ALL).unwrap();
    assert_eq!(settings.jwt_secret.as_deref(), Some(SECRET.as_bytes()));
    let replay_secret = ReplaySecret::new(REPLAY_SECRET.as_bytes()).unwrap();
    assert_eq!(settings.replay_secret.unwrap().version(), replay_secret.version());
    assert_eq!(settings.addr, Address("0.0.0.0:80".to_owned()));
    assert_eq!(settings.database, Database::Postgres("postgres://u:p@db/app".to_owned()));
    assert_eq!((settings.workers, settings.queue), (Some(1024), Some(1)));
    assert_eq!(settings.hash_deadline, Some(Duration::from_millis(250)));
    assert_eq!((settings.rate_limit, settings.trusted_hops), (None, 2));
    let redis = settings.redis.unwrap();
    assert_eq!((redis.url.as_str(), redis.deadline), ("redis://cache", Duration::from_millis(75)));
    assert_eq!(settings.cors_origin, Some(Origin("https://a.example".to_owned())));
    let mails = settings.mails.unwrap();
    assert_eq!(mails.smtp.as_deref(), Some("smtps://u:p@smtp.example.com"));
    assert_eq!(mails.from, "Kim <kim@example.com>");
    let webhook = settings.webhook.unwrap();
    assert_eq!(webhook.url, "http://billing/events");
    assert_eq!(webhook.secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert_eq!(webhook.deadline, Duration::from_millis(500));
    assert_eq!(settings.warnings, [] as [String; 0]);
}

#[test]
fn a_webhook_has_a_secret_and_its_feature() {
    let url = [("SIGNUP_WEBHOOK_URL", "https://u:s3cret@x.co")];
    let said = refusal(&url, ALL);
    assert!(
        said.contains("SIGNUP_WEBHOOK_SECRET is not set") && !said.contains("s3cret"),
        "{said}"
    );
    let said = refusal(&url, NONE);
    assert!(said.ends_with("built without the feature webhooks"), "{said}");
}

#[test]
fn addresses_are_proven_where_it_is_asked_for_and_built_in() {
    let both = [("SIGNUP_JWT_SECRET", SECRET), ("SIGNUP_REPLAY_SECRET", REPLAY_SECRET)];
    let with = |mode| [both[0], both[1], ("SIGNUP_VERIFICATION", mode)];
    assert!(read(&with("off"), NONE).unwrap().mails.is_none());
    let printed = read(&with("first"), ALL).unwrap();
    assert_eq!(printed.mails.unwrap().smtp, None);
    assert_eq!(printed.warnings, ["SMTP_URL is not set: codes are printed here"]);
    assert_eq!(refusal(&with("later"), ALL), "SIGNUP_VERIFICATION: set it to off, first or after");
    let said = refusal(&with("first"), NONE);
    assert!(said.ends_with("built without the feature verification"), "{said}");
    let smtp = [("SIGNUP_VERIFICATION", "first"), ("SMTP_URL", "smtps://u:s3cret@x.co")];
    let said = refusal(&smtp, Features { smtp: false, ..ALL });
    assert!(said.ends_with("without the feature smtp") && !said.contains("s3cret"), "{said}");
}

#[test]
fn an_address_is_what_people_type() {
    for (text, expected) in [
        ("127.0.0.1:3000", "127.0.0.1:3000"),
        ("[::1]:3000", "[::1]:3000"),
        ("localhost:3003", "localhost:3003"),
        ("db-1.internal:80", "db-1.internal:80"),
        (":3003", "127.0.0.1:3003"),
        ("3000", "127.0.0.1:3000"),
        ("0", "127.0.0.1:0"),
    ] {
        assert_eq!(Address::parse(text), Ok(Address(expected.to_owned())), "{text}");
    }
    for text in ["", ":", "localhost", "127.0.0.1", "::1:3000", "65536", "http://x.co:80", "a b:1"]
    {
        let said = Address::parse(text).unwrap_err();
        assert!(said.contains("set it to HOST:PORT"), "{text}: {said}");
    }
}

#[test]
fn a_database_is_a_url_of_a_store_that_is_built_in() {
    for (url, expected) in [
        ("memory:", Database::Memory),
        ("sqlite::memory:", Database::Sqlite("sqlite::memory:".to_owned())),
        ("sqlite://signup.db", Database::Sqlite("sqlite://signup.db".to_owned())),
        ("sqlite:///memory", Database::Sqlite("sqlite:///memory".to_owned())),
        ("sqlite://memory.db", Database::Sqlite("sqlite://memory.db".to_owned())),
        ("postgresql://db/app", Database::Postgres("postgresql://db/app".to_owned())),
        ("mysql://db/app", Database::MySql("mysql://db/app".to_owned())),
    ] {
        assert_eq!(Database::parse(url, ALL), Ok(expected), "{url}");
    }
    for (url, expected) in [
        ("sqlite:memory", "write sqlite::memory:"),
        ("sqlite://memory", "write sqlite::memory:"),
        ("sqlite:memory?cache=shared", "write sqlite::memory:"),
        ("sqlite:memory:", "write sqlite::memory:"),
        (":memory:", "write sqlite::memory:"),
        ("memory", "none of sqlite://PATH, sqlite::memory:, postgres://"),
        ("", "none of"),
        ("oracle://u:s3cret@db/app", "none of"),
        ("mysql://u:s3cret@db/app", "this server is built without the feature mysql"),
        ("postgres://u:s3cret@db/app", "this server is built without the feature postgres"),
        ("postgresql://u:s3cret@db/app", "this server is built without the feature postgres"),
    ] {
        let said = Database::parse(url, NONE).unwrap_err();
        assert!(said.contains(expected) && !said.contains("s3cret"), "{url}: {said}");
    }
}

#[test]
fn a_rate_limit_has_units_in_words_too() {
    for (text, expected) in [
        ("20/min", "20/min"),
        ("20/minute", "20/min"),
        ("1/second", "1/s"),
        ("1/sec", "1/s"),
        ("100/hour", "100/h"),
        ("5/days", "5/d"),
    ] {
        assert_eq!(rate_limit(text).unwrap().unwrap().to_string(), expected, "{text}");
    }
    assert_eq!(rate_limit("off"), Ok(None));
    for text in ["", "20", "20/", "0/min", "-1/min", "20/month", "/minute", "no"] {
        assert!(rate_limit(text).unwrap_err().contains("such as 20/min"), "{text}");
    }
}

#[test]
fn an_origin_is_one_that_a_browser_sends() {
    for text in [
        "http://localhost:5173",
        "https://a.example",
        "https://a.example:80",
        "http://[::1]:8080",
        "http://127.0.0.1:81",
    ] {
        assert_eq!(Origin::parse(text), Ok(Origin(text.to_owned())), "{text}");
    }
    for (text, expected) in [
        ("http://a.example:80", "leaves the default port out"),
        ("https://a.example:443", "leaves the default port out"),
        ("https://user@a.example", "has no user"),
        ("https://user:s3cret@a.example", "has no user"),
        ("http://x.co/", "no slash, no path"),
        ("http://x.co/app", "no slash, no path"),
        ("http://x.co?", "no slash, no path"),
        ("http://X.co", "lower case"),
        ("HTTP://x.co", "lower case"),
        ("http://x.co:", "port"),
        ("http://x.co:08080", "port"),
        ("x.co", "no origin"),
        ("*", "no origin"),
        ("null", "no origin"),
        ("", "no origin"),
        ("http://a.example, http://b.example", "no origin"),
    ] {
        let said = Origin::parse(text).unwrap_err();
        assert!(said.contains(expected) && !said.contains("s3cret"), "{text}: {said}");
    }
}

#[test]
fn a_refusal_names_its_variable() {
    let numbers = ["SIGNUP_HASH_WORKERS", "SIGNUP_HASH_QUEUE", "SIGNUP_HASH_DEADLINE_MS"];
    for name in numbers.into_iter().chain(["SIGNUP_REDIS_DEADLINE_MS", "SIGNUP_TRUSTED_HOPS"]) {
        for value in ["many", "-1", "", "1.5", "100000000"] {
            let said = refusal(&[(name, value)], NONE);
            let expected = format!("{name}: `{value}` is no number from ");
            assert!(said.starts_with(&expected), "{said}");
        }
    }
    for name in numbers {
        assert!(refusal(&[(name, "0")], NONE).starts_with(&format!("{name}: `0` is no number")));
    }
    for (name, value) in [
        ("SIGNUP_ADDR", "localhost"),
        ("DATABASE_URL", "postgres://db/app"),
        ("SIGNUP_RATE_LIMIT", "20"),
        ("REDIS_URL", "redis://cache"),
        ("SIGNUP_CORS_ORIGIN", "*"),
        ("SIGNUP_HASH_WORKERS", "100000"),
    ] {
        let said = refusal(&[(name, value)], NONE);
        assert!(said.starts_with(&format!("{name}: ")) && !said.contains('\n'), "{said}");
    }
    assert!(refusal(&[("REDIS_URL", "x")], NONE).ends_with("without the feature redis"));
}

#[test]
fn a_secret_is_long_enough_and_has_no_end_of_line() {
    for (secret, expected) in [
        ("", "it needs 32 or more, as `openssl rand -hex 32` prints them"),
        ("0123456789abcdef0123456789abcde", "has 31 bytes"),
        ("0123456789abcdef0123456789abcde\n", "begins or ends with white space"),
        (" 0123456789abcdef0123456789abcdef", "begins or ends with white space"),
    ] {
        let said = refusal(&[("SIGNUP_JWT_SECRET", secret)], NONE);
        assert!(said.starts_with("SIGNUP_JWT_SECRET: ") && said.contains(expected), "{said}");
        assert!(!said.contains("0123456789abcdef"), "{said}");
    }
    assert!(refusal(&[("DATABASE_URL", "sqlite://a.db\n")], NONE).contains("white space"));
    let shared = refusal(&[("REDIS_URL", "redis://cache")], ALL);
    assert!(shared.contains("one SIGNUP_JWT_SECRET"), "{shared}");
}

#[test]
fn a_secret_under_another_name_is_hinted_at() {
    let warned = read(&[("JWT_SECRET", SECRET)], NONE).unwrap().warnings;
    assert!(warned[0].contains("JWT_SECRET is, but this server does not read it"), "{warned:?}");
    let ours = [("SIGNUP_JWT_SECRET", SECRET), ("SIGNUP_REPLAY_SECRET", REPLAY_SECRET)];
    let both = [ours[0], ours[1], ("JWT_SECRET", SECRET)];
    assert_eq!(read(&both, NONE).unwrap().warnings, [] as [String; 0]);
}

#[cfg(unix)]
#[test]
fn a_setting_that_is_not_text_is_refused_and_not_ignored() {
    use std::os::unix::ffi::OsStringExt as _;
    let binary = || OsString::from_vec(vec![0xff; 32]);
    let read = |name: &str| Settings::read([(name.into(), binary())], NONE);
    let said = read("SIGNUP_JWT_SECRET").err();
    assert_eq!(said.as_deref(), Some("SIGNUP_JWT_SECRET: it is not UTF-8"));
    assert!(read("PATH").is_ok());
}

#[test]
fn the_secret_of_retries_is_another_and_as_long() {
    let said = refusal(&[("SIGNUP_REPLAY_SECRET", "canary")], NONE);
    assert!(said.starts_with("SIGNUP_REPLAY_SECRET: ") && !said.contains("canary"), "{said}");
    let same = [("SIGNUP_JWT_SECRET", SECRET), ("SIGNUP_REPLAY_SECRET", SECRET)];
    let said = refusal(&same, NONE);
    assert!(said.starts_with("SIGNUP_REPLAY_SECRET: it is SIGNUP_JWT_SECRET"), "{said}");
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn a_misspelt_setting_is_refused_and_a_strange_one_warned_of() {
    for (name, meant) in [
        ("SIGNUP_HASH_WORKER", "SIGNUP_HASH_WORKERS"),
        ("SIGNUP_JWT_SECERT", "SIGNUP_JWT_SECRET"),
        ("SIGNUP_RATELIMIT", "SIGNUP_RATE_LIMIT"),
        ("SIGNUP_DATABASE_URL", "DATABASE_URL"),
        ("SIGNUP_REDIS_URL", "REDIS_URL"),
    ] {
        let said = refusal(&[(name, "1")], NONE);
        let expected = format!("{name} is no setting of this server: did you mean {meant}?");
        assert_eq!(said, expected);
    }
    // Kubernetes sets them for a service of that name.
    for name in ["SIGNUP_PORT", "SIGNUP_SERVICE_HOST", "SIGNUP_PORT_3000_TCP_ADDR"] {
        let settings = [
            (name, "tcp://10.0.0.1:80\n"),
            ("SIGNUP_JWT_SECRET", SECRET),
            ("SIGNUP_REPLAY_SECRET", REPLAY_SECRET),
        ];
        let warned = read(&settings, NONE).unwrap().warnings;
        assert!(warned[0].starts_with(&format!("{name} is no setting of this server")));
        assert!(warned.len() == 1 && warned[0].contains("the nearest is "), "{warned:?}");
    }
}

/// The names in the table of `examples/README.md` are those that are read, in one order.
#[test]
fn help_and_the_table_have_every_setting() {
    let readme = include_str!("../../examples/README.md");
    let section = readme.split("## Settings of the servers").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let told: Vec<_> = rows.map(|row| row.split('`').next().unwrap()).collect();
    let known: Vec<_> = KNOWN.iter().map(|(name, ..)| *name).collect();
    assert_eq!(told, known);
    for (name, default, meaning) in KNOWN {
        assert!(help().contains(name) && help().contains(default) && help().contains(meaning));
    }
}
