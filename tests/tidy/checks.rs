//! The rules of the house, each a function from a source to its violations.

use crate::scan::Source;

const MAX_FILE_LINES: usize = 800;
const MAX_FUNCTION_LINES: usize = 70;

/// What each layer may import of this crate, besides itself. Whoever isn't listed may import anything.
const IMPORTS: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    ("clock", &["domain"]),
    ("config", &["domain", "engine", "notify"]),
    ("telemetry", &["clock", "config", "domain"]),
    ("engine", &["domain"]),
    ("packed", &["domain"]),
    ("journal", &["clock", "domain", "packed", "telemetry"]),
    ("store", &["clock", "domain", "packed", "telemetry"]),
    ("notify", &["domain"]),
    ("service", &["clock", "config", "domain", "engine", "journal", "notify", "store", "telemetry"]),
    ("api", &["clock", "domain", "service", "telemetry"]),
    ("client", &["api", "clock", "domain"]),
    ("sqlite_copy", &[]),
];

const PROTOBUF: [&str; 7] =
    ["prost", "prost_types", "tonic", "tonic_health", "tonic_prost", "tonic_reflection", "tonic_types"];

const SENDERS: [&str; 4] = ["hyper_rustls", "hyper_util", "lettre", "rustls"];

/// Deciding is a function of its arguments: whatever could bring in time, chance or the outside stays out.
const IMPURE: [&str; 7] = ["async_trait", "futures", "getrandom", "opentelemetry", "tokio", "tokio_stream", "tracing"];
const IMPURE_STD: [&str; 7] = ["env", "fs", "io", "net", "process", "thread", "time"];
const WHY_PURE: &str = "`domain` and `engine` are pure and synchronous";

const CLOCK_READS: [&str; 4] = ["SystemTime", "Instant::now", "Utc::now", "Local::now"];
const PANICS: [&str; 6] = [".unwrap()", ".expect(", "todo!", "unimplemented!", "dbg!", "panic!"];
const VAGUE_NAMES: [&str; 4] = ["utils", "util", "helpers", "misc"];
const MACHINE_PATHS: [&str; 6] = ["/home/", "/root/", "/tmp/", "/mnt/", "/Users/", env!("CARGO_MANIFEST_DIR")];

pub(crate) fn check(source: &Source) -> Vec<String> {
    let checks = [imports, foreign_crates, purity, clock_reads, sizes, panics, names, headings, machine_paths];
    let mut found: Vec<(usize, String)> = checks.iter().flat_map(|check| check(source)).collect();
    found.sort();
    found.dedup();
    found.into_iter().map(|(line, what)| format!("{}:{line}: {what}", source.path)).collect()
}

type Violations = Vec<(usize, String)>;

fn imports(source: &Source) -> Violations {
    let layer = source.layer();
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| source.in_src() && *name == layer) else {
        return Vec::new();
    };
    let foreign = |name: &str| {
        let known = IMPORTS.iter().any(|(other, _)| *other == name) || name == "server";
        known && name != layer && !allowed.contains(&name)
    };
    let mut found: Violations = source
        .crate_paths()
        .into_iter()
        .filter(|(_, path)| foreign(path))
        .map(|(line, path)| (line, format!("`{layer}` must not import `{path}`")))
        .collect();
    found.extend(source.lines_with("crate as").into_iter().map(|line| (line, "`crate as` hides imports".into())));
    if layer == "client" {
        let below = ["api", "crate::api"].into_iter().flat_map(|root| source.paths_below(root));
        let below = below.filter(|(_, name)| name != "proto");
        found
            .extend(below.map(|(line, name)| (line, format!("`client` may use `api::proto` only, not `api::{name}`"))));
    }
    found
}

fn foreign_crates(source: &Source) -> Violations {
    let knows_protobuf = ["api", "client", "server", "bin"].contains(&source.layer());
    let knows_sql = ["journal", "sqlite_copy", "store"].contains(&source.layer());
    if !source.in_src() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !knows_protobuf {
        found.extend(uses(source, &PROTOBUF, "only `api`, `client`, `server` and the programs know protobuf"));
    }
    if !knows_sql {
        found.extend(uses(source, &["sqlx"], "only `journal` and `store` know SQL"));
    }
    if source.layer() != "notify" {
        found.extend(uses(source, &SENDERS, "only `notify` sends to the outside"));
    }
    found
}

fn uses(source: &Source, roots: &[&str], why: &str) -> Violations {
    let lines =
        |root: &&str| [source.lines_with(&format!("{root}::")), source.lines_with(&format!("use {root}"))].concat();
    roots.iter().flat_map(|root| lines(root).into_iter().map(move |line| (line, format!("`{root}`: {why}")))).collect()
}

fn purity(source: &Source) -> Violations {
    if !source.in_src() || !["domain", "engine"].contains(&source.layer()) {
        return Vec::new();
    }
    let mut found = uses(source, &IMPURE, WHY_PURE);
    let std = source.paths_below("std").into_iter().filter(|(_, name)| IMPURE_STD.contains(&name.as_str()));
    found.extend(std.map(|(line, name)| (line, format!("`std::{name}`: {WHY_PURE}"))));
    for word in ["async", ".await"] {
        found.extend(source.lines_with(word).into_iter().map(|line| (line, format!("`{word}`: {WHY_PURE}"))));
    }
    // Tests may run threads and read files.
    found.retain(|(line, _)| !source.is_test_line(*line));
    found
}

fn clock_reads(source: &Source) -> Violations {
    if source.in_src() && source.layer() == "clock" {
        return Vec::new();
    }
    let lines = |read: &'static str| source.lines_with(read).into_iter().map(move |line| (line, read));
    CLOCK_READS
        .into_iter()
        .flat_map(lines)
        .map(|(line, read)| (line, format!("`{read}`: only `clock` reads the time")))
        .collect()
}

fn sizes(source: &Source) -> Violations {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > MAX_FILE_LINES {
        found.push((1, format!("{lines} lines, {MAX_FILE_LINES} at most")));
    }
    let long = source.functions().into_iter().filter(|function| function.lines > MAX_FUNCTION_LINES);
    found.extend(long.map(|function| {
        let what = format!("`fn {}` has {} lines, {MAX_FUNCTION_LINES} at most", function.name, function.lines);
        (function.line, what)
    }));
    found
}

fn panics(source: &Source) -> Violations {
    let lines = |word: &'static str| source.lines_with(word).into_iter().map(move |line| (line, word));
    let outside = |line: usize| source.in_src() && !source.is_test_line(line);
    let found = PANICS.into_iter().flat_map(lines).filter(|(line, _)| outside(*line));
    found.map(|(line, word)| (line, format!("`{word}` outside tests: return an error"))).collect()
}

fn names(source: &Source) -> Violations {
    let mut found = Vec::new();
    if source.path.ends_with("/mod.rs") {
        found.push((1, "`mod.rs`: name the file after its module".into()));
    }
    for name in VAGUE_NAMES {
        let what = || format!("`{name}` names nothing: say what the module owns");
        if source.path.split('/').any(|part| part.trim_end_matches(".rs") == name) {
            found.push((1, what()));
        }
        found.extend(source.lines_with(&format!("mod {name}")).into_iter().map(|line| (line, what())));
    }
    found
}

fn headings(source: &Source) -> Violations {
    let exempt = source.text.starts_with("//!") || source.path.ends_with("/tests.rs");
    if exempt { Vec::new() } else { vec![(1, "opens without `//!`: say what the module owns".into())] }
}

fn machine_paths(source: &Source) -> Violations {
    if !source.in_src() {
        return Vec::new();
    }
    let named = |line: &str| MACHINE_PATHS.into_iter().find(|path| line.contains(path));
    let lines = source.text.lines().enumerate();
    lines
        .filter_map(|(no, line)| named(line).map(|path| (no + 1, format!("`{path}` exists on one machine only"))))
        .collect()
}
