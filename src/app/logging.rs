//! Structured logs: for people by default, as JSON by option.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::clock;
use super::log_bounds::LogBounds;
use crate::base::{Bounds, Section, SettingError};

/// `[log]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,headend::rtmp=debug`. Lines of `info` and `warn` are bounded
    /// (20 of a kind at once, then one a second); what `debug` and `trace` write is not.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// How a line of log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Others' crates that warn of what is usual (unknown extensions in browsers' ClientHellos); directives of `log.level` win.
const QUIET: &str = "rtc_dtls=error";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `log.level` can't be read.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Only one can log in a process.
    #[error("something in this process logs already")]
    Taken,
}

impl Section for LogConfig {
    const NAME: &'static str = "log";

    fn check(&self, bounds: &mut Bounds) {
        let allowed = "error, warn, info, debug, trace, or directives such as info,headend::rtmp=debug";
        bounds.require(self.filter().is_ok(), "level", format_args!("{:?}", self.level), allowed);
    }
}

impl LogConfig {
    fn filter(&self) -> Result<EnvFilter, ParseError> {
        EnvFilter::try_new(format!("{QUIET},{}", self.level))
    }
}

/// Begins to log to standard error, within bounds.
///
/// # Errors
/// See [`LogError`].
pub fn init(config: &LogConfig) -> Result<LogBounds, LogError> {
    config.sound()?;
    let bounds = LogBounds::new(clock::monotonic);
    let builder = tracing_subscriber::fmt().with_env_filter(config.filter().unwrap_or_default()).with_writer(std::io::stderr);
    let done = match config.format {
        LogFormat::Text => builder.with_target(false).finish().with(bounds.clone()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(bounds.clone()).try_init(),
    };
    done.map(|()| bounds).map_err(|_| LogError::Taken)
}
