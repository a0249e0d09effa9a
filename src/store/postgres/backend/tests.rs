use std::io;

use super::*;
use crate::store::HostRowsError;

#[test]
fn f07_what_is_lost_before_the_commit_is_known_not_to_be_stored() {
    let broken = || sqlx::Error::Io(io::ErrorKind::ConnectionReset.into());
    let host = |error| Fault::from_host(error, Postgres::fault);
    assert!(matches!(Postgres::fault(broken()), Fault::Lost(_)));
    assert!(matches!(Postgres::fault(broken()).before_commit(), Fault::Unavailable(_)));
    assert!(matches!(host(HostRowsError::Sql(broken())), Fault::Unavailable(_)));
    assert!(matches!(host("no".into()), Fault::Failed(_)));
    assert!(matches!(Postgres::fault(sqlx::Error::PoolTimedOut), Fault::Unavailable(_)));
}

fn backend(timeouts: Timeouts, prepares: bool) -> Postgres {
    Postgres { timeouts, owns_pool: false, prepares, distributed: false }
}

#[test]
fn a_transaction_sets_its_limit_unless_the_session_has_it_or_the_host_ends_it() {
    let begin = |timeouts, limit| backend(timeouts, true).begin(limit).as_str().to_owned();
    let second = |is_late| Some(Limit { left: Duration::from_secs(1), is_late });
    let limited = "BEGIN; SET LOCAL statement_timeout = 900";
    for (timeouts, limit, expected) in [
        (Timeouts::ByTransaction, second(false), limited),
        (Timeouts::ByTransaction, second(true), limited),
        (Timeouts::ByTransaction, None, "BEGIN"),
        (Timeouts::BySession, second(false), "BEGIN"),
        (Timeouts::BySession, second(true), limited),
        (Timeouts::BySession, None, "BEGIN"),
    ] {
        assert_eq!(begin(timeouts, limit), expected);
    }
}

#[test]
fn a_statement_is_a_transaction_of_its_own_if_its_session_prepares_and_limits_it() {
    for (timeouts, prepares, alone) in [
        (Timeouts::BySession, true, true),
        (Timeouts::BySession, false, false),
        (Timeouts::ByTransaction, true, false),
        (Timeouts::ByTransaction, false, false),
    ] {
        assert_eq!(backend(timeouts, prepares).commits_alone(), alone, "{timeouts:?} {prepares}");
    }
}

#[test]
fn a_server_gives_up_before_its_client() {
    for (left, millis) in [(5_000, 4_500), (1, 1), (0, 1), (u64::MAX, i32::MAX as u32)] {
        assert_eq!(server_millis(Duration::from_millis(left)), millis);
    }
}
