//! Connections: accepted, bounded in time and number, read within bounds.

mod attempt;
mod body;
mod first_line;
mod idle;
mod rarely;
mod server;
mod timer;

pub(crate) use attempt::Patience;
pub(crate) use body::read_body;
pub(crate) use server::HttpServer;
