//! Which server, which token: flags before the environment before the file before the defaults.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use quotad::client::DEFAULT_ENDPOINT;
use serde::Deserialize;

use crate::{cli::Global, failure::Failure};

/// Where `quotad` leaves the operator's token when started here.
const DEFAULT_TOKEN_FILE: &str = "quotad-data/operator.token";

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) endpoint: String,
    pub(crate) token: String,
}

/// What one source says. Within a layer a token goes before a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    endpoint: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let flags = Layer {
            endpoint: global.endpoint.clone(),
            token: global.token.clone(),
            token_file: global.token_file.clone(),
        };
        let environment = Layer {
            endpoint: variable("QUOTAD_ENDPOINT"),
            token: variable("QUOTAD_TOKEN"),
            token_file: variable("QUOTAD_TOKEN_FILE").map(PathBuf::from),
        };
        let file = match global.config.clone().or_else(|| variable("QUOTACTL_CONFIG").map(PathBuf::from)) {
            Some(path) => read_config(&path)?,
            None => match env::home_dir().map(|home| home.join(".config/quotactl.toml")) {
                Some(path) if path.exists() => read_config(&path)?,
                _ => Layer::default(),
            },
        };
        Self::resolve([flags, environment, file], Path::new(DEFAULT_TOKEN_FILE))
    }

    fn resolve(layers: [Layer; 3], default_token_file: &Path) -> Result<Self, Failure> {
        let mut endpoint = None;
        let mut token = None;
        for layer in layers {
            endpoint = endpoint.or(layer.endpoint);
            if token.is_none() {
                token = match (layer.token, layer.token_file) {
                    (Some(token), _) => Some(token),
                    (None, Some(path)) => Some(read_token(&path)?),
                    (None, None) => None,
                };
            }
        }
        if token.is_none() && default_token_file.exists() {
            token = Some(read_token(default_token_file)?);
        }
        Ok(Self {
            endpoint: endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            token: token.ok_or(Failure::NoToken)?,
        })
    }
}

/// Unset and empty are the same.
fn variable(name: &str) -> Option<String> {
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

fn read_config(path: &Path) -> Result<Layer, Failure> {
    let text = read(path, "config file")?;
    let mut layer: Layer =
        toml::from_str(&text).map_err(|error| Failure::file("config file", path, error.to_string().trim_end()))?;
    // A relative path in a file means: beside that file.
    if let (Some(file), Some(folder)) = (&mut layer.token_file, path.parent()) {
        *file = folder.join(&*file);
    }
    Ok(layer)
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
            token: token.map(str::to_owned),
            token_file: token_file.map(Path::to_owned),
        }
    }

    #[test]
    fn flags_go_before_environment_before_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "from-file\n").unwrap();
        let none = || layer(None, None, None);
        let resolve = |layers| Settings::resolve(layers, &folder.path().join("absent")).unwrap();

        let all = resolve([
            layer(None, None, Some(&path)),
            layer(Some("env"), Some("env"), None),
            layer(Some("cfg"), Some("cfg"), None),
        ]);
        assert_eq!(all, Settings { endpoint: "env".into(), token: "from-file".into() });
        let last = resolve([none(), none(), layer(None, Some("cfg"), Some(&path))]);
        assert_eq!(last, Settings { endpoint: DEFAULT_ENDPOINT.into(), token: "cfg".into() });
        let default = Settings::resolve([none(), none(), none()], &path).unwrap();
        assert_eq!(default.token, "from-file");
    }

    #[test]
    fn a_missing_token_says_where_to_find_it() {
        let none = || layer(None, None, None);
        let error = Settings::resolve([none(), none(), none()], Path::new("/absent/token")).unwrap_err();
        assert!(error.to_string().contains("operator.token"), "{error}");
        let error = Settings::resolve([layer(None, None, Some(Path::new("/absent"))), none(), none()], Path::new("x"));
        assert!(error.unwrap_err().to_string().contains("/absent"));
    }

    #[test]
    fn a_config_file_finds_its_token_beside_itself_and_refuses_unknown_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quotactl.toml");
        fs::write(&path, "endpoint = \"http://h:1\"\ntoken_file = \"t\"").unwrap();
        assert_eq!(read_config(&path).unwrap().token_file, Some(folder.path().join("t")));
        fs::write(&path, "endpoit = \"http://h:1\"").unwrap();
        assert!(read_config(&path).unwrap_err().to_string().contains("endpoit"));
    }
}
