//! How long a call may wait for its turn. A server that is asked for more than it can do answers what has waited too long at once,
//! as unavailable and unread, and spends its time on what can still be of use.
//!
//! A session isn't refused for its turn but held back: nothing more is read from it than is answered. What it begins that the books can't
//! follow is refused, but told so only after this time, or when they do.
//!
//! Only new work is put off: a Commit, a Release or an Extend is of work that is done or running, and waits as long as it takes.

use std::time::Duration;

use super::proto::begins_work;

/// How long a session is held back.
pub(super) const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Returns whether a call waited longer for its turn, from when it was read, than the setting allows new work to.
pub(super) fn waited_too_long(path: &str, waited: Duration, longest: Duration) -> bool {
    waited > longest && begins_work(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::proto::quota_service_server::SERVICE_NAME;

    #[test]
    fn only_what_has_not_begun_is_put_off() {
        let methods = ["Reserve", "Check", "Commit", "Release", "Extend", "Charge", "Session", "WatchRevocations"];
        let put_off = |waited| {
            let late = |method: &&str| waited_too_long(&format!("/{SERVICE_NAME}/{method}"), waited, LONGEST_WAIT);
            methods.into_iter().filter(late).collect::<Vec<_>>()
        };
        assert_eq!(put_off(LONGEST_WAIT + Duration::from_nanos(1)), ["Reserve", "Check"]);
        assert!(put_off(LONGEST_WAIT).is_empty());
    }
}
