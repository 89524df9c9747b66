//! Starts with a machine's clock that is wrong.

use super::*;

/// A server's time, and what the machine's clock says.
struct Machine {
    time: ManualClock,
    wall: Timestamp,
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        self.time.now()
    }

    fn wall(&self) -> Option<Timestamp> {
        Some(self.wall)
    }
}

const DAY: Span = Span::DAY;

async fn start_at(settings: &Settings, wall: Timestamp) -> Result<Running, ServeError> {
    let clock = |at_least: Timestamp| -> Arc<dyn Clock> {
        Arc::new(Machine { time: ManualClock::new(wall.max(at_least)), wall })
    };
    serve(settings, Arc::default(), clock).await
}

/// A directory whose last event was at noon.
async fn used() -> Home {
    let home = Home::new();
    let running = start_at(&home.settings(), NOON).await.unwrap();
    found(&running, "acme").await;
    running.shutdown().await.unwrap();
    home
}

#[tokio::test]
async fn a_start_with_a_clock_far_from_the_journal_is_refused_unless_it_is_accepted() {
    let home = used().await;
    for (wall, both) in [
        (NOON + Span::seconds(11 * 365 * 86_400), ["2034-11-11T22:13:20Z", "2023-11-14T22:13:20Z"]),
        (NOON + Span::seconds(30 * 86_400 + 1), ["2023-12-14T22:13:21Z", "2023-11-14T22:13:20Z"]),
        (NOON - Span::seconds(3601), ["2023-11-14T21:13:19Z", "2023-11-14T22:13:20Z"]),
    ] {
        let Err(ServeError::Clock(refused)) = start_at(&home.settings(), wall).await else { panic!("started") };
        let said = refused.to_string();
        assert!(both.iter().all(|time| said.contains(time)) && said.contains("--accept-clock"), "{said}");
    }
    for wall in [NOON - Span::HOUR, NOON, NOON + Span::seconds(30 * 86_400)] {
        start_at(&home.settings(), wall).await.unwrap().shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_accepted_is_taken_and_how_far_it_may_be_ahead_is_a_setting() {
    let home = used().await;
    let settings = Settings { clock_max_ahead: DAY, ..home.settings() };
    let later = NOON + Span::seconds(2 * 86_400);
    assert!(matches!(start_at(&settings, later).await, Err(ServeError::Clock(_))));
    let accepted = Settings { accept_clock: true, ..settings };
    let running = start_at(&accepted, later).await.unwrap();
    found(&running, "late").await;
    running.shutdown().await.unwrap();
    // Right again, it is behind; the server's time stays where it was.
    let Err(ServeError::Clock(ClockError::Behind { journalled, .. })) = start_at(&home.settings(), NOON).await else {
        panic!("started")
    };
    assert!(journalled >= later);
    start_at(&accepted, NOON).await.unwrap().shutdown().await.unwrap();
}
