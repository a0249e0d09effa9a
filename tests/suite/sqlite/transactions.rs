//! Accounts in transactions of the host, and constraints of the host's own.

use signup::store::conformance::{Harness as _, Sample};
use signup::store::{AccountStore as _, CreateOutcome, StoreError};

use super::store;

#[tokio::test]
async fn a_second_insert_that_fails_leaves_nothing_and_the_transaction_goes_on() {
    let store = store().await;
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON api_keys WHEN NEW.last_four <> ''
        BEGIN SELECT RAISE(ABORT, 'no key today'); END";
    sqlx::raw_sql(trigger).execute(store.pool()).await.unwrap();
    let mut transaction = store.pool().begin().await.unwrap();
    let failed = store.create_in(&mut transaction, &Sample::new(1).build()).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    sqlx::raw_sql("DROP TRIGGER refuse").execute(&mut *transaction).await.unwrap();
    let other = Sample::new(2).build();
    let inserted = store.create_in(&mut transaction, &other).await.unwrap();
    assert_eq!(inserted.into_id(), *other.id());
    transaction.commit().await.unwrap();
    let accounts = store.account_rows().await;
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0].id, other.id().as_str());
    assert_eq!(store.api_key_rows().await.len(), 1);
}

#[tokio::test]
async fn a_constraint_of_the_hosts_own_is_no_clash_of_identifiers() {
    let store = store().await;
    let tables = "CREATE TABLE seats (number INTEGER UNIQUE);
        INSERT INTO seats VALUES (1);
        CREATE TRIGGER seat AFTER INSERT ON accounts
        BEGIN INSERT INTO seats VALUES (1); END";
    sqlx::raw_sql(tables).execute(store.pool()).await.unwrap();
    let refused = store.create(Sample::new(1).build()).await;
    let Err(StoreError::Failed(source)) = refused else { panic!("{refused:?}") };
    assert!(source.to_string().contains("seats.number"), "{source}");
    sqlx::raw_sql("DROP TRIGGER seat").execute(store.pool()).await.unwrap();
    assert_eq!(store.create(Sample::new(1).build()).await.unwrap(), CreateOutcome::Stored);
}
