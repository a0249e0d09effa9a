//! Hazards 2: the email address.

use serde_json::json;
use signup::fields::EmailProfile;

use crate::support::backend::{App, Backend, Options};
use crate::support::corpus;

async fn accepted(app: &mut App, email: &str) {
    let data = app.signup(email).await.data();
    assert_eq!(data["account"]["email"], email);
}

async fn refused(app: &mut App, emails: &[&str]) {
    for email in emails {
        let response = app.signup(email).await;
        assert_eq!(response.status, 400, "{email:?}");
        assert_eq!(
            response.issues(),
            [(vec!["email".to_owned()], "Invalid email".to_owned())],
            "{email:?}"
        );
    }
}

async fn taken(app: &mut App, email: &str) {
    app.signup(email).await.is(409, "CONFLICT");
}

crate::cases![
    [E01, E02, E03] one_account_for_all_cases,
    [E04, E05] white_space_is_not_trimmed,
    [E06, E07] header_injection,
    [E08, E09] the_at_sign,
    [E10, E11, E12, E13, E14, E15, F18] lengths,
    [E16, E17, E18, E19] dots,
    [E20, E21] literals_and_numbers,
    [E22, E23, E24, E25] quotes_comments_and_lists,
    [E26, E27, E28, E29, E30] odd_but_legal_and_odd_and_not,
    [E31, E32] tags_and_dots_make_other_accounts,
    [E33, E34, E35] internationalised_domains,
    [E36] fake_punycode,
    [E37, E38] mapped_domains_are_no_second_account,
    [E40, E41, E42] invisible_characters,
    [E43, E44, E46] letters_that_fold_to_ascii,
    [E48, E49] scripts_and_sql,
    [E50] addresses_that_validators_get_wrong,
    [E51] json_schema_test_suite,
    [E51] json_schema_test_suite_of_international_addresses,
    [E53] an_account_id_is_no_address,
    [E54] no_address_takes_long_to_refuse,
    [E55] keys_are_compared_by_their_bytes,
    the_wide_profile_knows_a_quoted_address_again,
];

async fn one_account_for_all_cases(backend: Backend) {
    let mut app = backend.app().await;
    accepted(&mut app, "User@Example.com").await;
    let response = app.signup("USER@EXAMPLE.COM").await;
    response.is(409, "CONFLICT");
    assert_eq!(response.json()["error"]["message"], "An account with this email already exists");
    taken(&mut app, "user@example.com").await;
    let row = &app.store.account_rows().await[0];
    assert_eq!(
        (row.email.as_str(), row.email_key.as_str()),
        ("User@Example.com", "user@example.com")
    );
    app.stores(1).await;
}

async fn white_space_is_not_trimmed(backend: Backend) {
    let mut app = backend.app().await;
    for space in [" ", "\t", "\u{a0}", "\n", "\r", "\u{3000}", "\u{2003}"] {
        refused(
            &mut app,
            &[
                &format!("{space}a@x.co"),
                &format!("a@x.co{space}"),
                &format!("a{space}b@x.co"),
                &format!("a{space}@x.co"),
                &format!("a@{space}x.co"),
                &format!("a@x{space}y.co"),
            ],
        )
        .await;
    }
    app.untouched().await;
}

async fn header_injection(backend: Backend) {
    let mut app = backend.app().await;
    refused(
        &mut app,
        &["a@x.co\r\nBcc: z@y.co", "a\r\n@x.co", "a@x.co%0d%0aBcc:z", "a@x.co\0", "a@x.co\u{85}"],
    )
    .await;
}

async fn the_at_sign(backend: Backend) {
    let mut app = backend.app().await;
    refused(
        &mut app,
        &[
            "",
            "a",
            "@",
            "a@b@x.co",
            "a@@x.co",
            "@x.co",
            "a@",
            "a\u{ff20}x.co",
            "a\u{fe6b}x.co",
            "a@x\u{ff20}y.co",
        ],
    )
    .await;
}

async fn lengths(backend: Backend) {
    let mut app = backend.app().await;
    let (label, local) = ("d".repeat(63), "l".repeat(64));
    accepted(&mut app, &format!("{local}@x.co")).await;
    refused(&mut app, &[&format!("{local}l@x.co")]).await;
    accepted(&mut app, &format!("a@{label}.co")).await;
    refused(&mut app, &[&format!("a@{label}d.co")]).await;
    let domain = |length: usize| format!("{label}.{label}.{label}.{}", "d".repeat(length - 192));
    accepted(&mut app, &format!("a@{}", domain(253))).await;
    refused(&mut app, &[&format!("a@{}", domain(254))]).await;
    // 64 + 1 + 191 is 256.
    accepted(&mut app, &format!("{local}@{}", &domain(253)[62..])).await;
    let too_long = app.signup(&format!("{local}@{}", &domain(253)[61..])).await;
    assert_eq!(
        too_long.issues(),
        [(vec!["email".into()], "String must contain at most 256 character(s)".into())]
    );
    // Few characters, but 254 octets of A-labels and more.
    let wide = format!("a@{}.de", vec!["\u{fc}".repeat(49); 5].join("."));
    assert!(wide.chars().count() <= 256);
    refused(&mut app, &[&wide]).await;
}

async fn dots(backend: Backend) {
    let mut app = backend.app().await;
    refused(
        &mut app,
        &[
            ".a@x.co",
            "a.@x.co",
            "a..b@x.co",
            "a@x..co",
            "a@.x.co",
            "a@x.co.",
            "a@localhost",
            "a@com",
            "a@x.co\u{3002}",
            ".@x.co",
        ],
    )
    .await;
}

async fn literals_and_numbers(backend: Backend) {
    let mut app = backend.app().await;
    refused(
        &mut app,
        &[
            "a@[127.0.0.1]",
            "a@[IPv6:::1]",
            "a@[IPv6:bad]",
            "a@[]",
            "a@[",
            "a@127.0.0.1",
            "a@1.2.3",
            "a@x.123",
            "a@x.\u{661}",
        ],
    )
    .await;
}

async fn quotes_comments_and_lists(backend: Backend) {
    let mut app = backend.app().await;
    refused(
        &mut app,
        &[
            r#""a b"@x.co"#,
            r#"""@x.co"#,
            r#""a\"b"@x.co"#,
            r#""a"@x.co"#,
            r#""test@victim.com x"@attacker.com"#,
            "a(c)@x.co",
            "a@x.co(c)",
            "(c)a@x.co",
            "A <a@x.co>",
            "<a@x.co>",
            "a@x.co,b@y.co",
            "a@x.co;b@y.co",
            "a@x.co b@y.co",
            "mailto:a@x.co",
            "\"A\" <a@x.co>",
            "a\\@b@x.co",
            "a:b@x.co",
        ],
    )
    .await;
}

async fn odd_but_legal_and_odd_and_not(backend: Backend) {
    let mut app = backend.app().await;
    accepted(&mut app, "-a@x.co").await;
    accepted(&mut app, "user%victim.com@attacker.com").await;
    accepted(&mut app, "victim.com!user@x.co").await;
    accepted(&mut app, "!#$&'*+-/=?^_`{|}~@x.co").await;
    refused(
        &mut app,
        &[
            "a@-x.co",
            "a@x-.co",
            "a@ex_ample.com",
            "a@iana/icann.org",
            "=?utf-8?q?=61=62?=@x.co",
            "x=?utf-8?b?YQ==?=y@x.co",
            "a@ab--cd.com",
            "a@ex!ample.com",
            "a@x.c+o",
            "a@x.co:25",
            "a@x.co?q",
            "a@x.co#f",
            "a@x.co/p",
            "a@x.co\\",
        ],
    )
    .await;
}

async fn tags_and_dots_make_other_accounts(backend: Backend) {
    let mut app = backend.app().await;
    for email in ["user+tag@gmail.com", "user@gmail.com", "u.s.e.r@gmail.com"] {
        accepted(&mut app, email).await;
    }
    app.stores(3).await;
}

async fn internationalised_domains(backend: Backend) {
    let mut app = backend.app().await;
    accepted(&mut app, "a@m\u{fc}nchen.de").await;
    for same in
        ["a@xn--mnchen-3ya.de", "A@XN--MNCHEN-3YA.DE", "a@mu\u{308}nchen.de", "a@M\u{dc}NCHEN.de"]
    {
        taken(&mut app, same).await;
    }
    accepted(&mut app, "a@fa\u{df}.de").await;
    accepted(&mut app, "a@fass.de").await;
    app.stores(3).await;
}

async fn fake_punycode(backend: Backend) {
    let mut app = backend.app().await;
    refused(
        &mut app,
        &[
            "a@xn--example-.com",
            "a@xn--a.com",
            "a@xn--.com",
            "a@xn--\u{fc}.com",
            "a@xn--99999999999.com",
        ],
    )
    .await;
}

async fn mapped_domains_are_no_second_account(backend: Backend) {
    let mut app = backend.app().await;
    accepted(&mut app, "a@example.com").await;
    for same in [
        "a@example\u{3002}com",
        "a@\u{ff45}xample.com",
        "a@example\u{ff0e}com",
        "a@ex\u{1d41a}mple.com",
        "a@EXAMPLE.\u{24d2}om",
    ] {
        taken(&mut app, same).await;
    }
    for invisible in ['\u{ad}', '\u{200d}', '\u{200b}', '\u{200c}'] {
        let status = app.signup(&format!("a@exa{invisible}mple.com")).await.status;
        assert!(matches!(status, 400 | 409), "{invisible:?}: {status}");
    }
    app.stores(1).await;
}

async fn invisible_characters(backend: Backend) {
    let mut app = backend.app().await;
    let invisible = [
        '\u{202e}',
        '\u{202a}',
        '\u{202d}',
        '\u{2066}',
        '\u{2069}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{2060}',
        '\u{feff}',
        '\u{ad}',
        '\u{180e}',
        '\u{3164}',
        '\u{115f}',
        '\u{1160}',
        '\u{17b4}',
        '\u{17b5}',
        '\u{34f}',
        '\u{2065}',
        '\u{fe0f}',
        '\u{180b}',
        '\u{e0100}',
        '\u{e0001}',
        '\u{ffa0}',
    ];
    for c in invisible {
        refused(&mut app, &[&format!("a{c}b@x.co"), &format!("{c}a@x.co"), &format!("a{c}@x.co")])
            .await;
        if !matches!(c, '\u{200c}' | '\u{200d}') {
            refused(
                &mut app,
                &[&format!("a@x{c}y.co"), &format!("a@{c}x.co"), &format!("a@x.co{c}")],
            )
            .await;
        }
    }
    app.untouched().await;
}

async fn letters_that_fold_to_ascii(backend: Backend) {
    let mut app = backend.app().await;
    accepted(&mut app, "kate@x.co").await;
    accepted(&mut app, "mike@x.co").await;
    refused(
        &mut app,
        &[
            "\u{212a}ate@x.co",
            "m\u{131}ke@x.co",
            "M\u{130}KE@x.co",
            "\u{17f}am@x.co",
            "\u{fb01}n@x.co",
            "stra\u{df}e@x.co",
            "k\u{430}te@x.co",
            "\u{ff4b}ate@x.co",
            "kat\u{e9}@x.co",
        ],
    )
    .await;
    // In the domain the Kelvin sign is mapped, and so is no second account.
    taken(&mut app, "kate@X.CO").await;
    accepted(&mut app, "a@kate.co").await;
    taken(&mut app, "a@\u{212a}ate.co").await;
    app.stores(3).await;
}

async fn scripts_and_sql(backend: Backend) {
    let mut app = backend.app().await;
    refused(
        &mut app,
        &[
            r#""><script>alert(1)</script>"@x.co"#,
            "' or 1=1--@x.co",
            "a@x.co'; DROP TABLE accounts;--",
        ],
    )
    .await;
    accepted(&mut app, "a'b@x.co").await;
    accepted(&mut app, "'or'1'='1'--@x.co").await;
    app.stores(2).await;
}

async fn addresses_that_validators_get_wrong(backend: Backend) {
    let mut app = backend.app().await;
    // Of the kinds of the isemail set: what it calls valid, and the rest.
    for (number, valid) in [
        "test@iana.org",
        "test@nominet.org.uk",
        "test@about.museum",
        "a@iana.org",
        "test.test@iana.org",
        "123@iana.org",
        "test@123.com",
        "test@255.255.255.com",
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl@iana.org",
        "test@mason-dixon.com",
        "test@c--n.com",
        "test@xn--hxajbheg2az3al.xn--jxalpdlp",
        "xn--test@iana.org",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(app.signup(valid).await.status, 201, "{number}: {valid}");
    }
    refused(
        &mut app,
        &[
            "test",
            "@iana.org",
            "test@",
            "test@iana.org-",
            "test@-iana.org",
            "test@.iana.org",
            "test@iana.org.",
            "test@iana..com",
            ".test@iana.org",
            "test.@iana.org",
            "test..iana.org",
            "test\\@test@iana.org",
            "\"\"@iana.org",
            "\"\\a\"@iana.org",
            "\"test\"test@iana.org",
            "\"test\".\"test\"@iana.org",
            "test\"@iana.org",
            "\"test@iana.org",
            "test@a[255.255.255.255]",
            "test@[255.255.255]",
            "test@[255.255.255.256]",
            "test@[1111:2222:3333:4444:5555:6666:7777:8888]",
            "test@[RFC-5322-domain-literal]",
            "test@[RFC-5322]-domain-literal]",
            "test@[RFC-5322-[domain-literal]",
            " test @iana.org",
            "test@ iana .com",
            "test . test@iana.org",
            "\r\n test@iana.org",
            "((comment)test@iana.org",
            "test(comment)test@iana.org",
            "test@iana.org\n",
            "test@iana.org \r\n",
            "\u{7f}@iana.org",
            "test@\u{7}.org",
            "\u{7}@iana.org",
            "test@org",
            "test@iana/icann.org",
        ],
    )
    .await;
}

async fn json_schema_test_suite(backend: Backend) {
    let mut strict = backend.app().await;
    let mut wide =
        backend.with(Options { profile: EmailProfile::Rfc5321, ..Options::default() }).await;
    let groups: serde_json::Value =
        serde_json::from_str(&corpus("json-schema-formats/email.json")).unwrap();
    let tests =
        groups.as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap());
    let mut deviations = Vec::new();
    for test in tests {
        let Some(email) = test["data"].as_str() else { continue };
        let valid = test["valid"].as_bool().unwrap();
        assert_eq!(
            wide.signup(email).await.status != 400,
            valid,
            "{email}: {}",
            test["description"]
        );
        if (strict.signup(email).await.status != 400) != valid {
            deviations.push(email.to_owned());
        }
    }
    assert!(!deviations.is_empty());
    for email in deviations {
        let one_label = email.rsplit_once('@').is_some_and(|(_, host)| !host.contains('.'));
        assert!(email.starts_with('"') || email.ends_with(']') || one_label, "{email}");
    }
}

async fn json_schema_test_suite_of_international_addresses(backend: Backend) {
    let mut app = backend.app().await;
    let groups: serde_json::Value =
        serde_json::from_str(&corpus("json-schema-formats/idn-email.json")).unwrap();
    for test in
        groups.as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap())
    {
        let response =
            app.post_json(&json!({"email": test["data"], "password": "correct horse"})).await;
        // Nothing that the suite refuses is taken; of the rest, what is ASCII before the `@`.
        if response.status == 201 {
            assert_eq!(test["valid"], true, "{test}");
        }
    }
}

async fn an_account_id_is_no_address(backend: Backend) {
    let mut app = backend.app().await;
    let data = app.signup("a@x.co").await.data();
    refused(&mut app, &[data["account"]["id"].as_str().unwrap()]).await;
}

async fn no_address_takes_long_to_refuse(backend: Backend) {
    let mut app = backend.app().await;
    refused(
        &mut app,
        &[
            &format!("{}@", "a".repeat(255)),
            &"a.".repeat(128),
            &"@".repeat(256),
            &format!("a@{}", "x.".repeat(127)),
        ],
    )
    .await;
}

async fn keys_are_compared_by_their_bytes(backend: Backend) {
    let mut app = backend.app().await;
    // Pairs that collations treat as equal and bytes do not.
    let distinct = [
        "a-b@x.co", "ab@x.co", "a_b@x.co", "a`b@x.co", "a'b@x.co", "a{b@x.co", "a~b@x.co",
        "ss@x.co", "s@x.co",
    ];
    for email in distinct {
        accepted(&mut app, email).await;
    }
    for email in distinct {
        taken(&mut app, &email.to_ascii_uppercase()).await;
    }
    app.stores(distinct.len()).await;
}

async fn the_wide_profile_knows_a_quoted_address_again(backend: Backend) {
    let mut app =
        backend.with(Options { profile: EmailProfile::Rfc5321, ..Options::default() }).await;
    accepted(&mut app, r#""dev"@Example.com"#).await;
    taken(&mut app, "DEV@example.com").await;
    accepted(&mut app, r#""a b"@x.co"#).await;
    taken(&mut app, r#""a\ B"@x.co"#).await;
    app.stores(2).await;
}
