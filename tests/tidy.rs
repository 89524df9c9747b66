//! The rules of the house, executable: what may import what, sizes, names, and calls that have one place only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "tidy/checks.rs"]
mod checks;
#[path = "tidy/pages.rs"]
mod pages;
#[path = "tidy/scan.rs"]
mod scan;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use scan::{Function, Source};
use sha2::{Digest as _, Sha256};

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        if root.join(folder).exists() {
            collect(&root.join(folder), &mut files).unwrap();
        }
    }
    assert!(files.len() > 10, "found only {files:?}");
    files.sort();
    let violations: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let path = file.strip_prefix(root).unwrap().to_str().unwrap();
            checks::check(&Source::new(path, &fs::read_to_string(file).unwrap()))
        })
        .collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// A database that has run a migration refuses to go on with another of the same number: what is to change comes in a new one.
/// Those that are new are added by `sha256sum migrations/*/*.sql > migrations/landed.sha256`.
#[test]
fn migrations_are_never_edited() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let landed = fs::read_to_string(folder.join("landed.sha256")).unwrap();
    let landed: BTreeSet<String> = landed.lines().map(str::to_owned).collect();
    let found: BTreeSet<String> = ["postgres", "sqlite"]
        .iter()
        .flat_map(|kind| fs::read_dir(folder.join(kind)).unwrap().map(move |file| (*kind, file.unwrap())))
        .map(|(kind, file)| {
            let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(fs::read(file.path()).unwrap()));
            format!("{hash}  migrations/{kind}/{}", file.file_name().to_str().unwrap())
        })
        .collect();
    assert_eq!(found, landed);
}

#[test]
fn the_documents_lead_somewhere() {
    let found = pages::check(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

/// What is found in documents that are in order but for these.
#[track_caller]
fn assert_found_in_pages(written: &[(&str, &str)], expected: &[&str]) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("docs")).unwrap();
    let sound = [
        ("README.md", "[start](docs/start.md#go-on)\n"),
        ("CONTRIBUTING.md", "`[code](is/no/link.md)`\n"),
        ("SECURITY.md", "[elsewhere](https://example.org/x#y)\n"),
        ("docs/SUMMARY.md", "[Start](start.md)\n"),
        ("docs/start.md", "# Start\n\n## Go on!\n\n[back](../README.md)\n\n```text\n[x](y)\n```\n"),
    ];
    for (path, text) in sound.iter().chain(written) {
        fs::write(root.path().join(path), text).unwrap();
    }
    assert_eq!(pages::check(root.path()).unwrap(), expected);
}

#[test]
fn dead_links_and_unlisted_pages_are_found() {
    assert_found_in_pages(&[], &[]);
    assert_found_in_pages(
        &[("SECURITY.md", "[a](docs/gone.md) [b](docs/start.md#gone)\n[c](#gone) ![d](gone.svg)\n")],
        &[
            "SECURITY.md: `#gone` names no heading",
            "SECURITY.md: `docs/gone.md` leads nowhere",
            "SECURITY.md: `docs/start.md#gone` names no heading",
            "SECURITY.md: `gone.svg` leads nowhere",
        ],
    );
    assert_found_in_pages(&[("docs/more.md", "# More\n")], &["docs/more.md: isn't listed in docs/SUMMARY.md"]);
    assert_found_in_pages(
        &[("docs/SUMMARY.md", "[Start](start.md)\n[Start](start.md)\n[Gone](gone.md)\n")],
        &["docs/SUMMARY.md: `gone.md` leads nowhere", "docs/SUMMARY.md: docs/start.md stands twice"],
    );
}

#[test]
fn pages_that_are_empty_long_or_wide_are_found() {
    assert_found_in_pages(&[("CONTRIBUTING.md", "\n")], &["CONTRIBUTING.md: an empty page"]);
    assert_found_in_pages(&[("README.md", &"line\n".repeat(120))], &[]);
    assert_found_in_pages(&[("README.md", &"line\n".repeat(121))], &["README.md: 121 lines, 120 at most"]);
    let wide = format!("{}\n| {} |\n", "ä".repeat(101), "b".repeat(101));
    assert_found_in_pages(&[("README.md", &wide)], &["README.md:1: prose is wider than 100 columns"]);
    assert_found_in_pages(&[("README.md", &format!("{}\n", "ä".repeat(100)))], &[]);
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The lines and first words of what is found in a file that is in order but for `code`, which begins at line 2.
#[track_caller]
fn assert_found(path: &str, code: &str, expected: &[&str]) {
    let found = checks::check(&Source::new(path, &format!("//! Owns it.\n{code}\n")));
    let matches = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| found.starts_with(&format!("{path}:{expected}")));
    assert!(matches, "found {found:#?}, expected {expected:#?}");
}

#[test]
fn imports_against_the_direction_are_found() {
    assert_found("src/domain/money.rs", "use crate::engine::x;", &["2: `domain` must not import `engine`"]);
    assert_found("src/journal.rs", "use super::store;", &["2: `journal` must not import `store`"]);
    assert_found("src/store/sqlite.rs", "use super::super::engine::x;", &["2: `store` must not import `engine`"]);
    assert_found("src/store/sqlite.rs", "use super::engine::x;", &[]);
    assert_found("src/engine.rs", "fn f(x: crate::api::X) {}", &["2: `engine` must not import `api`"]);
    assert_found("src/service.rs", "use crate::{\n    domain::{api, id},\n    api::x,\n};", &["4: `service` must not"]);
    assert_found("src/service.rs", "use crate::{engine, journal::Journal, notify, service::x, store};", &[]);
    assert_found("src/notify/mail.rs", "use crate::{domain, store};", &["2: `notify` must not import `store`"]);
    assert_found("src/journal.rs", "use crate::notify::Mailer;", &["2: `journal` must not import `notify`"]);
    assert_found("src/client.rs", "use crate::api::proto;", &[]);
    assert_found("src/client.rs", "use crate::api::quota;", &["2: `client` may use `api::proto` only"]);
    assert_found("src/client.rs", "use crate::{api::quota};", &["2: `client` may use `api::proto` only"]);
    assert_found("src/engine.rs", "use crate as quotad;", &["2: `crate as`"]);
}

#[test]
fn protobuf_sql_and_senders_outside_their_place_are_found() {
    assert_found(
        "src/engine.rs",
        "use tonic::Status;\nfn f(x: prost_types::Any) {}",
        &["2: `tonic`", "3: `prost_types`"],
    );
    assert_found("src/service/quota.rs", "use tonic;", &["2: `tonic`"]);
    assert_found("src/service.rs", "use sqlx::SqlitePool;", &["2: `sqlx`"]);
    assert_found("src/store/sqlite.rs", "use sqlx::SqlitePool;", &[]);
    assert_found("src/service/a.rs", "use lettre::Address;", &["2: `lettre`"]);
    assert_found("src/notify/mail.rs", "use lettre::Address;", &[]);
    assert_found("src/api/quota.rs", "use tonic::Status;", &[]);
}

#[test]
fn impurity_in_domain_and_engine_is_found() {
    assert_found("src/engine/a.rs", "use tokio::sync::Mutex;", &["2: `tokio`"]);
    assert_found("src/domain/a.rs", "async fn f() { g().await }", &["2: `.await`", "2: `async`"]);
    assert_found("src/domain/a.rs", "use std::{\n    fmt,\n    fs::File,\n};\n", &["4: `std::fs`"]);
    assert_found("src/engine/a.rs", "fn f() -> std::time::Duration { x }", &["2: `std::time`"]);
    assert_found("src/engine/a.rs", "#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n", &[]);
    assert_found("src/journal/a.rs", "use std::fs;", &[]);
}

#[test]
fn clock_reads_outside_clock_are_found() {
    assert_found("src/service.rs", "use std::time::SystemTime;", &["2: `SystemTime`"]);
    assert_found("src/service.rs", "fn f() { tokio::time::Instant::now() }", &["2: `Instant::now`"]);
    assert_found("tests/a.rs", "fn f() { Utc::now(); }", &["2: `Utc::now`"]);
    assert_found("src/clock.rs", "fn f() { Instant::now(); }", &[]);
    assert_found("src/service.rs", "// Instant::now() is banned.\nconst A: &str = \"Utc::now\";", &[]);
}

#[test]
fn long_files_and_functions_are_found() {
    assert_found("src/a.rs", &"\n".repeat(799), &["1: 801 lines"]);
    assert_found("src/a.rs", &"\n".repeat(798), &[]);
    let function = |lines: usize| format!("fn f(a: [u8; 4]) {{{}}}", "\n".repeat(lines - 1));
    assert_found("src/a.rs", &function(71), &["2: `fn f` has 71 lines"]);
    assert_found("src/a.rs", &function(70), &[]);
}

#[test]
fn panics_outside_tests_are_found() {
    assert_found(
        "src/a.rs",
        "fn f() { x.unwrap(); }\nfn g() { x.unwrap_or(1); todo!() }",
        &["2: `.unwrap()`", "3: `todo!`"],
    );
    assert_found(
        "src/a.rs",
        "#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap(); }\n}\nfn g() { x.expect(y) }",
        &["6: `.expect(`"],
    );
    assert_found("src/a.rs", "#[cfg(test)]\nmod tests;\nfn g() { dbg!(x) }", &["4: `dbg!`"]);
    assert_found("src/a/tests.rs", "fn f() { x.unwrap(); }", &[]);
}

#[test]
fn vague_names_and_missing_headings_are_found() {
    assert_found("src/a/mod.rs", "", &["1: `mod.rs`"]);
    assert_found("src/utils.rs", "", &["1: `utils`"]);
    assert_found("src/a.rs", "mod helpers;", &["2: `helpers`"]);
    let bare = checks::check(&Source::new("src/a.rs", "use std::fmt;\n"));
    assert_eq!(bare.len(), 1, "{bare:?}");
    assert!(bare[0].starts_with("src/a.rs:1: opens without `//!`"), "{bare:?}");
}

#[test]
fn machine_paths_are_found_also_in_literals_and_comments() {
    assert_found("src/a.rs", "const A: &str = \"/home/me\";", &["2: `/home/`"]);
    assert_found("src/a.rs", "// See /tmp/x.", &["2: `/tmp/`"]);
    assert_found("src/a.rs", &format!("// {}", env!("CARGO_MANIFEST_DIR")), &["2: `"]);
}

#[test]
fn literals_and_comments_hide_braces_and_words() {
    let code = r##"//! Owns it.
fn a<'a>(x: &'a str) { let _ = ('{', '\'', '"', "\"{", r#"{"}"#, b'{', br"{\"); } // {
/* { /* nested } */ { */
fn b() {
    "todo!()
    more"
}
trait T { fn c(&self) -> [u8; 2]; }
"##;
    let source = Source::new("src/a.rs", code);
    let function = |name: &str, line, lines| Function { name: name.to_owned(), line, lines };
    assert_eq!(source.functions(), [function("a", 2, 1), function("b", 4, 4)]);
    assert!(checks::check(&source).is_empty());
}
