//! Cells, rows and statements between the books and whichever database they are in.

use std::{borrow::Cow, fmt::Write as _};

use super::{StoreError, tables::Table};
use crate::domain::{money::Nanos, time::Timestamp};

/// A cell. Each has the form of its column's [`Kind`](super::tables::Kind), or is null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Int(i64),
    Nanos(Nanos),
    Time(Timestamp),
    Bool(bool),
    Json(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(super) fn opt_text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::text)
    }

    pub(super) fn owned(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    pub(super) fn json(json: String) -> Self {
        Self::Json(Cow::Owned(json))
    }

    pub(super) fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(bytes))
    }

    /// A count, an epoch, a number of its own: below 2^63.
    pub(super) fn count(count: u64) -> Self {
        Self::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// Null where there is none.
    pub(super) fn opt<T>(value: Option<T>, of: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Null, of)
    }
}

/// How rows get into their table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum How {
    /// They are new.
    Insert,
    /// New, or merged column by column into the one that is there.
    Merge,
    /// Whole rows too, but null leaves a column as it is, and only what is replaced counts. No row: nothing.
    Patch,
    /// Of these keys: removed. The cells of the key columns only.
    Delete,
}

/// Rows on their way into a table, cell after cell in the order of its columns.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub table: &'static Table,
    pub how: How,
    pub cells: Vec<Value<'a>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(table: &'static Table, how: How) -> Self {
        Self { table, how, cells: Vec::new() }
    }

    pub(super) fn push<const N: usize>(&mut self, row: [Value<'a>; N]) {
        debug_assert_eq!(N, self.width(), "{} by {:?}", self.table.name, self.how);
        debug_assert!(
            matches!(self.how, How::Patch | How::Delete)
                || self.table.columns.iter().zip(&row).all(|(column, cell)| column.null || *cell != Value::Null),
            "null in {}",
            self.table.name
        );
        self.cells.extend(row);
    }

    /// Cells a row.
    pub(super) fn width(&self) -> usize {
        if self.how == How::Delete { self.table.keys().count() } else { self.table.columns.len() }
    }

    pub(super) fn count(&self) -> usize {
        self.cells.len() / self.width()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// A row that was read.
#[derive(Debug)]
pub(super) struct Row(pub(super) Vec<Value<'static>>);

macro_rules! cells {
    ($($name:ident $opt:ident: $variant:ident as $type:ty;)*) => {$(
        #[allow(dead_code, reason = "one of a family")]
        pub(super) fn $name(&mut self, at: usize) -> Result<$type, StoreError> {
            self.$opt(at)?.ok_or_else(|| StoreError::Damaged(format!("column {at} of what was read is null")))
        }

        /// `None` where it is null.
        #[allow(dead_code, reason = "one of a family")]
        pub(super) fn $opt(&mut self, at: usize) -> Result<Option<$type>, StoreError> {
            match self.take(at) {
                Value::Null => Ok(None),
                Value::$variant(value) => Ok(Some(value.into())),
                other => Err(StoreError::Damaged(format!("column {at} of what was read is {other:?}"))),
            }
        }
    )*};
}

impl Row {
    fn take(&mut self, at: usize) -> Value<'static> {
        self.0.get_mut(at).map_or(Value::Null, |cell| std::mem::replace(cell, Value::Null))
    }

    pub(super) fn is_null(&self, at: usize) -> bool {
        self.0.get(at).is_none_or(|cell| *cell == Value::Null)
    }

    cells! {
        text opt_text: Text as String;
        int opt_int: Int as i64;
        nanos opt_nanos: Nanos as Nanos;
        time opt_time: Time as Timestamp;
        json opt_json: Json as String;
        bytes opt_bytes: Bytes as Vec<u8>;
        bool opt_bool: Bool as bool;
    }

    pub(super) fn count(&mut self, at: usize) -> Result<u64, StoreError> {
        let count = self.int(at)?;
        u64::try_from(count).map_err(|_| StoreError::Damaged(format!("column {at} of what was read is {count}")))
    }
}

/// A statement with its values, written with the placeholders that every database here knows.
#[derive(Debug, Default)]
pub(super) struct Sql<'a> {
    pub text: String,
    pub values: Vec<Value<'a>>,
}

impl<'a> Sql<'a> {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// The next placeholder.
    pub(super) fn bind(&mut self, value: Value<'a>) -> &mut Self {
        self.values.push(value);
        // Writing to a string doesn't fail.
        let _ = write!(self.text, "${}", self.values.len());
        self
    }

    /// `VALUES`, whose columns every database here calls `column1`, `column2` and so on.
    pub(super) fn bind_values<const N: usize>(&mut self, rows: impl IntoIterator<Item = [Value<'a>; N]>) -> &mut Self {
        for (i, row) in rows.into_iter().enumerate() {
            self.push(if i == 0 { "VALUES " } else { ", " }).bind_list(row);
        }
        self
    }

    /// Placeholders in parentheses.
    pub(super) fn bind_list(&mut self, values: impl IntoIterator<Item = Value<'a>>) -> &mut Self {
        self.push("(");
        for (i, value) in values.into_iter().enumerate() {
            self.push(if i == 0 { "" } else { ", " }).bind(value);
        }
        self.push(")")
    }
}
