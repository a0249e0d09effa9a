//! Rows of your own that are stored with the account, or not at all: a workspace with a
//! foreign key to its owner. Once by a callback of the store, and once in a transaction of
//! your own.
//!
//! ```text
//! cargo run -p signup-examples --example host_rows
//! ```

use std::error::Error;

use async_trait::async_trait;
use signup::store::{HostRows, HostRowsError, NewAccount, SqliteStore};
use signup::{SignupRequest, SignupService};
use sqlx::SqliteConnection;

const WORKSPACES: &str = "CREATE TABLE workspaces (
    owner TEXT NOT NULL UNIQUE REFERENCES accounts (id), title TEXT NOT NULL CHECK (title <> ''))";

async fn add_workspace(
    connection: &mut SqliteConnection,
    new: &NewAccount,
) -> Result<(), HostRowsError> {
    let title = new.name().unwrap_or("My workspace");
    let insert = sqlx::query("INSERT INTO workspaces (owner, title) VALUES (?, ?)");
    insert.bind(new.id().as_str()).bind(title).execute(connection).await?;
    Ok(())
}

struct Workspaces;

#[async_trait]
impl HostRows<SqliteConnection> for Workspaces {
    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        new: &NewAccount,
    ) -> Result<(), HostRowsError> {
        add_workspace(connection, new).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = SqliteStore::connect("sqlite::memory:").await?;
    store.migrate().await?;
    sqlx::raw_sql(WORKSPACES).execute(store.pool()).await?;

    // The store's transaction, with the host's rows in it.
    let with_rows = store.clone().with_host_rows(Workspaces);
    let service = SignupService::builder(with_rows).jwt_secret(&[7; 32]).build()?;
    let request = SignupRequest::new("jane@example.com", "correct horse").name("Jane's");
    service.signup(request).await?;
    // The workspace is refused, and with it the account.
    let nameless = SignupRequest::new("joe@example.com", "correct horse").name("");
    println!(
        "joe: {}",
        service.signup(nameless).await.map_or_else(|error| error.to_string(), |_| "created".into())
    );

    // The host's transaction, with the account in it.
    let request = SignupRequest::new("joe@example.com", "correct horse").name("Joe's");
    let prepared = service.prepare(request).await?;
    let mut transaction = store.pool().begin().await?;
    let inserted = store.create_in(&mut transaction, prepared.new_account()).await?;
    let added = add_workspace(&mut transaction, prepared.new_account()).await;
    added.map_err(|error| error.to_string())?;
    transaction.commit().await?;
    let signup = prepared.open(inserted)?;
    println!("joe: {}", signup.account().id());

    let owners = "SELECT a.email, w.title FROM workspaces w JOIN accounts a ON a.id = w.owner";
    for (email, title) in
        sqlx::query_as::<_, (String, String)>(owners).fetch_all(store.pool()).await?
    {
        println!("{email} owns “{title}”");
    }
    Ok(())
}
