//! Which operation comes next: the mix that was asked for, as far as what is open allows it.
//!
//! Turns are taken in a fixed order, not drawn: a mix of one Reserve and one Commit is a Reserve and a Commit in turn, so
//! that what is open stays bounded and two runs do the same.

use serde::Serialize;

/// The operations, in the order in which equal claims are met: what needs a reservation to stay open comes before what
/// closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Reserve,
    Extend,
    Commit,
    Release,
    Charge,
    Check,
}

impl Kind {
    pub(super) const ALL: [Self; 6] =
        [Self::Reserve, Self::Extend, Self::Commit, Self::Release, Self::Charge, Self::Check];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Extend => "extend",
            Self::Commit => "commit",
            Self::Release => "release",
            Self::Charge => "charge",
            Self::Check => "check",
        }
    }

    /// Works on a reservation that is open.
    pub(super) fn needs_reservation(self) -> bool {
        matches!(self, Self::Extend | Self::Commit | Self::Release)
    }
}

/// How often each operation is done, in relation to the others; at least one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mix([u32; 6]);

impl Mix {
    pub(super) fn weight(self, kind: Kind) -> u32 {
        self.0[kind as usize]
    }

    /// Whether anything is done on what was reserved.
    pub(super) fn settles(self) -> bool {
        Kind::ALL.into_iter().any(|kind| kind.needs_reservation() && self.weight(kind) > 0)
    }
}

/// The largest weight.
const HEAVIEST: u32 = 1_000_000;

/// Reads `reserve=2,commit=1,release=1`.
pub(super) fn parse_mix(text: &str) -> Result<Mix, String> {
    let mut mix = Mix([0; 6]);
    for part in text.split(',') {
        let (name, weight) = part.split_once('=').ok_or_else(|| format!("{part:?} is no NAME=WEIGHT"))?;
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name.trim())
            .ok_or_else(|| format!("{name:?} is no operation; give {}", Kind::ALL.map(Kind::name).join(", ")))?;
        let weight = weight.trim().parse().ok().filter(|weight| *weight <= HEAVIEST);
        let weight = weight.ok_or_else(|| format!("the weight of {name} is a whole number up to {HEAVIEST}"))?;
        if mix.weight(kind) > 0 {
            return Err(format!("{name} is given twice"));
        }
        mix.0[kind as usize] = weight;
    }
    let wants_open = Kind::ALL.into_iter().find(|kind| kind.needs_reservation() && mix.weight(*kind) > 0);
    match wants_open {
        _ if mix.0 == [0; 6] => Err("every weight is 0; give at least one operation".to_owned()),
        Some(kind) if mix.weight(Kind::Reserve) == 0 => {
            Err(format!("{} needs reservations; give reserve a weight too", kind.name()))
        }
        _ => Ok(mix),
    }
}

/// What can be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Possible {
    pub(super) reserve: bool,
    /// A reservation is open that no operation is under way on.
    pub(super) settle: bool,
}

impl Possible {
    fn allows(self, kind: Kind) -> bool {
        match kind {
            Kind::Reserve => self.reserve,
            Kind::Extend | Kind::Commit | Kind::Release => self.settle,
            Kind::Charge | Kind::Check => true,
        }
    }
}

/// Gives the operations their turns.
#[derive(Debug, Clone)]
pub(super) struct Rotation {
    mix: Mix,
    total: i64,
    /// What each is owed: its weight with every turn, less the total for a turn it took.
    claims: [i64; 6],
}

impl Rotation {
    pub(super) fn new(mix: Mix) -> Self {
        Self { mix, total: mix.0.iter().map(|weight| i64::from(*weight)).sum(), claims: [0; 6] }
    }

    /// The operation with the largest claim among those that are possible. Where none is of the mix, a Release makes room;
    /// `None` where that can't be either.
    pub(super) fn next(&mut self, possible: Possible) -> Option<Kind> {
        let mut chosen: Option<Kind> = None;
        for kind in Kind::ALL {
            let weight = self.mix.weight(kind);
            if weight == 0 {
                continue;
            }
            // Bounded, or what was impossible for long would then be all that is done for long.
            let claim = (self.claims[kind as usize] + i64::from(weight)).clamp(-self.total, self.total);
            self.claims[kind as usize] = claim;
            let better = chosen.is_none_or(|chosen| claim > self.claims[chosen as usize]);
            if possible.allows(kind) && better {
                chosen = Some(kind);
            }
        }
        match chosen {
            Some(kind) => {
                self.claims[kind as usize] -= self.total;
                Some(kind)
            }
            None => possible.settle.then_some(Kind::Release),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL_POSSIBLE: Possible = Possible { reserve: true, settle: true };

    fn rotation(mix: &str) -> Rotation {
        Rotation::new(parse_mix(mix).unwrap())
    }

    #[test]
    fn a_mix_is_kept_exactly_where_everything_is_possible() {
        let mut rotation = rotation("reserve=5,commit=3,release=1,extend=2,charge=1,check=4");
        let mut counts = [0; 6];
        for _ in 0..16 * 50 {
            counts[rotation.next(ALL_POSSIBLE).unwrap() as usize] += 1;
        }
        assert_eq!(counts, [250, 100, 150, 50, 50, 200]);
    }

    #[test]
    fn one_reserve_and_one_commit_take_turns_and_leave_nothing_open() {
        let mut rotation = rotation("reserve=1,commit=1");
        let mut open = 0;
        for turn in 0..100 {
            match rotation.next(Possible { reserve: true, settle: open > 0 }).unwrap() {
                Kind::Reserve => open += 1,
                _ => open -= 1,
            }
            assert_eq!(open, (turn + 1) % 2);
        }
    }

    #[test]
    fn a_reservation_is_extended_before_it_is_committed() {
        let mut rotation = rotation("commit=1,extend=1,reserve=1");
        let turns: Vec<_> = (0..6).map(|_| rotation.next(ALL_POSSIBLE).unwrap()).collect();
        assert_eq!(turns, [Kind::Reserve, Kind::Extend, Kind::Commit, Kind::Reserve, Kind::Extend, Kind::Commit]);
    }

    #[test]
    fn what_was_impossible_for_long_does_not_crowd_out_the_rest() {
        let mut rotation = rotation("reserve=1,commit=1");
        for _ in 0..10_000 {
            assert_eq!(rotation.next(Possible { reserve: true, settle: false }), Some(Kind::Reserve));
        }
        let turns: Vec<_> = (0..8).map(|_| rotation.next(ALL_POSSIBLE).unwrap()).collect();
        let commits = turns.iter().filter(|kind| **kind == Kind::Commit).count();
        assert!((4..=6).contains(&commits), "{turns:?}");
    }

    #[test]
    fn a_mix_without_settling_releases_once_there_is_no_room() {
        let mut rotation = rotation("reserve=1");
        assert_eq!(rotation.next(Possible { reserve: false, settle: true }), Some(Kind::Release));
        assert_eq!(rotation.next(Possible { reserve: false, settle: false }), None);
    }

    #[test]
    fn mixes_that_make_no_sense_are_refused() {
        for (bad, why) in [
            ("", "NAME=WEIGHT"),
            ("reserve", "NAME=WEIGHT"),
            ("reserve=-1", "whole number"),
            ("reserve=1000001", "whole number"),
            ("reserve=1,reserve=1", "twice"),
            ("grab=1", "no operation"),
            ("commit=1", "needs reservations"),
            ("reserve=0,check=0", "at least one"),
        ] {
            let error = parse_mix(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(parse_mix("check=1, charge=3").is_ok());
    }
}
