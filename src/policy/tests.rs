//! What each policy refuses, and how several are combined.

use std::sync::Mutex;

use super::*;
use crate::SignupError;
use crate::hash::FakeEngine;
use crate::service::{ConfigError, SignupServiceBuilder};
use crate::store::MemoryStore;
use crate::{SignupRequest, SignupService};

/// A host's policy, of which a test says everything.
struct Told {
    name: &'static str,
    verdict: fn() -> Result<Verdict, BoxError>,
    deadline: Option<Duration>,
    on_failure: OnFailure,
    asked: Arc<Mutex<Vec<&'static str>>>,
}

#[async_trait]
impl SignupPolicy for Told {
    async fn evaluate(&self, _: &Attempt<'_>) -> Result<Verdict, BoxError> {
        self.asked.lock().unwrap().push(self.name);
        if self.name == "slow" {
            std::future::pending::<()>().await;
        }
        (self.verdict)()
    }

    fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    fn on_failure(&self) -> OnFailure {
        self.on_failure
    }
}

type Builder = SignupServiceBuilder<MemoryStore>;

fn builder() -> Builder {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]).hash_pool(Arc::new(pool))
}

fn sign_up(builder: Builder, request: SignupRequest) -> Result<(), SignupError> {
    let service = builder.build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let result = runtime.block_on(service.signup(request)).map(drop);
    // What is refused is neither hashed nor stored.
    let done = u64::from(result.is_ok());
    assert_eq!(service.hash_pool().stats().hashes, done);
    assert_eq!(service.account_store().accounts().len() as u64, done);
    result
}

/// The fields that are refused, and why.
fn issues(builder: Builder, request: SignupRequest) -> Vec<(String, String)> {
    match sign_up(builder, request) {
        Ok(()) => Vec::new(),
        Err(SignupError::Invalid(issues)) => {
            issues.iter().map(|issue| (issue.path.join("/"), issue.message.to_string())).collect()
        }
        Err(other) => panic!("{other}"),
    }
}

fn password(policy: impl SignupPolicy, email: &str, password: &str) -> bool {
    let said = issues(builder().policy(policy), SignupRequest::new(email, password));
    assert!(said.iter().all(|(field, _)| field == "password"), "{said:?}");
    said.is_empty()
}

#[test]
fn p21_a_password_is_not_the_email() {
    for (email, same) in [
        ("Kim.Example@example.com", "kim.example@EXAMPLE.com"),
        ("Kim.Example@example.com", "KIM.EXAMPLE"),
        ("kim.example@m\u{fc}nchen.de", "kim.example@xn--mnchen-3ya.de"),
        ("kim.example@mu\u{308}nchen.de", "kim.example@mu\u{308}nchen.de"),
    ] {
        assert!(!password(NotTheEmail, email, same), "{same}");
    }
    for other in ["kim.example1", "1kim.example", "example.com", "kim.example@example.co"] {
        assert!(password(NotTheEmail, "kim.example@example.com", other), "{other}");
    }
}

#[test]
fn a_minimum_length_counts_characters_as_they_were_sent() {
    assert!(!password(MinimumLength(12), "a@x.co", "elevenchars"));
    assert!(password(MinimumLength(12), "a@x.co", "twelve chars"));
    // They are six in NFC.
    assert!(password(MinimumLength(12), "a@x.co", &"e\u{301}".repeat(6)));
    assert!(!password(MinimumLength(12), "a@x.co", &"\u{1f600}".repeat(11)));
    let said =
        issues(builder().policy(MinimumLength(12)), SignupRequest::new("a@x.co", "12345678"));
    assert_eq!(said[0].1, "String must contain at least 12 character(s)");
}

#[cfg(feature = "common-passwords")]
#[test]
fn p22_every_common_password_is_refused_and_what_contains_one_is_not() {
    let list = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/common-passwords/django-common-passwords.txt"
    );
    let list = std::fs::read_to_string(list).unwrap();
    let long: Vec<_> = list.lines().filter(|line| line.chars().count() >= 8).collect();
    assert!(!long.is_empty());
    let service = builder().policy(CommonPasswords).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let refused = |password: &str| {
        let request = SignupRequest::new("a@x.co", password);
        match runtime.block_on(service.prepare(request)) {
            Err(SignupError::Invalid(issues)) => {
                assert_eq!(issues[0].message, "Password is too common");
                true
            }
            other => {
                assert!(other.is_ok());
                false
            }
        }
    };
    for entry in &long {
        assert!(refused(entry), "{entry}");
        assert!(refused(&entry.to_uppercase()), "{entry}");
    }
    for entry in long.iter().step_by(100) {
        assert!(!refused(&format!("{entry}-and more of it")), "{entry}");
    }
}

#[cfg(feature = "zxcvbn")]
#[test]
fn a_strength_holds_email_and_name_against_the_password() {
    let kim = "kimberley.jones@example.com";
    assert!(!password(PasswordStrength(3), kim, "Password123!"));
    assert!(!password(PasswordStrength(3), kim, "kimberley.jones1"));
    assert!(password(PasswordStrength(3), kim, "wooden anvil transposes lilac"));
    assert!(password(PasswordStrength(0), kim, "12345678"));
}

#[cfg(feature = "zxcvbn")]
#[test]
fn a_long_password_is_as_strong_as_its_strongest_part() {
    let kim = "kimberley.jones@example.com";
    let random = "xK7#vQ2!mZ9@pL4$wR8%tY3^bN6&cF1*";
    let weak = "passwordpasswordpass";
    for strong in [
        format!("{weak}{random}"),
        format!("{random}{weak}"),
        format!("{weak}{weak}{random}{weak}"),
        format!("{kim}{random}"),
        format!("{}{random}", "a".repeat(96)),
        // A part of 20 has half of it at least.
        format!("passwordpass{}", &random[..20]),
    ] {
        assert!(password(PasswordStrength(4), kim, &strong), "{strong}");
    }
    for easy in [
        "password".repeat(4),
        "password".repeat(16),
        format!("{weak}{weak}!"),
        "iloveyou".repeat(3),
        "Password1".repeat(3),
        "a".repeat(128),
        "as".repeat(64),
        "abcdefghijklmnopqrstuvwxyz".to_owned(),
        "1234567890".repeat(12),
        kim.to_owned(),
        kim.repeat(4),
        format!("KIMBERLEY.JONES@EXAMPLE.COM{kim}1"),
        format!("{kim}kimberley.jones"),
    ] {
        assert!(!password(PasswordStrength(3), kim, &easy), "{easy}");
    }
}

/// Each of these takes zxcvbn seconds, or more than its numbers hold, at full length.
#[cfg(feature = "zxcvbn")]
#[test]
fn a_strength_is_estimated_of_whatever_there_is() {
    let kim = "kimberley.jones@example.com";
    let leet = "48@({[<3691!|70$5+%2{}";
    for long in [
        format!("{leet}{}", "abcdefghij".repeat(5)),
        format!("aaaaaaaaaaaaaaaaaaaa{leet}{leet}{leet}{leet}"),
        "as".repeat(64),
        "aB3$".repeat(32),
        "4@".repeat(64),
        "\u{130}\u{1f600}".repeat(64),
    ] {
        assert!(password(PasswordStrength(0), kim, &long), "{long}");
        // More than there is: no part ends the search.
        assert!(!password(PasswordStrength(5), kim, &long), "{long}");
    }
}

#[cfg(feature = "zxcvbn")]
#[test]
fn a_strength_waits_for_its_turn_or_is_told_to_come_back() {
    let builder = builder().policy(PasswordStrength(3));
    let service = builder.build().unwrap();
    let places: Vec<_> = std::iter::from_fn(|| service.hash_pool().reserve().ok()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let request = || SignupRequest::new("a@x.co", "wooden anvil transposes lilac");
    let busy = runtime.block_on(service.signup(request()));
    assert!(matches!(busy, Err(SignupError::Busy { .. })), "{busy:?}");
    drop(places);
    assert!(runtime.block_on(service.signup(request())).is_ok());
    // An estimate is no hash, and says nothing of how long those take.
    assert_eq!(service.hash_pool().stats().hashes, 1);
}

#[test]
fn domains_are_allowed_or_blocked_with_what_is_below_them() {
    let domain = |policy: EmailDomains, email: &str| {
        let said = issues(builder().policy(policy), SignupRequest::new(email, "correct horse"));
        assert!(said.iter().all(|(field, _)| field == "email"), "{said:?}");
        said.is_empty()
    };
    let domains = ["Example.com", "m\u{fc}nchen.de", "museum"];
    let (allow, block) =
        (EmailDomains::allow(domains).unwrap(), EmailDomains::block(domains).unwrap());
    for (email, is_in) in [
        ("a@example.com", true),
        ("a@EXAMPLE.COM", true),
        ("a@mail.example.com", true),
        ("a@xn--mnchen-3ya.de", true),
        ("a@a.b.museum", true),
        ("a@a.b.c.d.e.f.example.com", true),
        ("a@x.xn--mnchen-3ya.de", true),
        ("a@notexample.com", false),
        ("a@mail.notexample.com", false),
        ("a@example.com.co", false),
        ("a@museum.de", false),
        ("a@notmuseum.notmuseum", false),
        ("a@de.co", false),
        ("a@example.com.evil.net", false),
        ("a@example.co", false),
    ] {
        assert_eq!(domain(allow.clone(), email), is_in, "{email}");
        assert_eq!(domain(block.clone(), email), !is_in, "{email}");
    }
    for text in ["", "a b", "a@b.co", "-a.co", "x\u{0}.co"] {
        assert!(EmailDomains::allow([text]).is_err(), "{text}");
    }
}

#[test]
fn only_the_invited_are_let_in() {
    let by_invitation = || {
        builder().policy(InvitationOnly::new(async |code| match &*code {
            "broken" => Err("the database is away".into()),
            code => Ok(code == "friends"),
        }))
    };
    let request = || SignupRequest::new("a@x.co", "correct horse");
    let said = |field: &str, message: &str| vec![(field.to_owned(), message.to_owned())];
    assert_eq!(issues(by_invitation(), request()), said("invite_code", "Required"));
    let wrong = request().field("invite_code", "Friends");
    let message = "Invitation code is not valid";
    assert_eq!(issues(by_invitation(), wrong), said("invite_code", message));
    assert!(sign_up(by_invitation(), request().field("invite_code", "friends")).is_ok());
    let broken = sign_up(by_invitation(), request().field("invite_code", "broken"));
    assert!(matches!(broken, Err(SignupError::Unavailable { .. })));
}

#[test]
fn without_a_runtime_a_policy_with_a_deadline_is_a_failure() {
    let invited = InvitationOnly::new(async |_| Ok(true));
    assert_eq!(invited.deadline(), Some(Duration::from_secs(5)));
    let service = builder().policy(invited).build().unwrap();
    let request = SignupRequest::new("a@x.co", "correct horse").field("invite_code", "friends");
    let mut signup = std::pin::pin!(service.signup(request));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = signup.as_mut().poll(&mut context);
    assert!(matches!(polled, std::task::Poll::Ready(Err(SignupError::Internal(_)))), "{polled:?}");
}

#[test]
fn all_that_do_not_call_out_are_heard_and_the_others_only_then() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = |name, verdict, deadline| Told {
        name,
        verdict,
        deadline,
        on_failure: OnFailure::Refuse,
        asked: Arc::clone(&asked),
    };
    let minute = Some(Duration::from_mins(1));
    let allow = || Ok(Verdict::Allow);
    let policies = |first: fn() -> Result<Verdict, BoxError>| {
        builder()
            .policy(told("remote", allow, minute))
            .policy(told("first", first, None))
            .policy(told("second", || Ok(Verdict::invalid("name", "No")), None))
            .policy(told("third", || Ok(Verdict::invalid("name", "No again")), None))
    };
    let request = || SignupRequest::new("a@x.co", "correct horse");
    let said = issues(policies(|| Ok(Verdict::invalid("password", "Weak"))), request());
    assert_eq!(said, [("password".into(), "Weak".into()), ("name".into(), "No".into())]);
    let said = issues(policies(|| Ok(Verdict::invalid("invite_code", "None"))), request());
    assert_eq!(said, [("name".into(), "No".into()), ("invite_code".into(), "None".into())]);
    asked.lock().unwrap().truncate(3);
    assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), ["first", "second", "third"]);

    let refused = sign_up(
        policies(|| {
            Ok(Verdict::Refuse { code: ErrorCode::UsageLimitExceeded, message: "Pay".into() })
        }),
        request(),
    );
    let Err(error) = refused else { panic!("it was not refused") };
    assert_eq!(error.code().status(), 402);
    assert_eq!(error.to_json(), br#"{"error":{"code":"USAGE_LIMIT_EXCEEDED","message":"Pay"}}"#);
    assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), ["first"]);
    let busy = || Ok(Verdict::Busy { retry_after: Duration::from_mins(7) });
    let busy = sign_up(policies(busy), request()).err().and_then(|error| error.retry_after());
    assert_eq!(busy, Some(Duration::from_mins(7)));
    assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), ["first"]);
    for (code, waits) in [(ErrorCode::RateLimitExceeded, true), (ErrorCode::Conflict, false)] {
        let refused = SignupError::Refused { code, message: "No".into() };
        assert_eq!(refused.retry_after().is_some(), waits);
    }

    let all = builder().policy(told("remote", allow, minute)).policy(told("local", allow, None));
    assert!(sign_up(all, request()).is_ok());
    assert_eq!(*asked.lock().unwrap(), ["local", "remote"]);
}

#[test]
fn what_fails_or_is_late_fails_open_or_closed_as_it_says() {
    let request = || SignupRequest::new("a@x.co", "correct horse");
    for (name, verdict) in [
        ("broken", (|| Err("no answer: canary".into())) as fn() -> Result<Verdict, BoxError>),
        ("slow", || Ok(Verdict::Allow)),
    ] {
        for deadline in [Some(Duration::from_millis(1)), None] {
            if name == "slow" && deadline.is_none() {
                continue;
            }
            let told =
                |on_failure| Told { name, verdict, deadline, on_failure, asked: Arc::default() };
            assert!(sign_up(builder().policy(told(OnFailure::Allow)), request()).is_ok(), "{name}");
            let closed = sign_up(builder().policy(told(OnFailure::Refuse)), request());
            let Err(error) = closed else { panic!("{name} was let through") };
            assert_eq!(error.code(), ErrorCode::ExternalServiceError);
            assert!(error.retry_after().is_some());
            assert!(!String::from_utf8(error.to_json()).unwrap().contains("canary"));
        }
    }
}

/// Declares these fields, and accepts every sign-up.
struct Declares(&'static [&'static str]);

#[async_trait]
impl SignupPolicy for Declares {
    async fn evaluate(&self, _: &Attempt<'_>) -> Result<Verdict, BoxError> {
        Ok(Verdict::Allow)
    }

    fn fields(&self) -> &[&'static str] {
        self.0
    }
}

#[test]
fn a_field_that_a_policy_could_never_read_is_refused_by_name() {
    for (fields, unreadable) in [
        (&["email"][..], "email"),
        (&["captcha_token", "password"], "password"),
        (&["name"], "name"),
        (&["invite_code", ""], ""),
    ] {
        let built = builder().policy(MinimumLength(12)).policy(Declares(fields)).build();
        let error = built.map(drop).unwrap_err();
        assert!(matches!(error, ConfigError::PolicyField(field) if field == unreadable));
        assert!(error.to_string().contains(&format!("`{unreadable}`")), "{error}");
    }
}

#[test]
fn several_policies_may_declare_one_field() {
    let twice = builder()
        .policy(Declares(&["invite_code", "captcha_token"]))
        .policy(Declares(&["captcha_token", "Email"]));
    let service = twice.build().unwrap();
    assert_eq!(service.policies().fields(), ["invite_code", "captcha_token", "Email"]);
}

#[test]
fn a_policy_reads_no_other_fields_unless_it_declares_them() {
    assert!(MinimumLength(12).fields().is_empty());
}
