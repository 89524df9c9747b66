//! The kinds of places that SQLite's files have: headers, pages, cells, the index pages among them, frames of the log, tails.

use std::collections::BTreeMap;

const DATABASE_HEADER: usize = 100;
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: &'static str,
    /// What lies there, for whoever reads of a failure.
    #[allow(dead_code, reason = "read by its Debug only")]
    pub(crate) what: String,
    pub(crate) damage: Damage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    None,
    /// One bit at this byte.
    Flip(usize),
    /// The file ends here.
    Cut(usize),
}

impl Damage {
    pub(crate) fn apply(self, bytes: &mut Vec<u8>) {
        match self {
            Self::None => {}
            // Another bit at each place.
            Self::Flip(at) => bytes[at] ^= 1 << (at % 8),
            Self::Cut(at) => bytes.truncate(at),
        }
    }

    pub(crate) fn at(self) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::Flip(at) | Self::Cut(at) => at,
        }
    }
}

pub(crate) fn places(files: &BTreeMap<&'static str, Vec<u8>>) -> Vec<Place> {
    let of_file = |(file, bytes): (&&'static str, &Vec<u8>)| {
        let found = if file.ends_with("-wal") { of_log(bytes) } else { of_database(bytes) };
        let file = *file;
        found.into_iter().map(move |(what, damage)| Place { file, what, damage })
    };
    files.iter().flat_map(of_file).collect()
}

fn half_word(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

/// 65,536 doesn't fit into the two bytes and is written as 1.
fn page_size(bytes: &[u8]) -> usize {
    match half_word(bytes, 16) {
        1 => 65_536,
        size => size,
    }
}

fn of_database(bytes: &[u8]) -> Vec<(String, Damage)> {
    // Magic, sizes, versions, counters, free list, schema, encoding.
    const HEADER: [usize; 14] = [0, 16, 18, 19, 20, 21, 24, 28, 32, 36, 40, 44, 56, 92];
    let mut found: Vec<(String, Damage)> =
        HEADER.iter().map(|at| (format!("header {at}"), Damage::Flip(at + 1))).collect();
    let size = page_size(bytes);
    for (number, page) in bytes.chunks(size).enumerate() {
        let start = number * size;
        let header = if number == 0 { DATABASE_HEADER } else { 0 };
        for (what, at) in of_page(page, header) {
            found.push((format!("page {} {what}", number + 1), Damage::Flip(start + at)));
        }
    }
    let cuts = [0, 1, DATABASE_HEADER, size - 1, size, size + 1, bytes.len() / 2, bytes.len() - size, bytes.len() - 1];
    found.extend(cuts.into_iter().filter(|cut| *cut < bytes.len()).map(|cut| (String::from("cut"), Damage::Cut(cut))));
    found
}

/// The header of a b-tree page, its pointers to cells, and of some cells: length, row id, the record's header, data, end.
fn of_page(page: &[u8], header: usize) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> =
        [0, 1, 3, 4, 5, 7, 8, 10, 11, 12, 13].iter().map(|at| (format!("header {at}"), header + at)).collect();
    let kind = page[header];
    let pointers = match kind {
        2 | 5 => header + 12,
        10 | 13 => header + 8,
        // An overflow page, or a free one.
        _ => {
            found.push((String::from("overflow middle"), page.len() / 2));
            found.push((String::from("overflow end"), page.len() - 1));
            return found;
        }
    };
    let cells = half_word(page, header + 3);
    for cell in [0, cells / 2, cells.saturating_sub(1)] {
        if cell >= cells {
            continue;
        }
        let at = half_word(page, pointers + 2 * cell);
        let kind = if matches!(kind, 2 | 10) { "index" } else { "table" };
        for (what, offset) in
            [("length", 0), ("row", 1), ("record header", 3), ("record", 8), ("data", 40), ("more", 90)]
        {
            if at + offset < page.len() {
                found.push((format!("{kind} cell {cell} {what}"), at + offset));
            }
        }
    }
    found.push((String::from("last byte"), page.len() - 1));
    found.push((String::from("middle"), page.len() / 2));
    found
}

fn of_log(bytes: &[u8]) -> Vec<(String, Damage)> {
    if bytes.len() < LOG_HEADER {
        return Vec::new();
    }
    let mut found: Vec<(String, Damage)> =
        (0..LOG_HEADER).step_by(4).map(|at| (format!("header {at}"), Damage::Flip(at + 3))).collect();
    let frame = FRAME_HEADER + usize::try_from(u32::from_be_bytes(bytes[8..12].try_into().unwrap())).unwrap();
    let frames = (bytes.len() - LOG_HEADER) / frame;
    for number in (0..frames).step_by(frames.div_ceil(12).max(1)).chain(frames.saturating_sub(3)..frames) {
        let start = LOG_HEADER + number * frame;
        for at in [3, 7, 11, 15, 19, 23, 24, 24 + 60, frame / 2, frame - 1] {
            found.push((format!("frame {} byte {at}", number + 1), Damage::Flip(start + at)));
        }
        for cut in [start, start + FRAME_HEADER, start + frame / 2] {
            found.push((format!("cut in frame {}", number + 1), Damage::Cut(cut)));
        }
    }
    found.extend([0, 1, LOG_HEADER - 1, bytes.len() - 1].map(|cut| (String::from("cut"), Damage::Cut(cut))));
    found
}
