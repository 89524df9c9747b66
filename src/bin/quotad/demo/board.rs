//! What the demo shows while it runs, counted by the caller alone, and compared with the books in the end.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{IsTerminal as _, Write as _, stdout},
};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use quotad::{
    api::proto::{CommitResponse, Denial, DenialCode, Revocation},
    domain::money::Nanos,
};
use terminal_size::{Height, Width, terminal_size};

use super::{DemoError, seed::KEYS};

/// What the caller saw of one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub granted: u64,
    pub committed: u64,
    released: u64,
    pub tokens: u64,
    pub cost: Nanos,
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
pub(super) struct Board {
    pub rows: [Row; KEYS.len()],
    /// What is worth a sentence.
    pub events: Vec<String>,
    /// Lengths of the lines drawn last, to draw over.
    drawn: Vec<usize>,
}

/// Decimal strings of the server, at most 9 decimals.
fn money(field: &'static str, text: &str) -> Result<Nanos, DemoError> {
    Nanos::parse(field, text).map_err(|_| DemoError::Incomplete(field))
}

fn short(code: i32) -> &'static str {
    let name = DenialCode::try_from(code).unwrap_or_default().as_str_name();
    name.strip_prefix("DENIAL_CODE_").unwrap_or(name)
}

impl Board {
    pub(super) fn granted(&mut self, key: usize) {
        self.rows[key].granted += 1;
    }

    pub(super) fn released(&mut self, key: usize) {
        self.rows[key].released += 1;
    }

    pub(super) fn denied(&mut self, key: usize, denial: &Denial) {
        *self.rows[key].refused.entry(short(denial.code)).or_default() += 1;
    }

    pub(super) fn committed(&mut self, key: usize, committed: &CommitResponse) -> Result<(), DemoError> {
        let charged = committed.charged.as_ref().ok_or(DemoError::Incomplete("charged"))?;
        let overage = committed.overage.as_ref().map_or(Ok(Nanos::ZERO), |over| money("overage", &over.usd))?;
        let row = &mut self.rows[key];
        row.committed += 1;
        row.tokens += charged.tokens;
        row.cost += money("charged", &charged.usd)?;
        if overage > Nanos::ZERO {
            let (name, usd) = (KEYS[key].0, &charged.usd);
            self.events.push(format!(
                "overage    {name} used {usd} USD, {overage} of it beyond a cap: charged all the same, and the cap refuses now"
            ));
        }
        Ok(())
    }

    pub(super) fn revoked(&mut self, key: usize, revocation: &Revocation) {
        let cause = revocation.cause.clone().unwrap_or_default();
        let (name, request, limit) = (KEYS[key].0, &revocation.request_id, cause.limit_id);
        let code = short(cause.code);
        self.events
            .push(format!("revoked    {request} of {name} was told to stop while it ran: {code}, limit {limit}"));
    }

    pub(super) fn stopped(&mut self, denial: &Denial) {
        self.events.push(format!("extend     refused: {} ({})", short(denial.code), denial.message));
    }

    pub(super) fn total(&self) -> (u64, Nanos) {
        (self.rows.iter().map(|row| row.committed).sum(), self.rows.iter().map(|row| row.cost).sum())
    }

    /// At most 80 columns wide: why something was refused stands below.
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["key", "team", "granted", "released", "committed", "tokens", "USD", "refused"]);
        for (row, (key, team, _)) in self.rows.iter().zip(KEYS) {
            let refused: u64 = row.refused.values().sum();
            let counts = [row.granted, row.released, row.committed, row.tokens];
            let numbers = counts.iter().map(ToString::to_string);
            let numbers = numbers.chain([format!("{:.6}", row.cost.to_decimal()), refused.to_string()]);
            let mut cells = vec![Cell::new(key), Cell::new(team)];
            cells.extend(numbers.map(|number| Cell::new(number).set_alignment(CellAlignment::Right)));
            table.add_row(cells);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table
    }

    /// `RATE_LIMIT_EXCEEDED  12 of dan-ci`, a line for each code.
    fn refusals(&self) -> Vec<String> {
        let mut codes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (row, (key, ..)) in self.rows.iter().zip(KEYS) {
            for (code, count) in &row.refused {
                codes.entry(code).or_default().push(format!("{count} of {key}"));
            }
        }
        codes.iter().map(|(code, counts)| format!("{code:<21}  {}", counts.join(", "))).collect()
    }

    /// What the board shows, in lines no longer than `width`.
    fn lines(&self, width: usize) -> Vec<String> {
        let mut lines: Vec<String> = self.table().trim_fmt().lines().map(ToOwned::to_owned).collect();
        let refusals = self.refusals();
        if !refusals.is_empty() {
            lines.push(String::from("refused"));
            lines.extend(refusals);
        }
        lines.iter().map(|line| line.chars().take(width).collect()).collect()
    }

    /// Draws over what was drawn last; where nobody looks on, or there is no room, only the last time.
    pub(super) fn draw(&mut self, last: bool) {
        let size = stdout().is_terminal().then(terminal_size).flatten();
        let (width, height) = size.map_or((usize::MAX, 0), |(Width(w), Height(h))| (usize::from(w), usize::from(h)));
        // The last time nothing is cut off: the terminal may break a line, nothing is drawn over it any more.
        let lines = self.lines(if last { usize::MAX } else { width });
        let has_room = lines.len() < height;
        if !last && !has_room {
            return;
        }
        let mut text = String::new();
        if size.is_some() && !self.drawn.is_empty() {
            // A terminal that became narrower since has broken the lines that were drawn.
            let rows: usize = self.drawn.iter().map(|length| length.div_ceil(width.max(1)).max(1)).sum();
            let rows = rows.min(height.saturating_sub(1));
            let _ = write!(text, "\x1b[{rows}A\r\x1b[J");
        }
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        let mut out = stdout().lock();
        // A terminal that went away is no reason to stop serving.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
        self.drawn = lines.iter().map(|line| line.chars().count()).collect();
    }
}

/// A sentence in lines of at most 80 columns, all but the first further in.
pub(super) fn wrapped(text: &str) -> String {
    const WIDTH: usize = 80;
    const INDENT: &str = "           ";
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.trim_end().chars().count() <= WIDTH => line.push_str(word),
            _ => lines.push(format!("{INDENT}{word}")),
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Board {
        let mut board = Board::default();
        for row in &mut board.rows {
            *row = Row {
                granted: 1234,
                committed: 1234,
                released: 123,
                tokens: 1_345_678,
                cost: Nanos::units(1),
                ..Row::default()
            };
            row.refused = [("RATE_LIMIT_EXCEEDED", 12), ("MODEL_NOT_ALLOWED", 3)].into();
        }
        board
    }

    #[test]
    fn the_table_fits_80_columns_and_less_where_there_is_less() {
        let board = full();
        let table = board.table().trim_fmt();
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(board.lines(40).iter().all(|line| line.chars().count() <= 40));
        assert!(
            board
                .lines(usize::MAX)
                .iter()
                .any(|line| line.starts_with("RATE_LIMIT_EXCEEDED") && line.contains("12 of dan-ci"))
        );
    }

    #[test]
    fn sentences_are_broken_at_words() {
        let text = wrapped(&format!("overage    {}", "word ".repeat(30)));
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("           word")), "{text}");
    }
}
