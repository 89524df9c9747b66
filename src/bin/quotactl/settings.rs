//! Which server, which token, which organization: flags before the environment before the file before the defaults. The file
//! may know several servers by name, its contexts.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use quotad::{client::DEFAULT_ENDPOINT, config::Secret};
use serde::Deserialize;

use crate::{cli::Global, failure::Failure};

/// Where `quotad` leaves the operator's token when started here.
const DEFAULT_TOKEN_FILE: &str = "quotad-data/operator.token";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) endpoint: String,
    pub(crate) token: Secret,
    pub(crate) context: Option<String>,
}

/// What one source says. Within a layer a token goes before a file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) endpoint: Option<String>,
    token: Option<Secret>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) org: Option<String>,
    /// Its token goes to no other server than its own.
    #[serde(skip)]
    is_context: bool,
}

/// Settings for every command, the servers known by name, and which of them is used unless another is named.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "as the file has them")]
pub(crate) struct File {
    endpoint: Option<String>,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
    org: Option<String>,
    pub(crate) context: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Layer>,
}

impl File {
    /// A file that isn't there says nothing, unless it was named.
    ///
    /// # Errors
    /// [`Failure`] when it can't be read, or isn't what it should be.
    pub(crate) fn read(named: Option<&Path>) -> Result<Self, Failure> {
        match Self::path(named) {
            Some((path, is_named)) if is_named || path.exists() => read_config(&path),
            _ => Ok(Self::default()),
        }
    }

    /// Where it is, and whether somebody said so.
    pub(crate) fn path(named: Option<&Path>) -> Option<(PathBuf, bool)> {
        let named = named.map(Path::to_owned).or_else(|| variable("QUOTACTL_CONFIG").map(PathBuf::from));
        let usual = || env::home_dir().map(|home| (home.join(".config/quotactl.toml"), false));
        named.map(|path| (path, true)).or_else(usual)
    }

    /// The context in force and what it says; the file's own settings where there is none.
    fn layer(&self, given: Option<&str>) -> Result<(Option<String>, Layer), Failure> {
        let chosen = given.map(ToOwned::to_owned).or_else(|| variable("QUOTACTL_CONTEXT"));
        let Some(name) = chosen.or_else(|| self.context.clone()) else {
            let Self { endpoint, token, token_file, org, .. } = self;
            let (endpoint, token, token_file, org) = (endpoint.clone(), token.clone(), token_file.clone(), org.clone());
            return Ok((None, Layer { endpoint, token, token_file, org, is_context: false }));
        };
        let Some(layer) = self.contexts.get(&name) else {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "there is none".to_owned() } else { format!("there is {}", known.join(", ")) };
            let way_out = "`quotactl context add` makes one, `quotactl context list` shows them";
            return Err(Failure::other(format!("no context {name:?}; {known}\n  {way_out}")));
        };
        Ok((Some(name), Layer { is_context: true, ..layer.clone() }))
    }

    /// The organization where none is given.
    ///
    /// # Errors
    /// [`Failure`] when there is no such context.
    pub(crate) fn org(&self, context: Option<&str>) -> Result<Option<String>, Failure> {
        Ok(self.layer(context)?.1.org)
    }
}

impl Settings {
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let flags = Layer {
            endpoint: global.endpoint.clone(),
            token: global.token.clone(),
            token_file: global.token_file.clone(),
            ..Layer::default()
        };
        let environment = Layer {
            endpoint: variable("QUOTAD_ENDPOINT"),
            token: variable("QUOTAD_TOKEN").map(Secret::from),
            token_file: variable("QUOTAD_TOKEN_FILE").map(PathBuf::from),
            ..Layer::default()
        };
        let file = File::read(global.config.as_deref())?;
        let (context, file) = file.layer(global.context.as_deref())?;
        // A context that is named by a flag is as good as flags.
        let layers = if global.context.is_some() { [flags, file, environment] } else { [flags, environment, file] };
        let default = context.is_none().then(|| Path::new(DEFAULT_TOKEN_FILE));
        Self::resolve(layers, default).map(|settings| Self { context, ..settings })
    }

    fn resolve(layers: [Layer; 3], default_token_file: Option<&Path>) -> Result<Self, Failure> {
        let mut endpoint = None;
        let mut token = None;
        for layer in layers {
            let is_elsewhere = layer.is_context && endpoint.is_some() && endpoint != layer.endpoint;
            endpoint = endpoint.or(layer.endpoint);
            if token.is_none() && !is_elsewhere {
                token = match (layer.token, layer.token_file) {
                    (Some(token), _) => Some(token),
                    (None, Some(path)) => Some(read_token(&path)?.into()),
                    (None, None) => None,
                };
            }
        }
        if let Some(file) = default_token_file.filter(|file| token.is_none() && file.exists()) {
            token = Some(read_token(file)?.into());
        }
        Ok(Self {
            endpoint: endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            token: token.ok_or(Failure::NoToken)?,
            context: None,
        })
    }
}

/// Unset and empty are the same.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = read(path, "token file")?;
    let token = text.trim();
    if token.is_empty() {
        return Err(Failure::file("token file", path, "is empty; it should hold the token on one line"));
    }
    Ok(token.to_owned())
}

fn read_config(path: &Path) -> Result<File, Failure> {
    let mut file = parse_config(path, &read(path, "config file")?)?;
    // A relative path in a file means: beside that file.
    let contexts = file.contexts.values_mut().map(|context| &mut context.token_file);
    for token_file in contexts.chain([&mut file.token_file]).flatten() {
        if let Some(folder) = path.parent() {
            *token_file = folder.join(&*token_file);
        }
    }
    Ok(file)
}

/// What a config file's text says, its paths as they are written.
///
/// # Errors
/// [`Failure`] that names the field.
pub(crate) fn parse_config(path: &Path, text: &str) -> Result<File, Failure> {
    toml::from_str(text).map_err(|error| unread(path, text, &error))
}

/// Says where the file is wrong, without the line itself: it may be the token's.
fn unread(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or_default());
    let line = before.matches('\n').count() + 1;
    Failure::file("config file", path, format!("line {line}: {}", error.message().trim_end().replace('\n', ", ")))
}

/// Reads a text file that the user named; `what` says what for.
pub(crate) fn read(path: &Path, what: &'static str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::file(what, path, format!("can't be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(endpoint: Option<&str>, token: Option<&str>, token_file: Option<&Path>) -> Layer {
        Layer {
            endpoint: endpoint.map(str::to_owned),
            token: token.map(Secret::from),
            token_file: token_file.map(Path::to_owned),
            ..Layer::default()
        }
    }

    #[test]
    fn flags_go_before_environment_before_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "from-file\n").unwrap();
        let none = || layer(None, None, None);
        let resolve = |layers| Settings::resolve(layers, Some(&folder.path().join("absent"))).unwrap();

        let all = resolve([
            layer(None, None, Some(&path)),
            layer(Some("env"), Some("env"), None),
            layer(Some("cfg"), Some("cfg"), None),
        ]);
        assert_eq!(all, Settings { endpoint: "env".into(), token: "from-file".into(), context: None });
        let last = resolve([none(), none(), layer(None, Some("cfg"), Some(&path))]);
        assert_eq!(last, Settings { endpoint: DEFAULT_ENDPOINT.into(), token: "cfg".into(), context: None });
        let default = Settings::resolve([none(), none(), none()], Some(&path)).unwrap();
        assert_eq!(default.token.reveal(), "from-file");
    }

    #[test]
    fn a_missing_token_says_where_to_find_it() {
        let none = || layer(None, None, None);
        let error = Settings::resolve([none(), none(), none()], Some(Path::new("/absent/token"))).unwrap_err();
        assert!(error.to_string().contains("operator.token"), "{error}");
        let error = Settings::resolve([layer(None, None, Some(Path::new("/absent"))), none(), none()], None);
        assert!(error.unwrap_err().to_string().contains("/absent"));
    }

    #[test]
    fn a_config_file_finds_its_token_beside_itself_and_refuses_unknown_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quotactl.toml");
        fs::write(&path, "endpoint = \"http://h:1\"\ntoken_file = \"t\"").unwrap();
        assert_eq!(read_config(&path).unwrap().token_file, Some(folder.path().join("t")));
        fs::write(&path, "endpoit = \"http://h:1\"").unwrap();
        assert!(read_config(&path).unwrap_err().to_string().contains("line 1: unknown field `endpoit`"));
        for wrong in ["token = hunter2", "token = 421337", "token = 'hunter2", "token = 'a'\ntoken = 'hunter2'"] {
            fs::write(&path, wrong).unwrap();
            let said = read_config(&path).unwrap_err().to_string();
            assert!(said.contains("line") && !said.contains("hunter2") && !said.contains("421337"), "{said}");
        }
    }

    const FILE: &str = "org = \"all\"\ncontext = \"eu\"\n[contexts.eu]\nendpoint = \"http://eu:1\"\ntoken = \"t-eu\"\norg = \"acme\"\n\
                        [contexts.us]\nendpoint = \"http://us:1\"\ntoken = \"t-us\"\n";

    #[test]
    fn a_context_stands_for_a_server_its_token_and_an_organization() {
        let file: File = toml::from_str(FILE).unwrap();
        let (name, eu) = file.layer(None).unwrap();
        assert_eq!((name.as_deref(), eu.endpoint.as_deref()), (Some("eu"), Some("http://eu:1")));
        assert_eq!((file.org(None).unwrap().as_deref(), file.org(Some("us")).unwrap()), (Some("acme"), None));
        let unknown = file.layer(Some("asia")).unwrap_err().to_string();
        assert!(unknown.contains("asia") && unknown.contains("eu, us"), "{unknown}");
        let plain = File { context: None, ..file };
        assert_eq!(plain.org(None).unwrap().as_deref(), Some("all"));
    }

    #[test]
    fn a_token_of_a_context_goes_to_no_other_server() {
        let file: File = toml::from_str(FILE).unwrap();
        let context = file.layer(Some("eu")).unwrap().1;
        let none = || layer(None, None, None);
        let to = |endpoint| Settings::resolve([layer(Some(endpoint), None, None), none(), context.clone()], None);
        assert_eq!(to("http://eu:1").unwrap().token.reveal(), "t-eu");
        assert!(matches!(to("http://evil:1"), Err(Failure::NoToken)));
    }
}
