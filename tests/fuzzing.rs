//! What the fuzz targets in `fuzz/` check, on every file of their corpora: what was found once stays mended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "fuzzing/hours.rs"]
mod hours;
#[path = "fuzzing/journal.rs"]
mod journal;
#[path = "fuzzing/requests.rs"]
mod requests;
#[path = "fuzzing/settings.rs"]
mod settings;

#[path = "sim/answers.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod answers;
#[path = "sim/books.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod books;
#[path = "sim/chance.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod chance;
#[path = "sim/disk.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod disk;
#[path = "sim/place.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod place;
#[path = "sim/time.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod time;
#[path = "sim/trouble.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod trouble;

use std::{fs, path::Path};

use prost::Message as _;
use quotad::{
    api::proto,
    packed::{pack, unpack},
};

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect()
}

fn run(target: &str, check: impl Fn(&[u8])) {
    let corpus = corpus(target);
    assert!(corpus.len() > 5, "only {} files of {target}", corpus.len());
    for (file, bytes) in corpus {
        // Shown when the check panics.
        println!("{file}");
        check(&bytes);
    }
}

#[test]
fn batches_of_the_journal_are_read_or_refused() {
    run("journal", journal::check);
}

/// Run with `QUOTAD_WRITE_CORPUS` set it writes one file for each event of the journal's golden batch, and all of them compressed.
#[test]
fn the_corpus_has_every_event_of_the_golden_batch() {
    let corpus_files = corpus("journal");
    let golden = &corpus_files.iter().find(|(file, _)| file.ends_with("/golden-v2")).unwrap().1;
    let records = unpack(golden).unwrap();
    let mut bodies = vec![(String::from("golden-v3"), pack(&records).unwrap())];
    for (i, record) in records.chunks(1).enumerate() {
        // Not compressed, so that a byte changed in it changes an event.
        let body = postcard::to_extend(record, golden[..1].to_vec()).unwrap();
        assert_eq!(unpack(&body).unwrap(), record);
        bodies.push((format!("event-{i:02}"), body));
    }
    for (name, body) in bodies {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/journal").join(name);
        if std::env::var_os("QUOTAD_WRITE_CORPUS").is_some() {
            fs::write(&file, &body).unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), body, "{}", file.display());
    }
}

#[test]
fn requests_are_answered() {
    run("requests", requests::check);
}

/// Run with `QUOTAD_WRITE_CORPUS` set it writes a call of every method, and some with a message.
#[test]
fn the_corpus_has_every_method() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/requests");
    let empty = requests::methods().iter().map(|path| (path.as_str(), Vec::new()));
    for (path, message) in empty.chain(messages()) {
        let kind = if message.is_empty() { "empty" } else { "full" };
        let name = format!("{}-{kind}", path.rsplit('/').next().unwrap());
        if std::env::var_os("QUOTAD_WRITE_CORPUS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(&name), requests::input(path, &message)).unwrap();
        }
        assert!(folder.join(&name).exists(), "{name}");
    }
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let payer = || Some(proto::Payer { payer: Some(proto::payer::Payer::KeyId(String::from("key-0-0"))) });
    let usage = || Some(proto::Usage { input_tokens: 100, output_tokens: 50, requests: 1, ..Default::default() });
    let reservation = || {
        let (payer, request_id) = (payer(), String::from("one"));
        let by = proto::reservation_ref::Reservation::PayerRequest(proto::PayerRequest { payer, request_id });
        Some(proto::ReservationRef { reservation: Some(by) })
    };
    let (request_id, model) = (String::from("one"), String::from("small"));
    let reserve = proto::ReserveRequest {
        payer: payer(),
        request_id: request_id.clone(),
        model: model.clone(),
        usage: usage(),
        include_limits: true,
        ..Default::default()
    };
    let commit = proto::CommitRequest { reservation: reservation(), usage: usage(), ..Default::default() };
    let charge = proto::ChargeRequest { payer: payer(), request_id, model, usage: usage(), ..Default::default() };
    vec![
        ("QuotaService/Reserve", reserve.encode_to_vec()),
        ("QuotaService/Commit", commit.encode_to_vec()),
        ("QuotaService/Charge", charge.encode_to_vec()),
    ]
}

#[test]
fn settings_are_taken_or_refused() {
    run("settings", settings::check);
}

#[test]
fn hours_and_periods_are_read_and_kept() {
    run("hours", hours::check);
}
