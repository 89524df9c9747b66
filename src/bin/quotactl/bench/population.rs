//! The keys that pay, and which of them is next.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use quotad::api::proto::Payer;
use rand::{RngExt as _, rngs::Xoshiro256PlusPlus};
use rand_distr::{Distribution as _, Zipf};

use crate::{
    arguments::{key_payer, secret_payer},
    failure::Failure,
};

/// More keys than this are a mistake.
pub(super) const MOST_KEYS: usize = 1_000_000;

/// Keys by id or by secret; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Population {
    names: Vec<String>,
    by_secret: bool,
}

impl Population {
    pub(super) fn new(names: Vec<String>, by_secret: bool) -> Result<Self, Failure> {
        match names.len() {
            0 => Err(Failure::other("there are no keys to choose from; give at least one")),
            1..=MOST_KEYS => Ok(Self { names, by_secret }),
            more => Err(Failure::other(format!("{more} keys are too many; give at most {MOST_KEYS}"))),
        }
    }

    /// One key a line; empty lines and those that begin with `#` don't count.
    pub(super) fn read(path: &Path, by_secret: bool) -> Result<Self, Failure> {
        let wrong = |problem: String| Failure::file("keys file", path, problem);
        let text = fs::read_to_string(path).map_err(|error| wrong(format!("can't be read: {error}")))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self::new(lines.map(str::to_owned).collect(), by_secret).map_err(|failure| wrong(failure.to_string()))
    }

    /// For the owner of the file alone: there may be secrets in it.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = self.names.join("\n") + "\n";
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| Failure::file("keys file", path, format!("can't be written: {error}")))
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn payer(&self, index: usize) -> Option<Payer> {
        let name = self.names.get(index)?;
        Some(if self.by_secret { secret_payer(name) } else { key_payer(name) })
    }
}

/// How keys are chosen among `0..count`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Choice {
    Uniform {
        count: usize,
    },
    /// The n-th key is chosen in proportion to 1 / n^exponent.
    Zipf {
        ranks: Zipf<f64>,
        count: usize,
    },
}

impl Choice {
    pub(super) fn new(count: usize, exponent: Option<f64>) -> Result<Self, Failure> {
        let Some(exponent) = exponent else { return Ok(Self::Uniform { count }) };
        #[allow(clippy::cast_precision_loss, reason = "counts of keys are small")]
        let ranks = Zipf::new(count as f64, exponent);
        let ranks = ranks.map_err(|error| Failure::other(format!("zipf: {exponent} over {count} keys: {error}")))?;
        Ok(Self::Zipf { ranks, count })
    }

    pub(super) fn draw(&self, random: &mut Xoshiro256PlusPlus) -> usize {
        match self {
            Self::Uniform { count } => random.random_range(0..*count),
            Self::Zipf { ranks, count } => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ranks go from 1 to count")]
                let rank = ranks.sample(random) as usize;
                rank.clamp(1, *count) - 1
            }
        }
    }
}

/// Reads the exponent of a Zipf distribution.
pub(super) fn parse_exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok().filter(|exponent| (0.01..=10.0).contains(exponent));
    exponent.ok_or_else(|| format!("{text:?} is no exponent; give one from 0.01 to 10, such as 1.1"))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn drawn(choice: &Choice, seed: u64, draws: usize) -> Vec<usize> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        (0..draws).map(|_| choice.draw(&mut random)).collect()
    }

    fn shares(drawn: &[usize], count: usize) -> Vec<f64> {
        let mut shares = vec![0.0; count];
        let share = 1.0 / f64::from(u32::try_from(drawn.len()).unwrap());
        for index in drawn {
            shares[*index] += share;
        }
        shares
    }

    #[test]
    fn uniform_choice_gives_each_key_its_share() {
        let choice = Choice::new(10, None).unwrap();
        for share in shares(&drawn(&choice, 7, 100_000), 10) {
            assert!((share - 0.1).abs() < 0.005, "{share}");
        }
    }

    #[test]
    fn zipf_choice_follows_its_law_and_stays_within_the_keys() {
        let choice = Choice::new(100, Some(1.0)).unwrap();
        let shares = shares(&drawn(&choice, 7, 200_000), 100);
        let harmonic: f64 = (1..=100).map(|rank| 1.0 / f64::from(rank)).sum();
        for (index, rank) in [(0, 1.0), (1, 2.0), (9, 10.0)] {
            let expected = 1.0 / (rank * harmonic);
            assert!((shares[index] - expected).abs() < expected * 0.05, "rank {rank}: {} {expected}", shares[index]);
        }
    }

    #[test]
    fn the_same_seed_chooses_the_same_keys() {
        for exponent in [None, Some(1.1)] {
            let choice = Choice::new(1000, exponent).unwrap();
            assert_eq!(drawn(&choice, 3, 100), drawn(&choice, 3, 100));
            assert_ne!(drawn(&choice, 3, 100), drawn(&choice, 4, 100));
        }
        assert_eq!(drawn(&Choice::new(1, Some(2.0)).unwrap(), 1, 3), [0, 0, 0]);
        // Fixed, so that a run can be repeated with a later version.
        assert_eq!(drawn(&Choice::new(1000, None).unwrap(), 1, 4), [811, 747, 100, 746]);
    }

    #[test]
    fn a_keys_file_may_have_comments_and_reads_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "# hot first\nk1\n\n  k2  \r\n").unwrap();
        let population = Population::read(&path, false).unwrap();
        assert_eq!((population.payer(1), population.payer(2)), (Some(key_payer("k2")), None));
        population.write(&path).unwrap();
        assert_eq!(Population::read(&path, false).unwrap(), population);
        fs::write(&path, "# none\n").unwrap();
        assert!(Population::read(&path, true).unwrap_err().to_string().contains("no keys"));
    }

    #[test]
    fn exponents_are_positive_numbers() {
        for bad in ["0", "-1", "NaN", "inf", "steep", ""] {
            assert!(parse_exponent(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_exponent("1.1"), Ok(1.1));
    }
}
