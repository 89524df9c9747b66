//! Prints what commands found: tables for people, JSON for programs. Each kind of thing says itself how it looks.

use std::io::{self, IsTerminal as _, Write as _};

use quotad::domain::text::{escaped, escaped_but_colors, is_hidden};
use serde_json::{Value, json};

use crate::{cli::Global, failure::Failure};

mod layout;

pub(crate) use layout::wrapped;

/// A column's title, whether its cells are numbers, and whether a narrow table does without it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    number: bool,
    spare: bool,
}

impl Column {
    /// Left out where a table doesn't fit: what shows one thing alone has it.
    pub(crate) const fn spare(self) -> Self {
        Self { spare: true, ..self }
    }
}

pub(crate) const fn text(title: &'static str) -> Column {
    Column { title, number: false, spare: false }
}

pub(crate) const fn number(title: &'static str) -> Column {
    Column { title, number: true, spare: false }
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
    form: Form,
    write: fn(&str) -> io::Result<()>,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Text,
    Json,
    /// One field of the JSON, by its path.
    Field(&'static str),
}

impl Output {
    pub(crate) const TEXT: Self = Self { form: Form::Text, write };
    #[cfg(test)]
    pub(crate) const JSON: Self = Self { form: Form::Json, write };

    pub(crate) fn new(global: &Global) -> Self {
        let form = match &global.field {
            // Once a run, and as long as it.
            Some(path) => Form::Field(path.clone().leak()),
            None if global.json => Form::Json,
            None => Form::Text,
        };
        Self { form, write }
    }

    /// Whether values are printed, and not text.
    pub(crate) fn is_json(self) -> bool {
        !matches!(self.form, Form::Text)
    }

    pub(crate) fn item<I: Item>(self, item: &I) -> Result<(), Failure> {
        if self.is_json() { self.value(&item.json()) } else { self.text(&described(item)) }
    }

    pub(crate) fn list<I: Item>(self, name: &str, list: &Listed<I>) -> Result<(), Failure> {
        if self.is_json() {
            return self.value(&json!({ name: jsons(&list.items), "more": list.more }));
        }
        self.text(&tabulated(&list.items))?;
        if list.more { self.text("… and more: see all of them with --all") } else { Ok(()) }
    }

    /// A list whose server knows how long it is in all, unless that is 0 though there is something in it.
    pub(crate) fn counted<I: Item>(self, name: &str, list: &Listed<I>, total: u32) -> Result<(), Failure> {
        let known = (total > 0 || (list.items.is_empty() && !list.more)).then_some(total);
        if self.is_json() {
            let value = json!({ name: jsons(&list.items), "more": list.more, "total_size": known });
            return self.value(&value);
        }
        let Some(total) = known else { return self.list(name, list) };
        self.text(&tabulated(&list.items))?;
        if list.more { self.text(&format!("… of {total}: see all of them with --all")) } else { Ok(()) }
    }

    /// What was done, for people; `value` for programs.
    pub(crate) fn done(self, sentence: &str, value: &Value) -> Result<(), Failure> {
        if self.is_json() { self.value(value) } else { self.text(sentence) }
    }

    /// One JSON document, or the field of it that was asked for.
    pub(crate) fn value(self, value: &Value) -> Result<(), Failure> {
        let Form::Field(path) = self.form else { return self.lines(&escaped_json(&format!("{value:#}"))) };
        let found = path.split('.').try_fold(value, |value, name| match value {
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            value => value.get(name),
        });
        match found {
            Some(Value::String(text)) => self.text(text),
            Some(value) => self.lines(&escaped_json(&value.to_string())),
            None => Err(Failure::other(format!("the answer has no field {path:?}; --json shows what it has"))),
        }
    }

    /// A line, or several, with nothing in them that isn't seen.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        self.lines(&escaped_lines(text))
    }

    fn lines(self, text: &str) -> Result<(), Failure> {
        (self.write)(text).map_err(|error| Failure::other(format!("the output can't be written: {error}")))
    }
}

/// Several lines, with nothing else in them that isn't seen: what is stored may be older than what is refused by now.
pub(crate) fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped_but_colors).collect::<Vec<_>>().join("\n")
}

/// As programs read it back: JSON itself leaves most of what isn't seen as it is.
pub(crate) fn escaped_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) && c != '\n' {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
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

/// A table without borders that fits the terminal: numbers stand to the right.
pub(crate) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows = rows.into_iter().map(|cells| one_line(&cells)).collect();
    layout::table_within(columns, rows, width())
}

/// How wide what is printed may be: as the terminal is, else as `COLUMNS` says, else 80 columns.
pub(crate) fn width() -> usize {
    const NARROWEST: usize = 40;
    let terminal = io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    let terminal = terminal.map(|(terminal_size::Width(width), _)| usize::from(width));
    let given = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(given).unwrap_or(80).max(NARROWEST)
}

/// Sentences, in lines that fit.
pub(crate) fn prose(text: &str) -> String {
    let width = width();
    text.lines().flat_map(|line| wrapped(line, "", width)).collect::<Vec<_>>().join("\n")
}

/// Cells that take one line each.
fn one_line(cells: &[String]) -> Vec<String> {
    cells.iter().map(|cell| escaped(cell).into_owned()).collect()
}

/// One thing, a line for each of its columns; those without a value are left out.
pub(crate) fn described<I: Item>(item: &I) -> String {
    layout::record(I::COLUMNS, &one_line(&item.cells()), width())
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
    fn what_is_not_seen_is_shown_escaped() {
        let forged = Fruit("fig\nkiwi  9\u{202e}\u{1b}[2J", 1);
        assert_eq!(
            tabulated(&[forged]),
            "NAME                           COUNT\nfig\\nkiwi  9\\u{202e}\\u{1b}[2J      1"
        );
        assert_eq!(described(&Fruit("a\u{200b}", 1)), "name   a\\u{200b}\ncount  1");
        assert_eq!(escaped_lines("one\ntwo\r\u{9b}2J"), "one\ntwo\\r\\u{9b}2J");
        let value = json!({ "name": "a\u{202e}\u{e0041}\n" });
        let shown = escaped_json(&format!("{value:#}"));
        assert!(shown.contains("\\u202e\\udb40\\udc41\\n"), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn a_single_thing_shows_one_field_a_line() {
        assert_eq!(described(&Fruit("fig", 12_345)), "name   fig\ncount  12,345");
        assert_eq!(described(&Fruit("", 1)), "count  1");
    }
}
