//! Prints what commands found: tables for people, JSON for programs. Each kind of thing says itself how it looks.

use std::io::{self, Write as _};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::failure::Failure;

/// A column's title, and whether its cells are numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    number: bool,
}

pub(crate) const fn text(title: &'static str) -> Column {
    Column { title, number: false }
}

pub(crate) const fn number(title: &'static str) -> Column {
    Column { title, number: true }
}

/// Something that can be shown alone or in a list.
pub(crate) trait Item {
    const COLUMNS: &'static [Column];
    /// As many as columns.
    fn cells(&self) -> Vec<String>;
    fn json(&self) -> Value;
}

/// A list, and whether the server has more of it.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    pub(crate) more: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    write: fn(&str) -> io::Result<()>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, write }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    pub(crate) fn item<I: Item>(self, item: &I) -> Result<(), Failure> {
        if self.json { self.value(&item.json()) } else { self.text(&described(item)) }
    }

    pub(crate) fn list<I: Item>(self, name: &str, list: &Listed<I>) -> Result<(), Failure> {
        if self.json {
            return self.value(&json!({ name: jsons(&list.items), "more": list.more }));
        }
        self.text(&tabulated(&list.items))?;
        if list.more { self.text("… and more: see all of them with --all") } else { Ok(()) }
    }

    /// A list whose server knows how long it is in all.
    pub(crate) fn counted<I: Item>(self, name: &str, list: &Listed<I>, total: u32) -> Result<(), Failure> {
        if self.json {
            let value = json!({ name: jsons(&list.items), "more": list.more, "total_size": total });
            return self.value(&value);
        }
        self.text(&tabulated(&list.items))?;
        if list.more { self.text(&format!("… of {total}: see all of them with --all")) } else { Ok(()) }
    }

    /// What was done, for people; `value` for programs.
    pub(crate) fn done(self, sentence: &str, value: &Value) -> Result<(), Failure> {
        if self.json { self.value(value) } else { self.text(sentence) }
    }

    /// One JSON document.
    pub(crate) fn value(self, value: &Value) -> Result<(), Failure> {
        self.text(&format!("{value:#}"))
    }

    /// A line, or several.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        (self.write)(text).map_err(|error| Failure::other(format!("the output can't be written: {error}")))
    }
}

/// To standard output, whose end (`| head`) is an error and no panic.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

pub(crate) fn jsons<I: Item>(items: &[I]) -> Vec<Value> {
    items.iter().map(Item::json).collect()
}

/// A table of several things; says so where there are none.
pub(crate) fn tabulated<I: Item>(items: &[I]) -> String {
    if items.is_empty() {
        return "(none)".to_owned();
    }
    table(I::COLUMNS, items.iter().map(Item::cells))
}

/// A table without borders: numbers stand to the right, cells are never wrapped.
pub(crate) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.title.to_uppercase())).add_rows(rows);
    for (column, shown) in columns.iter().zip(table.column_iter_mut()) {
        shown.set_padding((0, 2));
        if column.number {
            shown.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// One thing, a line for each of its columns; those without a value are left out.
pub(crate) fn described<I: Item>(item: &I) -> String {
    let width = I::COLUMNS.iter().map(|column| column.title.len()).max().unwrap_or(0);
    let lines = I::COLUMNS.iter().zip(item.cells()).filter(|(_, cell)| !cell.is_empty());
    lines.map(|(column, cell)| format!("{:width$}  {cell}", column.title)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fruit(&'static str, u64);

    impl Item for Fruit {
        const COLUMNS: &'static [Column] = &[text("name"), number("count")];

        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), crate::format::thousands(self.1)]
        }

        fn json(&self) -> Value {
            json!({ "name": self.0, "count": self.1 })
        }
    }

    #[test]
    fn tables_have_numbers_to_the_right_and_no_trailing_space() {
        let table = tabulated(&[Fruit("apple", 7), Fruit("fig", 12_345)]);
        assert_eq!(table, "NAME    COUNT\napple       7\nfig    12,345");
        assert_eq!(tabulated::<Fruit>(&[]), "(none)");
    }

    #[test]
    fn a_single_thing_shows_one_field_a_line() {
        assert_eq!(described(&Fruit("fig", 12_345)), "name   fig\ncount  12,345");
        assert_eq!(described(&Fruit("", 1)), "count  1");
    }
}
