//! The documents: that links and anchors lead somewhere, that the book lists each page once, and that pages stay readable.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Component, Path, PathBuf},
};

const MAX_README_LINES: usize = 120;
const MAX_COLUMNS: usize = 100;

/// Pages outside `docs/` whose links are checked.
const OUTSIDE: [&str; 3] = ["CONTRIBUTING.md", "README.md", "SECURITY.md"];
const SUMMARY: &str = "docs/SUMMARY.md";

/// Returns what is wrong with the documents of the repository at `root`, sorted.
pub(crate) fn check(root: &Path) -> io::Result<Vec<String>> {
    let mut paths: Vec<PathBuf> = OUTSIDE.iter().map(PathBuf::from).collect();
    collect(root, Path::new("docs"), &mut paths)?;
    let mut pages = BTreeMap::new();
    for path in paths {
        let text = fs::read_to_string(root.join(&path))?;
        pages.insert(path, text);
    }
    let mut found = entries(&pages);
    for (path, text) in &pages {
        found.extend(dead_links(root, path, text, &pages));
        if path != Path::new("SECURITY.md") && path != Path::new(SUMMARY) {
            found.extend(wide_lines(path, text));
        }
        if text.trim().is_empty() {
            found.push(format!("{}: an empty page", path.display()));
        }
    }
    let lines = pages.get(Path::new("README.md")).map_or(0, |text| text.lines().count());
    if lines > MAX_README_LINES {
        found.push(format!("README.md: {lines} lines, {MAX_README_LINES} at most"));
    }
    found.sort();
    Ok(found)
}

fn collect(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            collect(root, &path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    Ok(())
}

/// Pages of `docs/` that the summary doesn't list, or lists twice. Entries without a page are dead links.
fn entries(pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let (mut listed, mut found) = (BTreeSet::new(), Vec::new());
    let summary = pages.get(Path::new(SUMMARY)).map_or("", String::as_str);
    for target in links(summary) {
        let path = resolve(Path::new(SUMMARY), &target);
        if !listed.insert(path.clone()) {
            found.push(format!("{SUMMARY}: {} stands twice", path.display()));
        }
    }
    let in_book = |path: &&PathBuf| path.starts_with("docs") && *path != Path::new(SUMMARY);
    let missing = pages.keys().filter(in_book).filter(|path| !listed.contains(*path));
    found.extend(missing.map(|path| format!("{}: isn't listed in {SUMMARY}", path.display())));
    found
}

fn dead_links(root: &Path, path: &Path, text: &str, pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut found = Vec::new();
    for target in links(text) {
        if target.starts_with("https://") || target.starts_with("http://") {
            continue;
        }
        let (file, anchor) =
            target.split_once('#').map_or((target.as_str(), None), |(file, anchor)| (file, Some(anchor)));
        let file = if file.is_empty() { path.to_owned() } else { resolve(path, file) };
        let has_anchor = |anchor: &str| pages.get(&file).is_some_and(|text| anchors(text).contains(anchor));
        if !root.join(&file).exists() {
            found.push(format!("{}: `{target}` leads nowhere", path.display()));
        } else if anchor.is_some_and(|anchor| !has_anchor(anchor)) {
            found.push(format!("{}: `{target}` names no heading", path.display()));
        }
    }
    found
}

/// The file that `target` names in a page at `from`, from the repository's root.
fn resolve(from: &Path, target: &str) -> PathBuf {
    let mut resolved = from.parent().map(Path::to_owned).unwrap_or_default();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => resolved.push(name),
            _ => {}
        }
    }
    resolved
}

/// The targets of all links and pictures, code left out.
fn links(text: &str) -> Vec<String> {
    let prose: Vec<&str> = prose(text).map(|(_, line)| line).collect();
    // What stands in backticks is the odd parts.
    let prose: String = prose.join("\n").split('`').step_by(2).collect();
    let targets = prose.split("](").skip(1);
    targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.trim().to_owned()).collect()
}

/// The anchors of a page's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        let anchor = kept.collect::<String>().replace(' ', "-");
        let count = seen.entry(anchor.clone()).or_default();
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// Prose beyond the margin; tables, and lines that are nothing but a link, can't be wrapped.
fn wide_lines(path: &Path, text: &str) -> Vec<String> {
    let is_link = |line: &str| line.trim_start_matches([' ', '*', '!']).starts_with('[') && line.ends_with(')');
    let wide = prose(text).filter(|(_, line)| line.chars().count() > MAX_COLUMNS);
    let wide = wide.filter(|(_, line)| !line.starts_with('|') && !is_link(line));
    wide.map(|(no, _)| format!("{}:{no}: prose is wider than {MAX_COLUMNS} columns", path.display())).collect()
}

/// The lines outside fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(no, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((no + 1, line))
    })
}
