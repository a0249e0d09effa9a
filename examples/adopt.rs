//! Makes the rows of a `users` table accounts: adds the columns that are missing, gives each
//! row an account id and the key of its address, and lists the rows that share a mailbox.
//! Interrupted, it is begun anew.
//!
//! ```text
//! cargo run -p signup-examples --example adopt -- \
//!     sqlite://app.db users --dry-run email=mail password_hash=pw name=full_name
//! ```
//!
//! `created_at:timestamp=since` is a point in time in the database's own type,
//! `created_at:datetime=since` a date and time in UTC, and `primary_key=user_id` the column by
//! whose order rows are adopted. `exclude=CONDITION` leaves out rows that are no users, and
//! `disabled_if=CONDITION` disables users that must not log in.

use std::error::Error;
use std::io::Write as _;

use signup::store::{AccountColumn, AdoptionReport, SqliteStore, TableMap, TimeFormat};

const USAGE: &str = "usage: adopt URL TABLE [--dry-run] [COLUMN[:timestamp|:datetime]=NAME]...";

/// Adopts with a store of any database.
macro_rules! adopt {
    ($store:ident, $url:expr, $map:expr, $is_dry:expr) => {{
        let store = $store::connect($url).await?.with_table($map)?;
        let adoption = store.adoption().on_progress(show).on_wait(wait);
        if $is_dry { adoption.dry_run().run().await? } else { adoption.run().await? }
    }};
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or(USAGE)?;
    let mut map = TableMap::new(arguments.next().ok_or(USAGE)?);
    let mut is_dry = false;
    for argument in arguments {
        if argument == "--dry-run" {
            is_dry = true;
            continue;
        }
        let (column, name) = argument.split_once('=').ok_or(USAGE)?;
        map = match (column, column.split_once(':')) {
            ("primary_key", _) => map.primary_key(name),
            ("exclude", _) => map.exclude(name),
            ("disabled_if", _) => map.disabled_if(name),
            (_, None) => map.column(column.parse()?, name),
            (_, Some((column, format))) => {
                let column: AccountColumn = column.parse()?;
                let format = match format {
                    "timestamp" => TimeFormat::Timestamp,
                    "datetime" => TimeFormat::DateTime,
                    _ => return Err(USAGE.into()),
                };
                map.column(column, name).time(column, format)
            }
        };
    }
    let report = match url.split(':').next() {
        #[cfg(feature = "postgres")]
        Some("postgres" | "postgresql") => {
            use signup::store::PostgresStore;
            adopt!(PostgresStore, &url, map, is_dry)
        }
        #[cfg(feature = "mysql")]
        Some("mysql" | "mariadb") => {
            use signup::store::MySqlStore;
            adopt!(MySqlStore, &url, map, is_dry)
        }
        _ => adopt!(SqliteStore, &url, map, is_dry),
    };
    tell(&report, is_dry);
    Ok(())
}

fn wait(statement: &str) {
    eprintln!("waits for a lock of another session: {statement}");
}

/// Draws a bar of forty signs.
fn show(done: u64, all: u64) {
    let width = usize::try_from(done * 40 / all.max(1)).unwrap_or(0).min(40);
    eprint!("\r[{:<40}] {done} of {all}", "#".repeat(width));
    let _ = std::io::stderr().flush();
}

fn tell(report: &AdoptionReport, is_dry: bool) {
    eprintln!();
    let done = if is_dry { "to be done" } else { "done" };
    for statement in &report.statements {
        println!("{done}: {statement}");
    }
    println!("{done}: {report}");
}
