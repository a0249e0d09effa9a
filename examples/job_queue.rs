//! Events handed over to a queue of jobs: a table in the host's own database, in which each
//! event becomes one job, however often it is delivered.
//!
//! ```text
//! cargo run -p signup-examples --example job_queue
//! ```

use std::error::Error;

use async_trait::async_trait;
use signup::account::Plan;
use signup::relay::{Delivery, Sink, SinkError};
use signup::store::SqliteStore;
use signup::{SignupRequest, SignupService};
use sqlx::sqlite::SqlitePool;

/// Turns each event into a job of billing's.
struct JobQueue {
    pool: SqlitePool,
}

impl JobQueue {
    async fn open() -> Result<Self, sqlx::Error> {
        let pool = SqlitePool::connect("sqlite::memory:").await?;
        let table = "CREATE TABLE jobs (
            event_id TEXT PRIMARY KEY, account_id TEXT NOT NULL, payload TEXT NOT NULL)";
        sqlx::query(table).execute(&pool).await?;
        Ok(Self { pool })
    }

    async fn push(&self, delivery: &Delivery) -> Result<(), sqlx::Error> {
        // A delivery that is repeated finds its job.
        sqlx::query("INSERT INTO jobs VALUES (?, ?, ?) ON CONFLICT (event_id) DO NOTHING")
            .bind(delivery.event.id().to_owned())
            .bind(delivery.event.account_id().as_str().to_owned())
            .bind(delivery.event.to_json().to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Sink for JobQueue {
    async fn deliver(&self, delivery: Delivery) -> Result<(), SinkError> {
        self.push(&delivery).await.map_err(|error| SinkError::Temporary(error.into()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = SqliteStore::connect("sqlite::memory:").await?;
    store.migrate().await?;
    let service = SignupService::builder(store).jwt_secret(&[7; 32]).with_events().build()?;
    let jobs = JobQueue::open().await?;
    let pool = jobs.pool.clone();
    let relay = service.event_relay(jobs);

    let signup = service.signup(SignupRequest::new("dev@example.com", "correct horse")).await?;
    service.accounts().set_plan(signup.account().id(), Plan::PRO).await?;

    // A server runs it for as long as it lives: `tokio::spawn(relay.run(shutdown))`.
    while relay.run_once().await?.delivered > 0 {}
    let jobs: Vec<String> =
        sqlx::query_scalar("SELECT payload FROM jobs ORDER BY rowid").fetch_all(&pool).await?;
    for job in jobs {
        println!("{job}");
    }
    Ok(())
}
