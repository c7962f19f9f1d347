//! headend's command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use headend::app::{self, Config};

/// Live video from OBS and browsers to WebRTC viewers, LL-HLS, DASH and recordings.
#[derive(Debug, Parser)]
#[command(
    name = "headend",
    version,
    max_term_width = 110,
    after_help = "Every setting is explained in samples/headend.toml. Any of them can be \
    given as an environment variable too: HEADEND_RTMP__LISTEN='[::]:1935' is `listen` in the section [rtmp]."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server, until Ctrl-C or SIGTERM
    Serve(ServeArgs),
    /// Say what is wrong with a configuration, with line and key
    Check(CheckArgs),
    /// Print the configuration with all defaults, as TOML
    Defaults,
    /// A child process that runs GStreamer pipelines; started by `serve`
    #[command(hide = true, disable_help_flag = true)]
    PipelineHost {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration file (TOML); without one, safe defaults hold
    #[arg(short, long, value_name = "FILE", env = "HEADEND_CONFIG")]
    config: Option<PathBuf>,
    /// Where recordings are kept [default: ./data]
    #[arg(short, long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port for pages, WHIP, WHEP, HLS, DASH and the API [default: [::]:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Address and port for RTMP [default: [::]:1935]
    #[arg(long, value_name = "ADDR")]
    rtmp: Option<SocketAddr>,
    /// What to log: error, warn, info, debug, trace, or directives such as info,headend::rtmp=debug
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Configuration file (TOML)
    #[arg(short, long, value_name = "FILE", env = "HEADEND_CONFIG")]
    config: PathBuf,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve(args),
        Command::Check(args) => check(&args),
        Command::Defaults => defaults(),
        Command::PipelineHost { .. } => headend::host_main(),
    }
}

#[allow(clippy::print_stderr)] // the command line talks to a person
fn fail(why: impl std::fmt::Display) -> ExitCode {
    eprintln!("headend: {why}");
    ExitCode::FAILURE
}

fn serve(args: ServeArgs) -> ExitCode {
    let mut config = match app::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(error),
    };
    config.data_dir = args.data_dir.unwrap_or(config.data_dir);
    config.http.listen = args.http.unwrap_or(config.http.listen);
    config.rtmp.listen = args.rtmp.unwrap_or(config.rtmp.listen);
    config.log.level = args.log.unwrap_or(config.log.level);
    let log = match app::init_logging(&config.log) {
        Ok(log) => log,
        Err(error) => return fail(error),
    };
    // WebRTC media has threads of its own, one per core. What is left (RTMP, HTTP, feeding pipelines) is many short tasks: with
    // as many threads again they wake each other for nothing.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format!("can't start the runtime: {error}")),
    };
    let result = runtime.block_on(app::serve(config, log));
    // What still runs was asked to end and waited for; a thread that hangs must not hold the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

#[allow(clippy::print_stdout)] // the command line talks to a person
fn check(args: &CheckArgs) -> ExitCode {
    if let Err(error) = app::load(Some(&args.config)) {
        return fail(error);
    }
    println!("{} is good", args.config.display());
    ExitCode::SUCCESS
}

#[allow(clippy::print_stdout)] // the command line talks to a person
fn defaults() -> ExitCode {
    match toml_edit::ser::to_string_pretty(&Config::default()) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}
