//! What children say to the owners of their jobs.

use crate::pipeline::wire::Message;

/// What a job reports to its owner.
#[derive(Debug)]
pub enum JobEvent {
    /// The child said so.
    Message(Message),
    /// The child is gone. The last event.
    Lost,
}
