use std::{sync::Arc, thread};

use super::*;

/// Readings that the test sets.
#[derive(Debug, Clone, Default)]
struct Fake(Arc<FakeState>);

#[derive(Debug, Default)]
struct FakeState {
    wall: AtomicI64,
    elapsed: AtomicI64,
}

impl Fake {
    fn at(wall: Timestamp) -> Self {
        let fake = Self::default();
        fake.set_wall(wall);
        fake
    }

    fn set_wall(&self, wall: Timestamp) {
        self.0.wall.store(wall.micros(), Ordering::SeqCst);
    }

    /// Both clocks go on.
    fn pass(&self, span: Span) {
        self.0.wall.fetch_add(span.as_micros(), Ordering::SeqCst);
        self.0.elapsed.fetch_add(span.as_micros(), Ordering::SeqCst);
    }
}

impl Readings for Fake {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.0.wall.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Span {
        Span::micros(self.0.elapsed.load(Ordering::SeqCst))
    }
}

const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn clock(fake: &Fake) -> SystemClock<Fake> {
    SystemClock::with_readings(fake.clone(), Timestamp::EPOCH)
}

#[test]
fn time_follows_an_undisturbed_wall_clock() {
    let fake = Fake::at(START);
    let clock = clock(&fake);
    for second in 0..100 {
        assert_eq!(clock.now(), START + Span::seconds(second));
        fake.pass(Span::SECOND);
    }
    assert_eq!(clock.drift(), Span::ZERO);
}

#[test]
fn time_starts_no_earlier_than_the_last_journalled_time() {
    let journalled = START + Span::seconds(90);
    let fake = Fake::at(START);
    let clock = SystemClock::with_readings(fake.clone(), journalled);
    assert_eq!(clock.now(), journalled);
    assert_eq!(clock.drift(), Span::seconds(-90));
    fake.pass(Span::seconds(20));
    assert_eq!(clock.now(), journalled + Span::seconds(19), "runs 5% slow until the wall clock has caught up");
}

#[test]
fn a_wall_clock_set_ahead_is_approached_by_a_twentieth_and_not_overshot() {
    let fake = Fake::at(START);
    let clock = clock(&fake);
    fake.set_wall(START + Span::seconds(2));
    fake.pass(Span::SECOND);
    assert_eq!(clock.now(), START + Span::SECOND, "the leap isn't known before the first look");
    let mut before = clock.now();
    for _ in 0..200 {
        fake.pass(Span::micros(100_000));
        let now = clock.now();
        assert!((95_000..=105_000).contains(&(now - before).as_micros()), "{now:?} after {before:?}");
        before = now;
    }
    assert_eq!(clock.drift(), Span::SECOND, "20 s make up for one");
    fake.pass(Span::seconds(60));
    assert_eq!(clock.drift(), Span::ZERO);
}

#[test]
fn a_wall_clock_set_back_never_turns_time_back() {
    let fake = Fake::at(START);
    let clock = clock(&fake);
    fake.pass(Span::SECOND);
    let mut before = clock.now();
    fake.set_wall(START - Span::DAY);
    for _ in 0..1_000 {
        fake.pass(Span::micros(10_000));
        let now = clock.now();
        assert!(now > before, "{now:?} after {before:?}");
        before = now;
    }
    // 10 s later it is a twentieth of that slower, but for the second until the first look.
    assert_eq!(before, START + Span::micros(11_000_000 - 450_000));
}

#[test]
fn divergence_is_flagged_above_five_minutes_and_ends() {
    let fake = Fake::at(START);
    let clock = clock(&fake);
    let look = || {
        fake.pass(STEER_INTERVAL);
        clock.now();
        clock.diverged()
    };
    assert!(!look());
    fake.set_wall(clock.now() + Span::seconds(300));
    assert!(!look(), "exactly five minutes are tolerated");
    fake.set_wall(clock.now() + Span::seconds(301));
    assert!(look());
    fake.set_wall(clock.now() - Span::seconds(301));
    assert!(look());
    fake.set_wall(clock.now());
    assert!(!look());
}

#[test]
fn a_journal_from_the_future_is_flagged_at_start() {
    let clock = SystemClock::with_readings(Fake::at(START), START + Span::HOUR);
    assert!(clock.diverged());
}

#[test]
fn a_wall_clock_before_the_epoch_or_at_the_end_of_time_is_survived() {
    for wall in [Timestamp::from_micros(i64::MIN), Timestamp::NEVER] {
        let fake = Fake::at(START);
        let clock = clock(&fake);
        fake.set_wall(wall);
        fake.0.elapsed.fetch_add(2_000_000, Ordering::SeqCst);
        let before = clock.now();
        fake.0.elapsed.fetch_add(2_000_000, Ordering::SeqCst);
        let passed = clock.now() - before;
        assert!((1_900_000..=2_100_000).contains(&passed.as_micros()), "{passed:?}");
    }
}

#[test]
fn no_thread_sees_time_run_backwards() {
    let clock = Arc::new(SystemClock::start(Timestamp::EPOCH));
    let latest = Arc::new(AtomicI64::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (clock, latest) = (clock.clone(), latest.clone());
            thread::spawn(move || {
                for _ in 0..50_000 {
                    let before = latest.load(Ordering::SeqCst);
                    let now = clock.now().micros();
                    assert!(now >= before, "{now} after {before}");
                    latest.fetch_max(now, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(latest.load(Ordering::SeqCst) > Timestamp::from_seconds(1_700_000_000).micros());
}

#[test]
fn a_thread_that_comes_late_with_an_old_reading_answers_no_less_than_the_others() {
    let fake = Fake::at(START);
    let clock = clock(&fake);
    fake.pass(Span::seconds(10));
    let latest = clock.now();
    fake.0.elapsed.fetch_sub(5_000_000, Ordering::SeqCst);
    assert_eq!(clock.now(), latest);
}

#[test]
fn a_manual_clock_moves_forwards_only() {
    let clock = ManualClock::new(START);
    clock.advance(Span::SECOND);
    clock.set(START);
    clock.advance(Span::seconds(-5));
    assert_eq!(clock.now(), START + Span::SECOND);
    clock.set(START + Span::HOUR);
    assert_eq!(clock.now(), START + Span::HOUR);
}
