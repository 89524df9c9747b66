//! What the demo shows while it runs, counted by the caller alone, and compared with the books in the end.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _, stdout},
};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use quotad::{
    api::proto::{CommitResponse, Denial, DenialCode, Revocation},
    domain::money::Nanos,
};

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
    /// Lines drawn last, to draw over.
    drawn: usize,
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

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["key", "team", "granted", "released", "committed", "tokens", "USD", "refused"]);
        for (row, (key, team, _)) in self.rows.iter().zip(KEYS) {
            let refused: Vec<_> = row.refused.iter().map(|(code, count)| format!("{count} {code}")).collect();
            let numbers = [row.granted, row.released, row.committed, row.tokens];
            let mut cells = vec![Cell::new(key), Cell::new(team)];
            cells.extend(numbers.map(|number| Cell::new(number).set_alignment(CellAlignment::Right)));
            cells.push(Cell::new(format!("{:.6}", row.cost.to_decimal())).set_alignment(CellAlignment::Right));
            cells.push(Cell::new(refused.join(", ")));
            table.add_row(cells);
        }
        table
    }

    /// Draws over what was drawn last; where nobody looks on, only the last time.
    pub(super) fn draw(&mut self, last: bool) {
        let live = stdout().is_terminal();
        if !live && !last {
            return;
        }
        let text = self.table().trim_fmt();
        let mut out = stdout().lock();
        // A terminal that went away is no reason to stop serving.
        if live && self.drawn > 0 {
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
        }
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
        self.drawn = text.lines().count();
    }
}
