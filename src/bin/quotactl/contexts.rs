//! `quotactl context`: servers known by name, in quotactl's settings file. It is changed as text, so that comments stay.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use clap::Subcommand;
use quotad::config::Secret;
use serde_json::{Value, json};

use crate::{
    cli::Global,
    confirm::Consent,
    failure::Failure,
    output::{Column, Item, Listed, Output, text},
    settings::{self, File, Layer},
};

const EXAMPLES: &str = "\
Examples:
  quotactl context add eu --endpoint http://eu.example.org:50051 --token-file eu.token --org acme
  quotactl context use eu
  quotactl context list
  quotactl org list --context eu
  quotactl context remove eu --yes

They are kept in the settings file (--config). A context that is used, or named by --context or QUOTACTL_CONTEXT, takes the \
place of the file's own endpoint, token and org; its token is sent to no other server.";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum ContextCommand {
    /// Lists them; the one in use has a star
    List,
    /// Uses it from now on
    Use {
        /// Its name
        name: String,
    },
    /// Adds one: --endpoint and --token-file say which server and whose token
    Add {
        /// Its name: letters, digits, - and _
        #[arg(value_parser = plain_name)]
        name: String,
        /// The organization where none is given
        #[arg(long)]
        org: Option<String>,
    },
    /// Forgets one
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
}

fn plain_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_plain) {
        Ok(name.to_owned())
    } else {
        Err("give letters, digits, - and _".to_owned())
    }
}

struct Named {
    name: String,
    in_use: bool,
    layer: Layer,
}

impl ContextCommand {
    pub(crate) async fn run(self, global: &Global, out: Output) -> Result<(), Failure> {
        let file = match File::path(global.config.as_deref()) {
            Some((path, _)) if path.exists() => File::read(Some(&path))?,
            _ => File::default(),
        };
        match self {
            Self::List => {
                let in_use = settings::variable("QUOTACTL_CONTEXT").or(file.context);
                let items = file.contexts.into_iter().map(|(name, layer)| {
                    let in_use = in_use.as_ref() == Some(&name);
                    Named { name, in_use, layer }
                });
                out.list("contexts", &Listed { items: items.collect(), more: false })
            }
            Self::Use { name } => {
                if !file.contexts.contains_key(&name) {
                    return Err(unknown(&file, &name));
                }
                edit(global, |text| used(text, Some(&name)), |after| after.context.as_ref() == Some(&name))?;
                out.done(&format!("context {name} is used from now on"), &json!({ "context": name }))
            }
            Self::Add { name, org } => {
                if file.contexts.contains_key(&name) {
                    return Err(Failure::other(format!("there is a context {name} already; remove it first")));
                }
                let added = added(global, &name, org.as_deref())?;
                edit(global, |text| format!("{}{added}", ended(text)), |after| after.contexts.contains_key(&name))?;
                out.done(
                    &format!("context {name} added; `quotactl context use {name}` uses it from now on"),
                    &json!({ "added": name }),
                )
            }
            Self::Remove { name, consent } => {
                if !file.contexts.contains_key(&name) {
                    return Err(unknown(&file, &name));
                }
                let question = format!("context {name} is forgotten. Remove it?");
                if !consent.given(out, async || Ok(question)).await? {
                    return Ok(());
                }
                let was_used = file.context.as_ref() == Some(&name);
                let removed = |text: &str| {
                    let text = without(text, &name);
                    if was_used { used(&text, None) } else { text }
                };
                edit(global, removed, |after| !after.contexts.contains_key(&name))?;
                out.done(&format!("context {name} removed"), &json!({ "removed": name }))
            }
        }
    }
}

fn unknown(file: &File, name: &str) -> Failure {
    let known: Vec<_> = file.contexts.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Failure::other(format!("no context {name:?}; known: {known}"))
}

/// A text in quotes: JSON's are TOML's too.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn added(global: &Global, name: &str, org: Option<&str>) -> Result<String, Failure> {
    let endpoint = global.endpoint.as_deref().ok_or_else(|| Failure::other("say which server: --endpoint URL"))?;
    let whole = |file: &PathBuf| std::path::absolute(file).unwrap_or_else(|_| file.clone());
    let token_file = global.token_file.as_ref().map(|file| whole(file).to_string_lossy().into_owned());
    let fields = [
        ("endpoint", Some(endpoint)),
        ("token_file", token_file.as_deref()),
        ("token", global.token.as_ref().map(Secret::reveal)),
        ("org", org),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some(format!("{name} = {}\n", quoted(value?))));
    Ok(format!("[contexts.{name}]\n{}", fields.collect::<String>()))
}

/// With an empty line at its end, unless it is empty itself.
fn ended(text: &str) -> String {
    let text = text.trim_end();
    if text.is_empty() { String::new() } else { format!("{text}\n\n") }
}

/// With `context` set, or without it.
fn used(text: &str, name: Option<&str>) -> String {
    let top = text.lines().position(|line| line.trim_start().starts_with('[')).unwrap_or(usize::MAX);
    let is_choice =
        |line: &str| line.split('=').next().is_some_and(|key| key.trim() == "context") && line.contains('=');
    let kept = text.lines().enumerate().filter(|(i, line)| *i >= top || !is_choice(line)).map(|(_, line)| line);
    let chosen = name.map(|name| format!("context = {}", quoted(name)));
    let lines: Vec<_> = chosen.as_deref().into_iter().chain(kept).collect();
    lines.join("\n") + "\n"
}

/// Without the table of a context.
fn without(text: &str, name: &str) -> String {
    let header = format!("[contexts.{name}]");
    let mut is_its = false;
    let kept = text.lines().filter(|line| {
        let line = line.trim();
        if line.starts_with('[') {
            is_its = line == header;
        }
        !is_its
    });
    kept.collect::<Vec<_>>().join("\n") + "\n"
}

/// Changes the file's text, if that comes to what is wanted of it: somebody may have written it in another way.
fn edit(
    global: &Global,
    change: impl FnOnce(&str) -> String,
    wanted: impl FnOnce(&File) -> bool,
) -> Result<(), Failure> {
    let (path, _) = File::path(global.config.as_deref())
        .ok_or_else(|| Failure::other("there is no home directory to keep settings in; name a file by --config"))?;
    let failed = |error: std::io::Error| Failure::file("config file", &path, format!("can't be written: {error}"));
    let before = if path.exists() { settings::read(&path, "config file")? } else { String::new() };
    let after = change(&before);
    let parsed = settings::parse_config(&path, &after);
    if !parsed.as_ref().is_ok_and(wanted) {
        return Err(Failure::file("config file", &path, "isn't written as quotactl writes it; change it by hand"));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    // Whole or not at all: a token may stand in it.
    let beside: PathBuf = path.with_extension("toml.new");
    // One that somebody left there, whatever its mode, never becomes the settings.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&beside).map_err(failed)?;
    file.write_all(after.as_bytes()).map_err(failed)?;
    fs::rename(&beside, &path).map_err(failed)
}

impl Item for Named {
    const COLUMNS: &'static [Column] =
        &[text("used"), text("name"), text("endpoint"), text("org"), text("token file").spare()];

    fn cells(&self) -> Vec<String> {
        let Layer { endpoint, token_file, org, .. } = &self.layer;
        vec![
            if self.in_use { "*" } else { "" }.to_owned(),
            self.name.clone(),
            endpoint.clone().unwrap_or_default(),
            org.clone().unwrap_or_default(),
            token_file.as_ref().map(|file| file.display().to_string()).unwrap_or_default(),
        ]
    }

    fn json(&self) -> Value {
        let Layer { endpoint, token_file, org, .. } = &self.layer;
        json!({
            "name": self.name,
            "in_use": self.in_use,
            "endpoint": endpoint,
            "org": org,
            "token_file": token_file.as_ref().map(|file| file.display().to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\nendpoint = \"http://a:1\"\ncontext = \"eu\"\n\n[contexts.eu]\ncontext = 1\n[contexts.us]\norg = \"x\"\n";

    #[test]
    fn one_is_chosen_and_the_rest_stays_as_it_was_written() {
        let chosen = used(TEXT, Some("us"));
        assert!(
            chosen.starts_with("context = \"us\"\n# mine\n") && chosen.contains("[contexts.eu]\ncontext = 1"),
            "{chosen}"
        );
        assert!(!used(TEXT, None).contains("\"eu\""));
    }

    #[test]
    fn one_is_removed_with_its_lines() {
        let left = without(TEXT, "eu");
        assert!(!left.contains("contexts.eu") && left.contains("[contexts.us]\norg"), "{left}");
    }
}
