//! Any text is a settings file or is refused with the place or the setting; what is taken lies within its bounds.

use std::fs;

use quotad::config::{ConfigError, ServeArgs, Settings};

pub(crate) fn check(text: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    fs::write(&file, text).expect("it can be written");
    let args = ServeArgs { config: Some(file.path().to_owned()), ..ServeArgs::default() };
    match Settings::load(&args) {
        Ok(settings) => {
            assert!((1000..=10_000_000).contains(&settings.queue_capacity));
            assert!((1000..=100_000_000).contains(&settings.remembered_max));
            assert!((1 << 20..=1 << 50).contains(&settings.journal_max_bytes));
            assert!((100..=1_000_000_000).contains(&settings.books_max_lag));
            assert!((4096..=64 << 20).contains(&settings.max_message_size));
            assert!(settings.journal_window.as_secs() <= 1 && !settings.snapshot_interval.is_zero());
            assert!(settings.bounds.keys > 0 && settings.bounds.policies > 0);
        }
        Err(ConfigError::Parse { line, problem, .. }) => assert!(line > 0 && !problem.is_empty()),
        Err(ConfigError::Read { .. }) => assert!(std::str::from_utf8(text).is_err()),
        Err(ConfigError::Invalid { setting, problem }) => assert!(!setting.is_empty() && !problem.is_empty()),
    }
}
