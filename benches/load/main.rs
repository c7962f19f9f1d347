//! headend under load: a release binary as its users run it, on real sockets, with real processes beside it.
//!
//! In: which scenario. Out: a Markdown table of figures and of the targets they are held to. `docs/performance.md` says what each figure means;
//! `scripts/bench.sh` runs them all. The server's cost is read from `/proc`, so what this generator spends does not count.

// A program that measures reads the clock and prints; what would be a panic in the server is a failed measurement here.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

mod beside;
mod floor;
mod hls;
mod http;
mod latency;
mod media;
mod nginx;
mod picture;
mod proc;
mod publish;
mod report;
mod sdp;
mod segment;
mod server;
mod stamp;
mod viewer;
mod whep;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use report::Report;

/// Whatever went wrong; nothing here is handled but by telling.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// With it.
pub type Result<T> = std::result::Result<T, BoxError>;

/// Longest that a scenario may take: twice what the longest needs.
const LIMIT: Duration = Duration::from_secs(150);

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
    /// Given by `cargo bench`; means nothing here
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Encrypt and send as fast as this machine can: what forwarding can't be cheaper than
    Floor,
    /// One publisher, many WebRTC viewers: CPU per packet, memory and set-up per viewer, time to the first key frame
    Whep {
        /// How many viewers, in rising order
        #[arg(long, value_delimiter = ',', default_values_t = [100, 200])]
        viewers: Vec<usize>,
        /// How long each number of viewers is measured, in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// From RTMP in to a whole picture out by WHEP, and to a part of LL-HLS
    Latency {
        /// How long to measure, in seconds
        #[arg(long, default_value_t = 15)]
        seconds: u64,
    },
    /// Many publishers into LL-HLS and DASH: CPU and memory per stream
    Segment {
        /// How many publishers
        #[arg(long, default_value_t = 50)]
        streams: usize,
        /// How long to measure, in seconds
        #[arg(long, default_value_t = 15)]
        seconds: u64,
        /// Record them all too
        #[arg(long)]
        record: bool,
    },
    /// The same publishers into headend and nginx-rtmp (apt-get install libnginx-mod-rtmp), in turns: CPU per stream
    Beside {
        /// How many publishers
        #[arg(long, default_value_t = 50)]
        streams: usize,
        /// How long each turn is measured, in seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// How many turns
        #[arg(long, default_value_t = 3)]
        turns: usize,
        /// Another headend, an older one for example, that has its turns too
        #[arg(long)]
        other: Option<PathBuf>,
    },
    /// Requests per CPU-second beside nginx with the same bytes (needs wrk and nginx)
    Http {
        /// How long each measurement takes, in seconds
        #[arg(long, default_value_t = 4)]
        seconds: u64,
    },
    /// First decoded picture in Chromium (needs tests/e2e's packages)
    Picture {
        /// How often
        #[arg(long, default_value_t = 10)]
        runs: usize,
    },
    /// Starts a server with one 720p stream, prints where it is and waits for Ctrl-C: to look at it by hand or with a profiler
    Serve,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    let limit = match cli.scenario {
        Scenario::Serve => Duration::MAX,
        Scenario::Beside { turns, .. } => LIMIT * u32::try_from(turns).unwrap_or(u32::MAX).max(1),
        _ => LIMIT,
    };
    let bounded = async {
        // However it ends, what the scenario started ends with it.
        tokio::select! {
            result = run(cli.scenario) => result,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            () = tokio::time::sleep(limit) => Err(format!("not done within {limit:?}").into()),
        }
    };
    let result = tokio::task::LocalSet::new().block_on(&runtime, bounded);
    match result {
        Ok(report) => {
            print!("{}{report}", Report::HEAD);
            // A missed target is a figure, not a failure of the measurement.
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(scenario: Scenario) -> Result<Report> {
    match scenario {
        Scenario::Floor => floor::run().await,
        Scenario::Whep { viewers, seconds } => whep::run(&viewers, seconds).await,
        Scenario::Latency { seconds } => latency::run(seconds).await,
        Scenario::Segment { streams, seconds, record } => segment::run(streams, seconds, record).await,
        Scenario::Beside { streams, seconds, turns, other } => beside::run(streams, seconds, turns, other.as_deref()).await,
        Scenario::Http { seconds } => http::run(seconds).await,
        Scenario::Picture { runs } => picture::run(runs).await,
        Scenario::Serve => serve().await,
    }
}

async fn serve() -> Result<Report> {
    let server = server::Server::start(true).await?;
    let publishers = publish::Publishers::new()?;
    publishers.publish(server.rtmp, "cam1", &std::sync::Arc::new(media::Media::load(media::SMALL)?), None).await?;
    println!("pid {} · {}", server.pid(), server.url("live/cam1/"));
    std::future::pending().await
}
