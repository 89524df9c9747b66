//! What every command works with: the connection and where to print.

use quotad::client::Connection;

use crate::{cli::Global, failure::Failure, output::Output, settings::Settings};

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) server: Connection,
    pub(crate) out: Output,
}

impl Context {
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        let settings = Settings::load(global)?;
        let server = Connection::open(&settings.endpoint, &settings.token).await?;
        Ok(Self { server, out: Output::new(global.json) })
    }
}
