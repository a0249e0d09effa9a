//! Statements whose text depends on the query.

use crate::clock::Timestamp;

use super::fill::read_times;
use super::names::TableNames;
use super::statement::{Statement, Value};
use super::syntax::Syntax;
use super::table::AccountColumn;

/// A statement that is being written.
pub(in crate::store) struct Sql<'a> {
    values: Vec<Value>,
    names: &'a TableNames,
    syntax: Syntax,
}

impl<'a> Sql<'a> {
    pub(in crate::store) const fn new(names: &'a TableNames, syntax: Syntax) -> Self {
        Self { values: Vec::new(), names, syntax }
    }

    /// Returns the name of a table.
    pub(in crate::store) fn table(&self, name: &str) -> String {
        self.names.table(name)
    }

    /// Fills in the names of columns.
    pub(in crate::store) fn statement(self, text: &str) -> Statement {
        let text = read_times(text, self.names, self.syntax);
        Statement::from_parts(self.names.fill_columns(&text), self.values)
    }

    /// Returns the values, for a statement without names of columns.
    pub(in crate::store) fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// Adds a value and returns its placeholder.
    pub(in crate::store) fn value(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        (self.syntax.placeholder)(self.values.len())
    }

    /// Adds a time for a column and returns the expression that writes it.
    pub(in crate::store) fn time(
        &mut self,
        column: AccountColumn,
        at: impl Into<Option<Timestamp>>,
    ) -> String {
        let millis = self.value(at.into().map(Timestamp::as_millis));
        self.names.write_time(column, &millis, self.syntax)
    }
}
