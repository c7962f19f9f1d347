//! Floor 8: reads the configuration, builds every part, wires them, shuts them down. The one place that names every adapter.
//!
//! In: the command line's wishes. Out: a running server, or a sentence that says why not.

mod chance;
mod clock;
mod config;
mod data_lock;
mod load;
mod log_bounds;
mod logging;
mod memory;
mod metrics;
mod numbers;
mod open_files;
mod segmenters;
mod serve;
mod watch;

pub use config::Config;
pub use load::{ConfigError, load, load_text};
pub use log_bounds::LogBounds;
pub use logging::{LogConfig, LogError, LogFormat, init as init_logging};
pub use serve::{ServeError, serve};
