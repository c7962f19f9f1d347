//! A worker and simulated browsers, with a virtual clock.

mod fan_out;
mod hostile;
mod publish;
mod replace;
mod sim;
