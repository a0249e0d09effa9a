//! Hazards 3: the password.

use argon2::{Argon2, PasswordVerifier as _};
use serde_json::json;
use signup::fields::Password;
use signup::hash::{PasswordHash, Pepper, Verification};

use crate::support::backend::{App, Backend, Options};
use crate::support::corpus;

async fn status(app: &mut App, email: &str, password: &str) -> u16 {
    let response = app.post_json(&json!({"email": email, "password": password})).await;
    if response.status == 400 {
        response.is_invalid(&["password"]);
    }
    response.status
}

/// An app that hashes for real, with one account of that password.
async fn account(backend: Backend, password: &str) -> App {
    let mut app = backend.with(Options { argon2: true, ..Options::default() }).await;
    assert_eq!(status(&mut app, "a@x.co", password).await, 201);
    app
}

/// Returns whether a password is the account's, judged by the argon2 crate itself, and by
/// ours if it is without pepper.
async fn verifies(app: &App, candidate: &str) -> bool {
    let stored = app.store.account_rows().await.remove(0);
    let verified = app.credentials.verify_password("a@x.co", candidate).await;
    let candidate = Password::parse(candidate).unwrap();
    let candidate = candidate.reveal().as_bytes();
    let right = Argon2::default().verify_password(candidate, stored.password_hash.as_str()).is_ok();
    if stored.pepper_version.is_none() {
        assert_eq!(verified.map(|id| id.to_string()).ok(), right.then_some(stored.id));
    }
    right
}

async fn a_pepper_is_stored_as_its_version(backend: Backend) {
    let secret = "canary-pepper-0123456789";
    let pepper = Some(Pepper::new(7, secret).unwrap());
    let mut app = backend.with(Options { argon2: true, pepper, ..Options::default() }).await;
    assert_eq!(status(&mut app, "a@x.co", "correct horse").await, 201);
    let row = app.store.account_rows().await.remove(0);
    assert_eq!(row.pepper_version, Some(7));
    assert!(!verifies(&app, "correct horse").await, "it verifies without the pepper");
    let stored = PasswordHash::from_store(row.password_hash, row.pepper_version);
    let place = app.service.hash_pool().reserve().unwrap();
    let verified = place.verify(Password::parse("correct horse").unwrap(), &stored).await.unwrap();
    assert_eq!(verified, Verification::Right { needs_rehash: false });
    assert!(!format!("{:?} {:?}", app.service, app.service.hash_pool()).contains("canary"));
}

crate::cases![
    a_pepper_is_stored_as_its_version,
    [P01, P02, P03, P04] ascii_lengths,
    [P05, P06, P07, P08, P09, P10] lengths_are_in_code_points,
    [P11, P12, P14, P24, P26, P29] any_characters_do,
    [P13] spaces_are_kept,
    [P15] composed_and_decomposed_are_one,
    [P16, P17] nothing_is_folded,
    [P18, P19] nothing_is_cut_off,
    [P20] nul_is_a_character,
    [P24] unassigned_code_points_are_stable,
    [P27] naughty_strings_round_trip,
    [P28] a_long_password_is_not_hashed,
];

async fn ascii_lengths(backend: Backend) {
    let mut app = backend.app().await;
    for (length, expected) in [(0, 400), (7, 400), (8, 201), (128, 201), (129, 400)] {
        let email = format!("p{length}@x.co");
        assert_eq!(status(&mut app, &email, &"p".repeat(length)).await, expected, "{length}");
    }
    let short = app.post_json(&json!({"email": "a@x.co", "password": "1234567"})).await;
    assert_eq!(short.issues()[0].1, "String must contain at least 8 character(s)");
    let long = app.post_json(&json!({"email": "a@x.co", "password": "x".repeat(129)})).await;
    assert_eq!(long.issues()[0].1, "String must contain at most 128 character(s)");
}

async fn lengths_are_in_code_points(backend: Backend) {
    let mut app = backend.app().await;
    let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}\u{fe0f}";
    assert_eq!(family.chars().count(), 8);
    let cases = [
        ("\u{1f600}".repeat(7), 400),
        ("\u{1f600}".repeat(8), 201),
        ("\u{1f600}".repeat(128), 201),
        ("\u{1f600}".repeat(129), 400),
        (family.to_owned(), 201),
        ("e\u{301}".repeat(4), 201),
        ("e\u{301}".repeat(64), 201),
        ("e\u{301}".repeat(65), 400),
    ];
    for (number, (password, expected)) in cases.into_iter().enumerate() {
        assert_eq!(
            status(&mut app, &format!("p{number}@x.co"), &password).await,
            expected,
            "{password}"
        );
    }
}

async fn any_characters_do(backend: Backend) {
    let mut app = backend.app().await;
    let passwords = [
        "\u{958}".repeat(128),
        "\u{fb1d}".repeat(128),
        "a sixty-four character passphrase, with spaces and punctuation..".to_owned(),
        " ".repeat(8),
        "\t".repeat(8),
        "\u{a0}".repeat(8),
        "\u{378}\u{e000}\u{ffff}\u{10ffff}12345".to_owned(),
        "\u{202e}\u{5d0}\u{5d1}\u{5d2}\u{2066}1234".to_owned(),
        "rag_live_0123456789".to_owned(),
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$AAAA".to_owned(),
    ];
    for (number, password) in passwords.iter().enumerate() {
        assert_eq!(
            status(&mut app, &format!("p{number}@x.co"), password).await,
            201,
            "{password:?}"
        );
    }
    app.stores(passwords.len()).await;
}

async fn spaces_are_kept(backend: Backend) {
    let app = account(backend, " x2345678 ").await;
    assert!(verifies(&app, " x2345678 ").await);
    assert!(!verifies(&app, "x2345678").await);
    assert!(!verifies(&app, "x2345678 ").await);
}

async fn composed_and_decomposed_are_one(backend: Backend) {
    let app = account(backend, "P\u{e4}ssw\u{f6}rd").await;
    assert!(verifies(&app, "Pa\u{308}sswo\u{308}rd").await);
    assert!(verifies(&app, "P\u{e4}ssw\u{f6}rd").await);
}

async fn nothing_is_folded(backend: Backend) {
    let app = account(backend, "\u{fb01}sh and Chips").await;
    for other in [
        "fish and Chips",
        "\u{fb01}sh and chips",
        "\u{fb01}sh and \u{ff23}hips",
        "\u{fb01}sh\u{a0}and Chips",
    ] {
        assert!(!verifies(&app, other).await, "{other}");
    }
    assert!(verifies(&app, "\u{fb01}sh and Chips").await);
}

async fn nothing_is_cut_off(backend: Backend) {
    let app = account(backend, &format!("{}x", "p".repeat(127))).await;
    assert!(!verifies(&app, &format!("{}y", "p".repeat(127))).await);
    assert!(!verifies(&app, &"p".repeat(72)).await);
    assert!(!verifies(&app, &format!("{}q{}x", "p".repeat(72), "p".repeat(54))).await);
}

async fn nul_is_a_character(backend: Backend) {
    let app = account(backend, "pass\0word1").await;
    assert!(verifies(&app, "pass\0word1").await);
    assert!(!verifies(&app, "pass\0word2").await);
    assert!(!verifies(&app, "password1").await);
}

async fn unassigned_code_points_are_stable(backend: Backend) {
    let app = account(backend, "\u{378}\u{e000}\u{ffff}\u{10ffff}12345").await;
    assert!(verifies(&app, "\u{378}\u{e000}\u{ffff}\u{10ffff}12345").await);
}

async fn naughty_strings_round_trip(backend: Backend) {
    let strings: Vec<String> = serde_json::from_str(&corpus("blns/blns.json")).unwrap();
    let mut app = backend.app().await;
    let mut created = 0;
    for (number, password) in strings.iter().enumerate() {
        let fits = (8..=128).contains(&password.chars().count());
        let expected = if fits { 201 } else { 400 };
        assert_eq!(
            status(&mut app, &format!("p{number}@x.co"), password).await,
            expected,
            "{password:?}"
        );
        created += usize::from(fits);
    }
    assert!(created > 300);
    app.stores(created).await;
    // The NFC form was hashed: the fake engine's tag is a plain digest.
    for row in app.store.account_rows().await {
        let number: usize =
            row.email.strip_prefix('p').unwrap().split('@').next().unwrap().parse().unwrap();
        let password = Password::parse(&strings[number]).unwrap();
        assert_eq!(
            row.password_hash,
            fake_hash(password.reveal(), &row.password_hash),
            "{:?}",
            strings[number]
        );
    }
}

async fn a_long_password_is_not_hashed(backend: Backend) {
    let mut app = backend.with(Options { body_limit: 4 << 20, ..Options::default() }).await;
    assert_eq!(status(&mut app, "a@x.co", &"p".repeat(1 << 20)).await, 400);
    app.untouched().await;
}

/// The PHC string that the fake engine makes of a password with that salt.
fn fake_hash(password: &str, stored: &str) -> String {
    use argon2::password_hash::phc::{Output, PasswordHash};
    use sha2::{Digest as _, Sha256};
    let mut hash = PasswordHash::new(stored).unwrap();
    let tag = Sha256::new().chain_update(hash.salt.unwrap()).chain_update(password).finalize();
    hash.hash = Some(Output::new(&tag).unwrap());
    hash.to_string()
}
