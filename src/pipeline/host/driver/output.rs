//! The way back to the parent: a bounded queue and one thread that writes.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::pipeline::wire::{Message, encode_head, split};

/// Messages waiting for a parent that doesn't read: some seconds of all jobs of a child.
const MAX_MESSAGES: usize = 2048;
/// Bytes of chunks and units waiting: 10 s of sixteen 4 Mbit/s streams.
const MAX_BYTES: usize = 80 << 20;

/// Sends messages to the parent without ever waiting. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Output {
    queue: SyncSender<Message>,
    bytes: Arc<AtomicUsize>,
}

fn weight(message: &Message) -> usize {
    match message {
        Message::Chunk(_, chunk, _) => chunk.data.len(),
        Message::Unit { data, .. } => data.len(),
        Message::Init(_, init) => init.data.len(),
        _ => 0,
    }
}

impl Output {
    /// Starts the thread that writes to `socket`. When the parent is gone, it ends the process.
    pub(super) fn start(socket: socket2::Socket) -> io::Result<Self> {
        let (queue, messages) = sync_channel(MAX_MESSAGES);
        let bytes = Arc::new(AtomicUsize::new(0));
        let queued = Arc::clone(&bytes);
        std::thread::Builder::new().name("output".into()).spawn(move || {
            if write(&socket, &messages, &queued).is_err() {
                std::process::exit(0);
            }
        })?;
        Ok(Self { queue, bytes })
    }

    /// Sends; false where the queue is full and the message was dropped.
    #[must_use]
    pub(super) fn send(&self, message: Message) -> bool {
        let weight = weight(&message);
        if self.bytes.load(Ordering::Relaxed) + weight > MAX_BYTES {
            return false;
        }
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        match self.queue.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.bytes.fetch_sub(weight, Ordering::Relaxed);
                false
            }
        }
    }
}

fn write(socket: &socket2::Socket, messages: &Receiver<Message>, queued: &AtomicUsize) -> io::Result<()> {
    let mut buffer = Vec::new();
    for message in messages {
        buffer.clear();
        let rest = encode_head(&message, &mut buffer);
        queued.fetch_sub(weight(&message), Ordering::Relaxed);
        for (head, part, of_rest) in split(&buffer, rest) {
            loop {
                match socket.send_vectored(&[IoSlice::new(&head), IoSlice::new(part), IoSlice::new(of_rest)]) {
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        // One unusually large chunk shouldn't stay in memory.
        if buffer.capacity() > 4 << 20 {
            buffer = Vec::new();
        }
    }
    Ok(())
}
