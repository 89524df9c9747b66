//! Tables that fit: columns without a value go, then those that can be spared; then text is wrapped, and where even that is too
//! wide, each row becomes a record of lines.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use unicode_width::UnicodeWidthStr;

use super::Column;
use crate::style;

/// Spaces between columns.
const GAP: usize = 2;

pub(super) fn table_within(columns: &[Column], rows: Vec<Vec<String>>, width: usize) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.iter().map(|cell| shortened(cell)).collect()).collect();
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    shown.retain(|&at| rows.is_empty() || rows.iter().any(|row| !row[at].is_empty()));
    let widths: Vec<usize> = widths(columns, &rows, UnicodeWidthStr::width);
    let total = |shown: &[usize], widths: &[usize]| {
        shown.iter().map(|&at| widths[at]).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    while total(&shown, &widths) > width {
        let Some(spare) = shown.iter().rposition(|&at| columns[at].spare) else { break };
        shown.remove(spare);
    }
    if total(&shown, &widths) <= width {
        return drawn(columns, &rows, &shown, &widths);
    }
    let mut least: Vec<usize> = self::widths(columns, &rows, |text| {
        words(text).map(str::trim_end).map(UnicodeWidthStr::width).max().unwrap_or(0)
    });
    let Some(mut room) = width.checked_sub(total(&shown, &least)) else {
        return rows.iter().map(|row| record(columns, row, width)).collect::<Vec<_>>().join("\n\n");
    };
    // What is cheapest to show whole is shown whole.
    let mut wrapped = shown.clone();
    wrapped.sort_by_key(|&at| widths[at] - least[at]);
    for at in wrapped {
        let more = room.min(widths[at] - least[at]);
        least[at] += more;
        room -= more;
    }
    drawn(columns, &rows, &shown, &least)
}

/// The widest of each column, its title included.
fn widths(columns: &[Column], rows: &[Vec<String>], of: impl Fn(&str) -> usize) -> Vec<usize> {
    let widest = |(at, column): (usize, &Column)| {
        rows.iter().map(|row| of(&row[at])).chain([of(column.title)]).max().unwrap_or(0)
    };
    columns.iter().enumerate().map(widest).collect()
}

fn drawn(columns: &[Column], rows: &[Vec<String>], shown: &[usize], widths: &[usize]) -> String {
    let cell = |text: &str, at: usize| lines(text, widths[at]).join("\n");
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let header: Vec<_> = shown.iter().map(|&at| cell(columns[at].title, at).to_uppercase()).collect();
    let height = header.iter().map(|title| title.lines().count()).max().unwrap_or(0);
    table.set_header(header);
    table.add_rows(rows.iter().map(|row| shown.iter().map(|&at| cell(&row[at], at)).collect::<Vec<_>>()));
    for (&at, drawn) in shown.iter().zip(table.column_iter_mut()) {
        drawn.set_padding((0, 2));
        if columns[at].number {
            drawn.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.trim_fmt();
    let lines = text.lines().enumerate().map(|(i, line)| if i < height { style::bold(line) } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n")
}

/// One thing, a line for each column with a value.
pub(super) fn record(columns: &[Column], cells: &[String], width: usize) -> String {
    let label = columns.iter().map(|column| column.title.width()).max().unwrap_or(0);
    let fields = columns.iter().zip(cells).filter(|(_, cell)| !cell.is_empty());
    let lines = fields.flat_map(|(column, cell)| {
        let room = width.saturating_sub(label + GAP).max(20);
        lines(cell, room).into_iter().enumerate().map(move |(i, line)| {
            let title = format!("{:label$}", if i == 0 { column.title } else { "" });
            format!("{}  {line}", if i == 0 { style::bold(&title) } else { title })
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A line, or several where it is longer; `indent` stands before each, and further in before all but the first.
pub(crate) fn wrapped(text: &str, indent: &str, width: usize) -> Vec<String> {
    let room = width.saturating_sub(indent.width() + GAP).max(20);
    let lines = lines(text, room).into_iter().enumerate();
    lines.map(|(i, line)| format!("{indent}{}{line}", if i == 0 { "" } else { "  " })).collect()
}

/// Pieces that end where a line may: after spaces and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', '_'])
}

fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words(text) {
        let last = lines.last_mut();
        match last {
            Some(line) if line.is_empty() || line.width() + word.trim_end().width() <= width => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// An instant without what a table can do without: `2026-12-01 08:00Z`, at midnight `2026-12-01`.
fn shortened(cell: &str) -> String {
    let is_instant = cell.len() >= 20 && cell.ends_with('Z') && cell.is_ascii() && cell.as_bytes()[10] == b'T';
    match chrono::DateTime::parse_from_rfc3339(cell) {
        Ok(_) if is_instant && cell[11..].starts_with("00:00:00") => cell[..10].to_owned(),
        Ok(_) if is_instant => format!("{} {}Z", &cell[..10], &cell[11..16]),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{number, text};

    const COLUMNS: [Column; 4] = [text("id"), text("note"), number("count"), text("created").spare()];

    fn row(id: &str, note: &str) -> Vec<String> {
        vec![id.into(), note.into(), "7".into(), "2026-12-01T08:00:12.345678Z".into()]
    }

    fn widest(table: &str) -> usize {
        table.lines().map(UnicodeWidthStr::width).max().unwrap()
    }

    #[test]
    fn a_column_without_a_value_is_left_out() {
        let table = table_within(&COLUMNS, vec![row("a", "")], 80);
        assert_eq!(table, "ID  COUNT  CREATED\na       7  2026-12-01 08:00Z");
    }

    #[test]
    fn a_table_that_is_too_wide_loses_what_can_be_spared_then_wraps_then_becomes_records() {
        let rows = || vec![row("a", "some words in a note"), row("b", "")];
        let spared = table_within(&COLUMNS, rows(), 40);
        assert_eq!(
            spared,
            "ID  NOTE                  COUNT\na   some words in a note      7\nb                             7"
        );
        let wrapped = table_within(&COLUMNS, rows(), 24);
        assert!(widest(&wrapped) <= 24 && wrapped.lines().count() > 3, "{wrapped}");
        let wide = "x".repeat(30);
        let records = table_within(&COLUMNS, vec![row(&wide, "n"), row(&wide, "m")], 30);
        assert!(records.contains("note     n\n") && records.contains("\n\n"), "{records}");
    }

    #[test]
    fn midnight_is_its_day() {
        assert_eq!(shortened("2026-12-01T00:00:00Z"), "2026-12-01");
        for same in ["2026-12-01", "anything else that ends in Z", ""] {
            assert_eq!(shortened(same), same);
        }
    }

    #[test]
    fn long_lines_go_on_further_in() {
        assert_eq!(wrapped("one two three four five six", "  ", 26), ["  one two three four", "    five six"]);
    }
}
