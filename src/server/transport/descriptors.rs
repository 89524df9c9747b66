//! Descriptors: how many the system gives, and how many of them connections may take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for files: the journal, the books and their readers, databases, mails and webhooks on their way.
const FOR_FILES: usize = 256;

/// Raises the soft limit to the hard one. Answers how many connections leave enough for files; `None` where there is no limit.
pub(super) fn room_for_connections() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    limit.map(|limit| room_within(usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// Files get theirs first, but never more than half.
fn room_within(limit: usize) -> usize {
    limit - FOR_FILES.min(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_theirs_first_but_at_most_half() {
        assert_eq!([1024, 512, 100, 0].map(room_within), [768, 256, 50, 0]);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let room = room_for_connections();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(room.is_some(), current.is_some());
    }
}
