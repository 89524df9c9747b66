//! What every command works with: the connection and where to print.

use std::time::Duration;

use quotad::client::Connection;

use crate::{cli::Global, failure::Failure, output::Output, settings::Settings};

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) server: Connection,
    pub(crate) out: Output,
    /// The name of the server in the settings, where it has one.
    pub(crate) name: Option<String>,
}

impl Context {
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        let Settings { endpoint, token, context } = Settings::load(global)?;
        let server = Connection::open(&endpoint, token.reveal()).await?;
        let timeout = global.timeout.and_then(|span| u64::try_from(span.seconds).ok()).map(Duration::from_secs);
        let server = timeout.map_or_else(|| server.clone(), |timeout| server.with_timeout(timeout));
        Ok(Self { server, out: Output::new(global), name: context })
    }
}
