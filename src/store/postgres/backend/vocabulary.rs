//! Every statement that a distributed database is sent, against a table of what each takes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::account::{AccountId, AccountState, Plan, TicketNonce};
use crate::clock::Timestamp;
use crate::fields::Email;
use crate::hash::PasswordHash;
use crate::store::dialect::names::Schema;
use crate::store::{
    AccountChange, AccountCursor, AccountFilter, Condition, Effect, KeyQuery, PostgresStore,
};

const TABLE: &str = include_str!("vocabulary.txt");

/// Returns what the three databases say to each construct.
fn table() -> BTreeMap<&'static str, [&'static str; 3]> {
    let sources: BTreeSet<_> = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("= ")?.split_once(' '))
        .filter_map(|(name, url)| url.trim().starts_with("https://").then_some(name))
        .collect();
    let rows = TABLE.lines().filter(|line| line.contains('|') && !line.starts_with('#'));
    let row = |line: &'static str| {
        let mut cells = line.split('|').map(str::trim);
        let construct = cells.next().unwrap();
        let answers = cells.map(|cell| {
            let (answer, source) = cell.split_once(' ').unwrap();
            assert!(sources.contains(source), "{source} is no source");
            assert!(["yes", "no", "unnamed"].contains(&answer), "{answer}");
            answer
        });
        (construct, answers.collect::<Vec<_>>().try_into().unwrap())
    };
    rows.map(row).collect()
}

/// A word of SQL, and whether a bracket follows it at once.
type Word = (String, bool);

/// Returns the runs of words between which there is nothing but blanks. Comments and quoted
/// text are left out.
fn runs(sql: &str) -> Vec<Vec<Word>> {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join(" ");
    let text = text.split('\'').step_by(2).collect::<Vec<_>>().join("?");
    let (mut runs, mut run, mut word) = (Vec::new(), Vec::new(), String::new());
    for sign in text.chars().chain(['?']) {
        if sign.is_alphanumeric() || "_.".contains(sign) {
            word.push(sign);
            continue;
        }
        if !word.is_empty() {
            run.push((std::mem::take(&mut word), sign == '('));
        }
        if !sign.is_whitespace() {
            runs.push(std::mem::take(&mut run));
        }
    }
    runs
}

/// Returns the constructs of some SQL: the longest phrases of the table, and what it does not
/// know: other words in capitals, and functions.
fn constructs(sql: &str, table: &BTreeMap<&str, [&str; 3]>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for run in runs(sql) {
        let mut at = 0;
        while let Some((word, is_call)) = run.get(at) {
            let phrase = (1..=5).rev().find_map(|length| {
                let words = run.get(at..at + length)?.iter().map(|(word, _)| word.as_str());
                let phrase = words.collect::<Vec<_>>().join(" ");
                table.contains_key(phrase.as_str()).then_some((phrase, length))
            });
            let is_capital = |sign: char| sign.is_ascii_uppercase() || sign == '_';
            if let Some((phrase, length)) = phrase {
                found.insert(phrase);
                at += length;
                continue;
            }
            if word.len() > 1 && word.chars().all(is_capital) {
                found.insert(word.clone());
            } else if *is_call && !word.contains(is_capital_letter) {
                found.insert(format!("{word}()"));
            }
            at += 1;
        }
    }
    found
}

fn is_capital_letter(sign: char) -> bool {
    sign.is_ascii_uppercase()
}

/// Returns what the store sends: its statements, those that it writes for a change and for a
/// list, its schema, and what surrounds them.
fn sent(store: &PostgresStore) -> String {
    let id = AccountId::from_store("acc_1");
    let email = || Email::from_store("a@x.co", "a@x.co");
    let hash = || PasswordHash::from_store("$argon2id$".to_owned(), None);
    let at = Timestamp::EPOCH;
    let change = AccountChange::new(id.clone())
        .provided(Condition::Email(email().key().clone()))
        .provided(Condition::Generation(0))
        .provided(Condition::Unverified)
        .provided(Condition::TicketNonce(None))
        .provided(Condition::DeletionDue(at))
        .provided(Condition::Password(hash()))
        .provided(Condition::State(&[AccountState::Active, AccountState::Disabled]))
        .with(Effect::SetPassword(hash()))
        .with(Effect::SetName(None))
        .with(Effect::SetPlan(Plan::PRO))
        .with(Effect::SetEmail(email(), at))
        .with(Effect::SetState(AccountState::Active, None))
        .with(Effect::Erase(None))
        .with(Effect::VerifyEmail(at))
        .with(Effect::ForgetRetries)
        .with(Effect::SetTicketNonce(TicketNonce::new([7; 16])))
        .with(Effect::RevokeTokens);
    let all = AccountFilter::new(10)
        .state(AccountState::Active)
        .created_from(at)
        .created_before(at)
        .after(AccountCursor::new(at, id.clone()));
    let several = all.clone().due_at(at).plan(Plan::PRO);
    let lists = [all, several].map(|filter| store.queries.list_accounts(&filter));
    let lists = lists.into_iter().flat_map(|list| list.pages.into_iter().chain(list.end));
    let keys = KeyQuery::of(&id).valid_at(at).with_tags(&[[1; 32], [2; 32]]).limit(2);
    let find_column = store.backend.find_column(&store.names, "accounts", "id");
    let written = [store.queries.list_api_keys(&keys).statement, find_column];
    let written = written.into_iter().chain(lists.map(|list| list.statement));
    let changes = [change, AccountChange::new(id.clone())];
    let changes = changes.iter().flat_map(|change| store.queries.change(change));
    let written: Vec<_> =
        written.chain(changes).map(|statement| statement.sql().to_owned()).collect();
    let migrations = store.migrations().into_iter().map(|migration| migration.sql);
    let queries = format!("{:?}", store.queries).replace("\\n", "\n");
    let queries = queries.replace("LIMIT_ROWS", "1");
    // The sign-up in one statement is PostgreSQL's own.
    let (before, after) = queries.split_once("at_once: Some([").unwrap();
    let (at_once, after) = after.split_once("])").unwrap();
    let at_once = if store.backend.distributed { "" } else { at_once };
    let queries = [before, at_once, after].join("; ");
    let around = ["BEGIN", "COMMIT", "ROLLBACK", "SELECT 1"].map(str::to_owned);
    written
        .into_iter()
        .chain(migrations)
        .chain(around)
        .chain([queries])
        .collect::<Vec<_>>()
        .join(";\n")
}

fn store() -> PostgresStore {
    let pool = sqlx::postgres::PgPoolOptions::new().connect_lazy("postgres://127.0.0.1:1/x");
    PostgresStore::new(pool.unwrap()).with_schema(Schema::new("auth").unwrap())
}

#[tokio::test]
async fn a_distributed_database_is_sent_nothing_that_it_does_not_take() {
    let table = table();
    let used = constructs(&sent(&store().distributed()), &table);
    assert!(used.len() > 30, "{used:?}");
    for construct in &used {
        let answers = table.get(construct.as_str());
        let answers = answers.unwrap_or_else(|| panic!("look up what they say to {construct}"));
        assert!(!answers.contains(&"no"), "{construct}: {answers:?}");
    }
}

#[tokio::test]
async fn the_table_tells_what_only_postgresql_itself_takes() {
    let table = table();
    let used = constructs(&sent(&store()), &table);
    let refused: Vec<_> = used
        .iter()
        .filter(|construct| table.get(construct.as_str()).is_some_and(|it| it.contains(&"no")))
        .collect();
    assert_eq!(refused, ["COLLATE", "CREATE INDEX", "REFERENCES"]);
}
