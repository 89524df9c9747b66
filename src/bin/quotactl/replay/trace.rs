//! Reads a trace: `TIMESTAMP,ContextTokens,GeneratedTokens`, columns in any order, others ignored.

use std::{
    io::{BufRead, BufReader, Read},
    time::Duration,
};

use chrono::{DateTime, NaiveDateTime};
use csv::StringRecord;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// From 1, without the header.
    pub(super) number: u64,
    /// Since the first row; a row recorded before the first counts as at its time.
    pub(super) offset: Duration,
    pub(super) input: u64,
    pub(super) output: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum TraceError {
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error("no column {0:?}; the first line must name TIMESTAMP, ContextTokens and GeneratedTokens")]
    Column(&'static str),
    #[error("no rows")]
    Empty,
}

/// Reads at most `limit` rows. A row is a line: what csv counts as lines is off after empty ones and with CRLF.
pub(super) fn read(source: impl Read, limit: Option<usize>) -> Result<Vec<Row>, TraceError> {
    let mut lines = BufReader::new(source).lines().zip(1..).filter_map(|(text, line)| {
        let problem = |problem: String| TraceError::Line { line, problem };
        match text {
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some(split(&text).map(|record| (line, record)).map_err(problem)),
            Err(error) => Some(Err(problem(error.to_string()))),
        }
    });
    let (_, headers) = lines.next().ok_or(TraceError::Empty)??;
    let column = |name| {
        let found = headers.iter().position(|header| header.trim_start_matches('\u{feff}').eq_ignore_ascii_case(name));
        found.ok_or(TraceError::Column(name))
    };
    let columns = [column("TIMESTAMP")?, column("ContextTokens")?, column("GeneratedTokens")?];
    let mut rows: Vec<Row> = Vec::new();
    let mut first = None;
    for (number, record) in (1..).zip(lines.take(limit.unwrap_or(usize::MAX))) {
        let (line, record) = record?;
        let (time, input, output) = fields(&record, columns).map_err(|problem| TraceError::Line { line, problem })?;
        let start = *first.get_or_insert(time);
        rows.push(Row { number, offset: (time - start).to_std().unwrap_or_default(), input, output });
    }
    if rows.is_empty() { Err(TraceError::Empty) } else { Ok(rows) }
}

fn split(line: &str) -> Result<StringRecord, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .buffer_capacity(line.len().max(1))
        .trim(csv::Trim::All)
        .from_reader(line.as_bytes());
    let mut record = StringRecord::new();
    reader.read_record(&mut record).map_err(|error| error.to_string())?;
    Ok(record)
}

fn fields(record: &StringRecord, [time, input, output]: [usize; 3]) -> Result<(NaiveDateTime, u64, u64), String> {
    let field = |column, name: &str| record.get(column).ok_or_else(|| format!("no {name}"));
    let count = |column, name: &str| {
        let text = field(column, name)?;
        text.parse().map_err(|_| format!("{name} {text:?} is no whole number from 0 on"))
    };
    let text = field(time, "TIMESTAMP")?;
    let time = timestamp(text)
        .ok_or_else(|| format!("TIMESTAMP {text:?} is no instant; give one such as 2023-11-16 18:17:03.9799600"))?;
    Ok((time, count(input, "ContextTokens")?, count(output, "GeneratedTokens")?))
}

/// With a space or a `T`, with any number of decimals, with or without an offset.
fn timestamp(text: &str) -> Option<NaiveDateTime> {
    let text = text.replacen('T', " ", 1);
    let plain = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").ok();
    plain.or_else(|| DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%#z").ok().map(|time| time.naive_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

    fn read_text(text: &str) -> Result<Vec<Row>, TraceError> {
        read(text.as_bytes(), None)
    }

    #[test]
    fn rows_keep_their_distance_in_time() {
        let rows = read_text(&format!(
            "{HEAD}2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n2023-11-16T18:17:03,1,0\n"
        ));
        let rows = rows.unwrap();
        let offsets: Vec<_> = rows.iter().map(|row| row.offset).collect();
        assert_eq!(offsets, [Duration::ZERO, Duration::from_millis(52), Duration::ZERO]);
        assert_eq!((rows[0].number, rows[0].input, rows[0].output), (1, 4808, 10));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for (line, named) in [
            ("2023-11-16 18:17:03,-5,1", "ContextTokens \"-5\""),
            ("2023-11-16 18:17:03,5,1.5", "GeneratedTokens \"1.5\""),
            ("yesterday,5,1", "TIMESTAMP \"yesterday\""),
            ("2023-11-16 18:17:03,5", "no GeneratedTokens"),
        ] {
            let error = read_text(&format!("{HEAD}2023-11-16 18:17:03,1,1\r\n\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("line 4: "), "{error}");
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_file_without_the_columns_or_rows_is_refused() {
        assert!(matches!(read_text("a,b\n1,2\n"), Err(TraceError::Column("TIMESTAMP"))));
        assert!(matches!(read_text(HEAD), Err(TraceError::Empty)));
        assert!(read_text("").is_err());
    }

    #[test]
    fn columns_come_in_any_order_and_with_an_offset() {
        let rows =
            read_text("\u{feff}GeneratedTokens, x, ContextTokens, TIMESTAMP\n1,,2,2024-05-10 00:00:00.009930+00:00\n");
        assert_eq!(rows.unwrap(), [Row { number: 1, offset: Duration::ZERO, input: 2, output: 1 }]);
    }

    #[test]
    fn a_limit_ends_the_reading_before_later_faults() {
        let text = format!("{HEAD}2023-11-16 18:17:03,1,1\nbroken\n");
        assert_eq!(read(text.as_bytes(), Some(1)).unwrap().len(), 1);
    }
}
