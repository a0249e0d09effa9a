//! The guide: one page for each question that a host asks.

/// A page: a file of `docs/`, whose code is compiled where its features are on.
macro_rules! page {
    ($name:ident, $file:literal $(, $feature:literal)*) => {
        #[cfg(any(not(doctest), all($(feature = $feature),*)))]
        #[doc = include_str!(concat!("../", $file))]
        pub mod $name {}
    };
}

page!(getting_started, "docs/getting-started.md", "axum", "sqlite");
page!(from_a_tutorial, "docs/from-a-tutorial.md", "axum", "sqlite");
page!(configuration, "docs/configuration.md");
page!(stores, "docs/stores.md", "postgres", "sqlite");
page!(moving_in, "docs/moving-in.md", "foreign-credentials", "postgres");
page!(leaving, "docs/leaving.md");
page!(tenants, "docs/tenants.md");
page!(credentials, "docs/credentials.md");
page!(accounts, "docs/accounts.md");
page!(events, "docs/events.md");
page!(retries, "docs/retries.md");
page!(verification, "docs/verification.md", "verification");
page!(limits, "docs/limits.md");
page!(policies, "docs/policies.md");
page!(observing, "docs/observing.md", "metrics", "tracing");
page!(hashing, "docs/hashing.md", "simd");
page!(testing, "docs/testing.md");
page!(security, "SECURITY.md");
page!(production, "docs/production.md", "axum", "sqlite");
page!(upgrading, "docs/upgrading.md");
