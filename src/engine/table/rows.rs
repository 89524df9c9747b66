//! Rows that keep their places for ever, some of which are empty again.

use smallvec::SmallVec;

/// Places that one chunk spans: as many as its map has bits.
const PLACES: u32 = u64::BITS;
/// Chunks after the first get room for so many rows at once; there are very many tables of one row.
const STEP: usize = 16;
/// A full first chunk gets room for this part of its rows more.
const GROWTH: usize = 4;

/// Holds rows by their places. A row that was taken away costs nothing but a bit, and its place is never given again.
#[derive(Debug, Clone)]
pub(super) struct Rows<R> {
    chunks: SmallVec<[Chunk<R>; 1]>,
    /// The first place that no row ever had.
    next: u32,
    count: u32,
}

/// The rows of 64 places, without gaps: a few that stay hold no room for those that went.
#[derive(Debug, Clone)]
struct Chunk<R> {
    /// A bit for each place that has a row.
    taken: u64,
    rows: Vec<R>,
}

/// The places of a map's bits, the lowest first.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let lowest = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (lowest < PLACES).then_some(lowest)
    }
}

impl DoubleEndedIterator for Bits {
    fn next_back(&mut self) -> Option<u32> {
        let highest = (PLACES - 1).checked_sub(self.0.leading_zeros())?;
        self.0 &= !(1 << highest);
        Some(highest)
    }
}

impl<R> Chunk<R> {
    fn index(&self, bit: u32) -> Option<usize> {
        if self.taken & self.taken.wrapping_add(1) == 0 {
            // Nothing was ever taken away, or only from the end: no bits need counting.
            return Some(bit as usize);
        }
        let bit = 1 << bit;
        (self.taken & bit != 0).then(|| (self.taken & (bit - 1)).count_ones() as usize)
    }

    fn get(&self, bit: u32) -> Option<&R> {
        self.rows.get(self.index(bit)?)
    }

    fn remove(&mut self, bit: u32) -> Option<R> {
        let index = self.index(bit).filter(|index| *index < self.rows.len())?;
        self.taken &= !(1 << bit);
        let row = self.rows.remove(index);
        if self.rows.len() <= self.rows.capacity() / 2 {
            self.rows.shrink_to_fit();
        }
        Some(row)
    }
}

/// The chunk of a place, and its bit there.
fn at(place: u32) -> (usize, u32) {
    ((place / PLACES) as usize, place % PLACES)
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { chunks: SmallVec::new(), next: 0, count: 0 }
    }
}

impl<R: PartialEq> PartialEq for Rows<R> {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next && self.count == other.count && self.from(0).eq(other.from(0))
    }
}

impl<R> Rows<R> {
    pub(super) fn get(&self, place: u32) -> Option<&R> {
        let (chunk, bit) = at(place);
        self.chunks.get(chunk)?.get(bit)
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut R> {
        let (chunk, bit) = at(place);
        let chunk = self.chunks.get_mut(chunk)?;
        let index = chunk.index(bit)?;
        chunk.rows.get_mut(index)
    }

    /// Returns the first place that no row ever had.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Puts a row into the next place.
    pub(super) fn push(&mut self, row: R) {
        let (no, bit) = at(self.next);
        if self.chunks.len() <= no {
            self.chunks.resize_with(no + 1, || Chunk { taken: 0, rows: Vec::new() });
        }
        let chunk = &mut self.chunks[no];
        if chunk.rows.len() == chunk.rows.capacity() {
            chunk.rows.reserve_exact(if no == 0 { 1 + chunk.rows.len() / GROWTH } else { STEP });
        }
        chunk.rows.push(row);
        chunk.taken |= 1 << bit;
        self.next += 1;
        self.count += 1;
    }

    /// Leaves the next places empty, up to this one.
    pub(super) fn skip_to(&mut self, place: u32) {
        self.next = self.next.max(place);
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<R> {
        let (chunk, bit) = at(place);
        let row = self.chunks.get_mut(chunk)?.remove(bit)?;
        self.count -= 1;
        Some(row)
    }

    /// Returns rows with their places, from a place up.
    pub(super) fn from(&self, place: u32) -> impl Iterator<Item = (u32, &R)> {
        let chunks = self.chunks.get(at(place).0..).unwrap_or_default();
        let rows = (place / PLACES..).zip(chunks).flat_map(|(no, chunk)| {
            let places = Bits(chunk.taken).map(move |bit| no * PLACES + bit);
            places.zip(&chunk.rows)
        });
        rows.skip_while(move |(at, _)| *at < place)
    }

    /// Returns rows with their places, from a place down.
    pub(super) fn down_from(&self, place: u32) -> impl Iterator<Item = (u32, &R)> {
        let until = self.chunks.len().min(at(place).0 + 1);
        let last = u32::try_from(until).unwrap_or(u32::MAX);
        let rows = (0..last).rev().zip(self.chunks[..until].iter().rev()).flat_map(|(no, chunk)| {
            let places = Bits(chunk.taken).rev().map(move |bit| no * PLACES + bit);
            places.zip(chunk.rows.iter().rev())
        });
        rows.skip_while(move |(at, _)| *at > place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(rows: &Rows<u32>) -> Vec<(u32, u32)> {
        rows.from(0).map(|(place, row)| (place, *row)).collect()
    }

    #[test]
    fn rows_keep_their_places_whatever_is_taken_away_around_them() {
        let (mut rows, mut expected) = (Rows::default(), Vec::new());
        for row in 0..300 {
            rows.push(row);
            expected.push((row, row));
        }
        // In an order that leaves gaps of all kinds: 7 and 300 have no common divisor.
        for step in 0..300 {
            let gone = step * 7 % 300;
            assert_eq!((rows.remove(gone), rows.remove(gone)), (Some(gone), None));
            expected.retain(|(place, _)| *place != gone);
            assert_eq!(all(&rows), expected);
            assert_eq!(rows.count() as usize, expected.len());
            for place in 0..302 {
                let found = expected.iter().find(|(at, _)| *at == place).map(|(_, row)| row);
                assert_eq!(rows.get(place), found);
                assert_eq!(rows.get_mut(place).as_deref(), found);
            }
            let from: Vec<_> = rows.from(130).map(|(place, _)| place).collect();
            assert_eq!(from, expected.iter().map(|(place, _)| *place).filter(|at| *at >= 130).collect::<Vec<_>>());
            let down: Vec<_> = rows.down_from(130).map(|(place, _)| place).collect();
            let expected: Vec<_> = expected.iter().map(|(place, _)| *place).filter(|at| *at <= 130).rev().collect();
            assert_eq!(down, expected);
        }
        rows.push(7);
        assert_eq!(all(&rows), [(300, 7)], "no place is given twice");
    }

    #[test]
    fn rows_that_went_leave_no_room_behind() {
        let mut rows = Rows::default();
        for row in 0..6400u32 {
            rows.push(row);
        }
        for place in (0..6400).filter(|place| place % 64 != 5) {
            rows.remove(place);
        }
        let room: usize = rows.chunks.iter().map(|chunk| chunk.rows.capacity()).sum();
        assert_eq!((rows.count(), room), (100, 100));
    }

    #[test]
    fn a_small_table_has_room_for_a_quarter_more_than_it_holds_at_most() {
        let mut rows = Rows::default();
        for row in 0..64u32 {
            rows.push(row);
            let (held, room) = (rows.chunks[0].rows.len(), rows.chunks[0].rows.capacity());
            assert!(room <= 1 + held + held / 4, "room for {room} where {held} are");
        }
    }
}
