//! The limits that stand on the organization itself.

use serde::{Deserialize, Serialize};

use crate::domain::event::LimitNo;

/// Those of the organization's own policy, then those of the operator's ceiling: one list, because every request meets both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OrganizationLimits {
    all: Box<[LimitNo]>,
    /// How many of them are of its own policy.
    own: u32,
}

impl OrganizationLimits {
    pub fn all(&self) -> &[LimitNo] {
        &self.all
    }

    /// Those that the organization set itself.
    pub fn policy(&self) -> &[LimitNo] {
        self.all.get(..self.own as usize).unwrap_or_default()
    }

    /// Those that the operator set.
    pub fn ceiling(&self) -> &[LimitNo] {
        self.all.get(self.own as usize..).unwrap_or_default()
    }

    pub(super) fn set_policy(&mut self, policy: &[LimitNo]) {
        self.all = [policy, self.ceiling()].concat().into();
        self.own = u32::try_from(policy.len()).unwrap_or(u32::MAX);
    }

    pub(super) fn set_ceiling(&mut self, ceiling: &[LimitNo]) {
        self.all = [self.policy(), ceiling].concat().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_and_ceiling_are_replaced_each_without_the_other() {
        let numbers = |numbers: &[u32]| numbers.iter().map(|no| LimitNo(*no)).collect::<Vec<_>>();
        let mut limits = OrganizationLimits::default();
        limits.set_ceiling(&numbers(&[5, 6]));
        limits.set_policy(&numbers(&[1, 2, 3]));
        assert_eq!(limits.all(), numbers(&[1, 2, 3, 5, 6]));
        limits.set_ceiling(&numbers(&[7]));
        limits.set_policy(&numbers(&[2]));
        assert_eq!((limits.policy(), limits.ceiling()), (&*numbers(&[2]), &*numbers(&[7])));
        limits.set_policy(&[]);
        assert_eq!((limits.policy(), limits.ceiling()), (&[][..], &*numbers(&[7])));
    }
}
