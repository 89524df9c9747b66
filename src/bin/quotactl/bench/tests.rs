use super::{
    drive::Settled,
    mix::Kind,
    outcome::{Fault, Outcome},
    record::{Counts, Recorder},
    *,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Half a second of warm-up with one Reserve; then, in two seconds, 100 Reserves of 2 ms to 200 ms, ten denied, one that
/// found no server.
fn report() -> Report {
    let recorder = Recorder::new(ms(500)).unwrap();
    let record = |begun: u64, took: u64, outcome: &Outcome| {
        recorder.begin();
        recorder.end(0, Kind::Reserve, ms(begun), ms(begun + took), outcome);
    };
    record(0, 1, &Outcome::Done(None));
    for n in 1..=100 {
        record(500 + n, 2 * n, &Outcome::Done(None));
    }
    for _ in 0..10 {
        record(600, 1, &Outcome::Denied(quotad::api::proto::DenialCode::BudgetExceeded.into()));
    }
    record(2400, 100, &Outcome::Failed(Fault::new("UNAVAILABLE", "connection refused")));
    Report {
        run: "r1".into(),
        keys: 1,
        shape: Shape {
            session: false,
            connections: 2,
            in_order: false,
            in_flight: 8,
            max_open: Some(100),
            rate: NonZeroU64::new(1000),
            warm_up: ms(500),
            duration: ms(2000),
        },
        measured: recorder.measured().unwrap(),
        all: recorder.all(),
        unsent: 7,
        unanswered: recorder.under_way(),
        settled: Settled { released: 3, closed: 1, left: 2 },
        samples: vec![recorder.sample(ms(0), ms(2500)).unwrap()],
        removal: Some("remove it".into()),
    }
}

#[test]
fn a_report_names_rates_latencies_denials_and_errors_apart() {
    let text = report().text();
    for expected in [
        "2 connections × 8 callers, 1 key\n",
        "100 in 2.0 s: 50 operations/s\n",
        "1,000 operations/s; 7 were due and never sent\n",
        "denied    10\n          10 reserve BUDGET_EXCEEDED\n",
        "errors    1\n          1 reserve UNAVAILABLE, such as: connection refused\n",
        "3, released after the run; 2 couldn't be and end by themselves\n",
        "\nremove it",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    let row = |name: &str| text.lines().find(|line| line.starts_with(&format!("{name} "))).map(str::to_owned);
    let reserve: Vec<_> = row("reserve").unwrap().split_whitespace().map(str::to_owned).collect();
    assert_eq!(reserve[..3], ["reserve", "100", "50"]);
    assert_eq!(
        reserve[3..].chunks(2).map(|cell| cell.join(" ")).collect::<Vec<_>>(),
        ["100.0 ms", "180.1 ms", "198.0 ms", "200.1 ms", "200.1 ms"]
    );
    assert!(text.lines().any(|line| line.starts_with("denied      10 ")), "{text}");
    assert_eq!(row("commit"), None, "what wasn't asked has no row");
}

#[test]
fn the_json_report_keeps_the_warm_up_apart() {
    let json = report().json();
    assert_eq!((&json["done"], &json["denied"], &json["failed"]), (&100.into(), &10.into(), &1.into()));
    assert_eq!(json["with_warm_up"]["reserve"]["done"], 101);
    assert_eq!(json["operations"]["reserve"]["done"], 100);
    assert_eq!(json["operations"]["reserve"]["latency_us"]["count"], 100);
    assert_eq!(json["denials"][0]["code"], "BUDGET_EXCEEDED");
    assert_eq!(json["errors"][0]["error"], "UNAVAILABLE");
    assert_eq!((&json["unsent"], &json["settled_after"]["left_open"]), (&7.into(), &2.into()));
    assert_eq!((&json["elapsed_us"], &json["done_per_second"]), (&2_000_000.into(), &50.into()));
    assert_eq!(json["samples"][0]["done_per_second"], 40);
    assert!(json["operations"].get("commit").is_none());
}

#[test]
fn a_run_in_which_nothing_was_done_is_no_good_one() {
    let mut report = report();
    assert!(report.is_good());
    report.all = [Counts { denied: 5, failed: 5, done: 0 }; 6];
    assert!(!report.is_good());
}

#[test]
fn spans_may_be_parts_of_a_second() {
    assert_eq!(parse_time("500ms"), Ok(ms(500)));
    assert_eq!(parse_time("0s"), Ok(Duration::ZERO));
    assert_eq!(parse_time("2m"), Ok(Duration::from_mins(2)));
    for bad in ["", "5", "-1s", "25h", "ms", "1.5s"] {
        assert!(parse_time(bad).is_err(), "{bad}");
    }
}
