//! Keeps, in the books, what a server that has lost its disk is built from: a state of every stream and the records since; and
//! builds one.

use std::cmp::Ordering;

use super::{Error, Service, snapshots::BYTES_AT_ONCE};
use crate::{
    domain::{event::Stream, lease::Lease, snapshot::SnapshotMark},
    journal::{Journal, JournalError, Snapshots},
    store::Store,
};

/// Marks to compare at a time.
const MARKS: usize = 1024;
/// States to read at a time: one may be large.
const STATES: usize = 64;
const RECORDS: usize = 4096;

impl Service {
    /// Copies into the books every snapshot that is newer than the state there, and lets them forget the records that all
    /// states have. `from` is a position that every snapshot has seen.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`] when the books can't be reached; then the next round does it.
    pub(super) async fn mirror(&self, from: u64) -> Result<(), Error> {
        let Some(lease) = self.books.lease() else { return Ok(()) };
        let mut after = None;
        let mut all = true;
        loop {
            let saved = self.snapshots.list(after.as_ref(), MARKS).await?;
            let Some(last) = saved.last().map(|mark| mark.stream.clone()) else { break };
            let kept = self.store.list_states(after.as_ref(), MARKS).await?;
            all &= self.mirror_some(lease, &newer(&saved, &kept)).await?;
            after = Some(last);
        }
        let stored = self.stored.get();
        if all {
            self.guard_books(self.store.trim_events(lease, from.min(stored)).await)?;
        }
        Ok(())
    }

    /// False if the books haven't reached one of the snapshots: it would be ahead of them.
    async fn mirror_some(&self, lease: Lease, streams: &[Stream]) -> Result<bool, Error> {
        let (mut states, mut bytes, mut all) = (Vec::new(), 0, true);
        let mut streams = streams.chunks(STATES).peekable();
        while let Some(some) = streams.next() {
            let stored = self.stored.get();
            let found = self.snapshots.find(some).await?.into_iter().filter(|state| state.position <= stored);
            let before = states.len();
            states.extend(found);
            all &= states.len() - before == some.len();
            bytes += states[before..].iter().map(|state| state.state.len()).sum::<usize>();
            if !states.is_empty() && (bytes >= BYTES_AT_ONCE || streams.peek().is_none()) {
                self.guard_books(self.store.save_states(lease, &std::mem::take(&mut states)).await)?;
                bytes = 0;
            }
        }
        Ok(all)
    }
}

/// Streams of `saved` that `kept` doesn't have as late. Both in the order of their keys; `kept` may end sooner, and then what
/// lies beyond counts as missing: saving a state again does no harm.
fn newer(saved: &[SnapshotMark], kept: &[SnapshotMark]) -> Vec<Stream> {
    let mut kept = kept.iter().peekable();
    let mut newer = Vec::new();
    for mark in saved {
        while kept.next_if(|kept| kept.stream.key().cmp(mark.stream.key()) == Ordering::Less).is_some() {}
        let same = kept.next_if(|kept| kept.stream == mark.stream);
        if same.is_none_or(|kept| kept.sequence < mark.sequence) {
            newer.push(mark.stream.clone());
        }
    }
    newer
}

/// Fills an empty journal and empty snapshots with what the books keep. Answers the position reached.
///
/// # Errors
/// [`Error`] when the books can't be read or the files can't be written.
pub async fn rebuild(store: &dyn Store, journal: &dyn Journal, snapshots: &dyn Snapshots) -> Result<u64, Error> {
    let status = store.status().await?;
    let mut records = store.read_events(0, RECORDS).await?;
    let trimmed = records.first().map_or(status.position, |first| first.position - 1);
    let mut after = None;
    loop {
        let mut page = store.load_states(after.as_ref(), STATES).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.stream.clone());
        // Every state has what the books forgot. The system's says so, because recovery asks it; it is kept only when it changes.
        for state in page.iter_mut().filter(|state| state.stream == Stream::System) {
            state.position = state.position.max(trimmed);
        }
        snapshots.save(&page).await?;
    }
    journal.begin_after(trimmed).await?;
    let mut reached = trimmed;
    while let Some(last) = records.last() {
        reached = last.position;
        for batch in records.chunks(RECORDS) {
            journal.append(batch).await.map_err(JournalError::from)?;
            journal.checkpoint().await.map_err(JournalError::from)?;
        }
        records = store.read_events(reached + 1, RECORDS).await?;
    }
    if reached != status.position {
        return Err(Error::Internal(format!(
            "the books are at position {}, but keep records up to {reached}: they can't build a server",
            status.position
        )));
    }
    Ok(status.position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::OrganizationId;

    fn marks(of: &[(&str, u64)]) -> Vec<SnapshotMark> {
        let mark = |&(key, sequence): &(&str, u64)| SnapshotMark {
            stream: if key.is_empty() { Stream::System } else { Stream::Organization(OrganizationId::trusted(key)) },
            sequence,
            position: sequence,
        };
        of.iter().map(mark).collect()
    }

    #[test]
    fn only_what_the_books_lack_or_have_older_is_copied() {
        let saved = marks(&[("", 5), ("a", 3), ("b", 4), ("d", 1)]);
        let kept = marks(&[("", 5), ("a", 2), ("c", 9), ("d", 1)]);
        let keys: Vec<_> = newer(&saved, &kept).iter().map(|stream| stream.key().to_owned()).collect();
        assert_eq!(keys, ["a", "b"]);
        assert_eq!(newer(&saved, &[]).len(), 4);
    }
}
