//! How the command line is read: an organization that the settings know stands for one that is missing, and wrong usage is
//! told to programs too.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::ExitCode,
};

use clap::{
    Parser as _,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};
use serde_json::json;

use crate::{cli::Cli, settings::File};

const ORG: &str = "--org";
const ORG_TIP: &str = "QUOTAD_ORG, or `org` in quotactl's settings file, gives it once for all";

/// Reads the arguments, or prints what is wrong with them, or the help; then the exit code is the answer.
pub(crate) fn parse(mut args: Vec<OsString>) -> Result<Cli, ExitCode> {
    match Cli::try_parse_from(&args) {
        Ok(cli) => Ok(cli),
        Err(error) if lacks_org(&error) => {
            let Some(org) = known_org(&args) else { return Err(told(&args, &hinted(error))) };
            let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
            args.splice(end..end, [OsString::from(ORG), org.into()]);
            Cli::try_parse_from(&args).map_err(|error| told(&args, &error))
        }
        Err(error) => Err(told(&args, &error)),
    }
}

fn lacks_org(error: &clap::Error) -> bool {
    error.kind() == ErrorKind::MissingRequiredArgument
        && match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::Strings(missing)) => missing.iter().any(|arg| arg.split(' ').next() == Some(ORG)),
            Some(ContextValue::String(missing)) => missing.split(' ').next() == Some(ORG),
            _ => false,
        }
}

/// That of the settings file. What is wrong with the file is told by what needs more of it.
fn known_org(args: &[OsString]) -> Option<String> {
    let file = File::read(given(args, "--config").map(Path::new)).ok()?;
    file.org(given(args, "--context").and_then(OsStr::to_str)).ok()?
}

/// The value of a flag, before anything is parsed.
fn given<'a>(args: &'a [OsString], flag: &str) -> Option<&'a OsStr> {
    let at = |(i, arg): (usize, &'a OsString)| match arg.to_str() {
        Some(text) if text == flag => args.get(i + 1).map(OsString::as_os_str),
        Some(text) => text.strip_prefix(flag)?.strip_prefix('=').map(OsStr::new),
        None => None,
    };
    args.iter().enumerate().find_map(at)
}

fn hinted(mut error: clap::Error) -> clap::Error {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(ORG_TIP)]));
    error
}

fn told(args: &[OsString], error: &clap::Error) -> ExitCode {
    if error.use_stderr() && args.iter().any(|arg| arg == "--json") {
        let message = error.render().to_string();
        let message = message.trim_start_matches("error: ").trim_end();
        eprintln!("{:#}", json!({ "error": { "code": "CLIENT", "reason": "WRONG_USAGE", "message": message } }));
    } else {
        // Where nobody reads, nothing can be said.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn flags_are_found_before_anything_is_parsed() {
        for line in ["quotactl team list --context eu", "quotactl --context=eu team list"] {
            assert_eq!(given(&args(line), "--context"), Some(OsStr::new("eu")), "{line}");
        }
        assert_eq!(given(&args("quotactl team list --contexts eu"), "--context"), None);
    }

    #[test]
    fn only_a_missing_organization_is_looked_for() {
        let error = |line: &str| Cli::try_parse_from(args(line)).unwrap_err();
        assert!(!lacks_org(&error("quotactl check --model m")));
        assert!(hinted(error("quotactl key get")).render().to_string().contains("QUOTAD_ORG"));
    }
}
