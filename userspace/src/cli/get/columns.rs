//! Columns as kubectl prints them: its own first, then those that only shunt has.

use jiff::Timestamp;

use crate::cli::output;

/// Which columns are printed.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Style {
    /// `-o wide`.
    pub(in crate::cli) wide: bool,
    /// Whether the first column says the namespace: not where one was asked for.
    pub(in crate::cli) namespaces: bool,
    /// Whether the columns' names are printed.
    pub(in crate::cli) headers: bool,
    /// What ages are counted to.
    pub(in crate::cli) now: Timestamp,
}

/// When a column is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Always,
    Wide,
    WithNamespaces,
}

/// One column of rows of a type.
pub(super) struct Column<Row> {
    name: &'static str,
    shown: Shown,
    value: fn(&Row, &Style) -> String,
}

impl<Row> Column<Row> {
    pub(super) const fn new(name: &'static str, value: fn(&Row, &Style) -> String) -> Self {
        Self { name, shown: Shown::Always, value }
    }

    /// A column of `-o wide`.
    pub(super) const fn wide(name: &'static str, value: fn(&Row, &Style) -> String) -> Self {
        Self { name, shown: Shown::Wide, value }
    }

    /// The column of namespaces.
    pub(super) const fn namespace(value: fn(&Row, &Style) -> String) -> Self {
        Self { name: "NAMESPACE", shown: Shown::WithNamespaces, value }
    }

    const fn is_in(&self, style: &Style) -> bool {
        match self.shown {
            Shown::Always => true,
            Shown::Wide => style.wide,
            Shown::WithNamespaces => style.namespaces,
        }
    }
}

/// The rows in these columns.
pub(super) fn table<'a, Row: 'a>(
    columns: &[Column<Row>],
    rows: impl IntoIterator<Item = &'a Row>,
    style: &Style,
) -> String {
    let shown: Vec<&Column<Row>> = columns.iter().filter(|column| column.is_in(style)).collect();
    let header = style.headers.then(|| shown.iter().map(|column| column.name).collect());
    let rows = rows
        .into_iter()
        .map(|row| shown.iter().map(|column| (column.value)(row, style)).collect::<Vec<String>>());
    output::rows_below(header, rows)
}
