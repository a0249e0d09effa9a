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

#[test]
fn a_server_gives_up_before_its_client() {
    for (left, millis) in [(5_000, 4_500), (1, 1), (0, 1), (u64::MAX, i32::MAX as u32)] {
        assert_eq!(server_millis(Duration::from_millis(left)), millis);
    }
}
