//! Structured logs: for people by default, as JSON by option.

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// `[log]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,headend::rtmp=debug`.
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

/// Begins to log to standard error. Fails, with the reason, on a level that can't be read.
pub fn init(config: &LogConfig) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(format!("{QUIET},{}", config.level)).map_err(|error| format!("log.level {:?}: {error}", config.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match config.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    done.map_err(|error| error.to_string())
}
