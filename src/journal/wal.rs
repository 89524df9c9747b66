//! Looks at the write-ahead log, and at the file's length, before SQLite does.
//!
//! SQLite's recovery stops at the first frame that doesn't check and silently drops what follows. After a crash that is
//! right for the last transaction, which was never acknowledged, but a flipped bit further up would take acknowledged ones
//! with it. Each frame stores the running checksum, so that the frames behind a damaged one can still be told apart.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

const DATABASE_HEADER: usize = 100;
const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The low bit says in which byte order the checksums read the data.
const MAGIC: u32 = 0x377f_0682;

/// What recovery would lose beyond the last, unfinished transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// The first frame that doesn't check, from 1; 0 is the header.
    pub frame: usize,
    pub frames: usize,
}

/// `None` where all but at most the last transaction is whole, or where there is no log.
///
/// # Errors
/// When the file is there and can't be read.
pub(super) fn check(path: &Path) -> io::Result<Option<Loss>> {
    match fs::read(path) {
        Ok(log) => Ok(loss(&log)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many bytes a database file lacks of what its header says. Only where no log is left: with one, SQLite completes it.
///
/// # Errors
/// When the file is there and can't be read.
pub(super) fn missing_bytes(path: &Path, log: &Path) -> io::Result<u64> {
    let has_log = fs::metadata(log).is_ok_and(|log| log.len() > 0);
    if has_log || !path.exists() {
        return Ok(0);
    }
    let mut header = Vec::with_capacity(DATABASE_HEADER);
    let file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.take(DATABASE_HEADER as u64).read_to_end(&mut header)?;
    if header.len() < DATABASE_HEADER {
        return Ok(if length == 0 { 0 } else { DATABASE_HEADER as u64 - length });
    }
    // 65,536 doesn't fit into the two bytes and is written as 1.
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        page => u64::from(page),
    };
    Ok((u64::from(word(&header, 28)) * page).saturating_sub(length))
}

fn loss(log: &[u8]) -> Option<Loss> {
    let (header, rest) = log.split_at_checked(HEADER)?;
    if header.iter().all(|byte| *byte == 0) {
        return None;
    }
    let page = usize::try_from(word(header, 8)).unwrap_or(0);
    let big_endian = word(header, 0) & 1 == 1;
    let is_sound = word(header, 0) & !1 == MAGIC
        && page.is_power_of_two()
        && checksum(&header[..24], (0, 0), big_endian) == (word(header, 24), word(header, 28));
    if !is_sound {
        // The header lies in one sector and is on disk before any frame counts.
        return (rest.len() > FRAME_HEADER).then_some(Loss { frame: 0, frames: 0 });
    }
    let salts = &header[16..24];
    let mut previous = (word(header, 24), word(header, 28));
    let (mut first_bad, mut commits_lost, mut frames) = (None, 0, 0);
    for (at, frame) in rest.chunks_exact(FRAME_HEADER + page).enumerate() {
        let (head, data) = frame.split_at(FRAME_HEADER);
        let stored = (word(head, 16), word(head, 20));
        let is_of_this_log = &head[8..16] == salts;
        let expected = checksum(data, checksum(&head[..8], previous, big_endian), big_endian);
        if first_bad.is_none() && !(is_of_this_log && expected == stored) {
            first_bad = Some(at + 1);
        }
        if is_of_this_log {
            frames = at + 1;
            let commits = word(head, 4) != 0;
            commits_lost += usize::from(commits && first_bad.is_some());
        }
        previous = stored;
    }
    // One commit lost is a transaction whose writing was interrupted; each is on disk before the next one begins.
    first_bad.filter(|_| commits_lost > 1).map(|frame| Loss { frame, frames })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// SQLite's running checksum over pairs of 32-bit words.
fn checksum(data: &[u8], start: (u32, u32), big_endian: bool) -> (u32, u32) {
    let (mut a, mut b) = start;
    let (pairs, _) = data.as_chunks::<8>();
    for [p, q, r, s, t, u, v, w] in pairs {
        let (x, y) = ([*p, *q, *r, *s], [*t, *u, *v, *w]);
        let (x, y) = if big_endian {
            (u32::from_be_bytes(x), u32::from_be_bytes(y))
        } else {
            (u32::from_le_bytes(x), u32::from_le_bytes(y))
        };
        a = a.wrapping_add(x).wrapping_add(b);
        b = b.wrapping_add(y).wrapping_add(a);
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of `transactions` of one page each, as it lies on disk while it is written.
    async fn log(transactions: u32) -> Vec<u8> {
        use sqlx::ConnectOptions as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let mut connection = super::super::sqlite::durable(&path).connect().await.unwrap();
        sqlx::query("CREATE TABLE t (x INTEGER)").execute(&mut connection).await.unwrap();
        for x in 0..transactions {
            sqlx::query("INSERT INTO t VALUES (?)").bind(x).execute(&mut connection).await.unwrap();
        }
        fs::read(directory.path().join("test.db-wal")).unwrap()
    }

    #[tokio::test]
    async fn a_whole_log_loses_nothing_and_neither_does_a_cut_tail() {
        let log = log(5).await;
        assert_eq!(loss(&log), None);
        assert_eq!(loss(&[]), None);
        let page = (log.len() - HEADER) / 6 - FRAME_HEADER;
        for cut in [1, page, FRAME_HEADER + page] {
            assert_eq!(loss(&log[..log.len() - cut]), None, "the last transaction may be unfinished");
        }
        let mut torn = log.clone();
        *torn.last_mut().unwrap() ^= 1;
        assert_eq!(loss(&torn), None);
    }

    #[tokio::test]
    async fn a_flipped_bit_that_takes_later_transactions_along_is_told() {
        let whole = log(5).await;
        for at in [HEADER + 100, HEADER + 8, 20, whole.len() / 2] {
            let mut bad = whole.clone();
            bad[at] ^= 1;
            assert!(loss(&bad).is_some(), "byte {at} of {}", whole.len());
        }
    }
}
