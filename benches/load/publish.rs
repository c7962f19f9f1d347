//! An RTMP publisher that sends each message when it is due: fifty of them cost less than one ffmpeg.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use headend::inside::rtmp::amf0::{self, Value};
use headend::inside::rtmp::chunk::{ChunkReader, ChunkWriter, Message, kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::media::Media;
use crate::stamp::{self, Sent};
use crate::{BoxError, Result};

/// C0 and C1, S0 and S1, and so on.
const HANDSHAKE_PACKET: usize = 1536;
/// As OBS sets it.
const CHUNK_SIZE: usize = 4096;
/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A thread with its own runtime for all publishers, so that they are on time whatever the viewers do.
pub(crate) struct Publishers {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Publishers {
    /// The thread.
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("publishers").enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Publishes `media` as `live/{name}` from now to the end of this value; returns when the server has said yes. With `sent`, pictures are
    /// stamped and their times noted.
    pub(crate) async fn publish(&self, server: SocketAddr, name: &str, media: &Arc<Media>, sent: Option<Sent>) -> Result<()> {
        let Some(runtime) = &self.runtime else { return Err("the publishers have ended".into()) };
        let (tell, told) = oneshot::channel();
        let (name, media) = (name.to_owned(), media.clone());
        runtime.spawn(async move {
            match tokio::time::timeout(ANSWER_WITHIN, connect(server, &name)).await {
                Ok(Ok((socket, writer))) => {
                    let _ = tell.send(Ok(()));
                    // The connection ends with the server; the scenario sees that by what is missing.
                    let _ = send(socket, writer, &media, sent).await;
                }
                Ok(Err(error)) => drop(tell.send(Err(error))),
                Err(_) => drop(tell.send(Err("the server did not answer an RTMP publisher in time".into()))),
            }
        });
        told.await?
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn command(values: &[Value], stream: u32) -> Message {
    Message { kind: kind::COMMAND, stream, timestamp: 0, body: amf0::write(values).into() }
}

async fn connect(server: SocketAddr, name: &str) -> std::result::Result<(TcpStream, ChunkWriter), BoxError> {
    let mut socket = TcpStream::connect(server).await?;
    socket.set_nodelay(true)?;
    let mut hello = vec![7; 1 + HANDSHAKE_PACKET];
    hello[0] = 3;
    hello[1..9].fill(0); // time, and the zero that asks for the plain handshake
    socket.write_all(&hello).await?;
    let mut theirs = vec![0; 1 + 2 * HANDSHAKE_PACKET];
    socket.read_exact(&mut theirs).await?;
    socket.write_all(&theirs[1..=HANDSHAKE_PACKET]).await?;

    let mut writer = ChunkWriter::new();
    let mut out = BytesMut::new();
    writer.set_chunk_size(CHUNK_SIZE, &mut out);
    let properties = vec![
        ("app".into(), Value::text("live")),
        ("tcUrl".into(), Value::text(format!("rtmp://{server}/live"))),
        ("flashVer".into(), Value::text("FMLE/3.0 (headend bench)")),
    ];
    writer.write(&command(&[Value::text("connect"), Value::Number(1.0), Value::Object(properties)], 0), &mut out);
    writer.write(&command(&[Value::text("createStream"), Value::Number(2.0), Value::Null], 0), &mut out);
    let publish = [Value::text("publish"), Value::Number(3.0), Value::Null, Value::text(name), Value::text("live")];
    writer.write(&command(&publish, 1), &mut out);
    socket.write_all(&out).await?;
    wait_for_start(&mut socket).await?;
    Ok((socket, writer))
}

/// Reads until the server says `NetStream.Publish.Start`, or something else about it.
async fn wait_for_start(socket: &mut TcpStream) -> Result<()> {
    let mut reader = ChunkReader::new(0);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = socket.read(&mut buffer).await?;
        if len == 0 {
            return Err("the server closed the connection of a publisher".into());
        }
        let mut input = &buffer[..len];
        while let Some(message) = reader.next_message(&mut input).map_err(|error| format!("{error:?}"))? {
            if message.kind == kind::SET_CHUNK_SIZE {
                continue; // the reader has followed it
            }
            let values = if message.kind == kind::COMMAND { amf0::read(&message.body)? } else { continue };
            let code = values.iter().find_map(|value| value.get("code")?.as_str().map(str::to_owned)).unwrap_or_default();
            match code.as_str() {
                "NetStream.Publish.Start" => return Ok(()),
                code if code.starts_with("NetStream") => return Err(format!("the server refused a publisher: {code}").into()),
                _ => {}
            }
        }
    }
}

async fn send(mut socket: TcpStream, writer: ChunkWriter, media: &Media, sent: Option<Sent>) -> Result<()> {
    let mut out = BytesMut::new();
    for (kind, body) in &media.headers {
        writer.write(&Message { kind: *kind, stream: 1, timestamp: 0, body: body.clone() }, &mut out);
    }
    let began = Instant::now();
    let (mut incoming, mut outgoing) = socket.split();
    let drain = async {
        // Acknowledgements and pings; nothing there has to be answered for as long as a measurement lasts.
        let mut buffer = [0; 4096];
        while incoming.read(&mut buffer).await? > 0 {}
        Ok::<_, BoxError>(())
    };
    let feed = async {
        for tag in media.tags() {
            tokio::time::sleep_until((began + tag.at).into()).await;
            let body: Bytes = match &sent {
                Some(_) if tag.kind == kind::VIDEO => stamp::stamp(&tag.body, tag.picture),
                _ => tag.body,
            };
            writer.write(&Message { kind: tag.kind, stream: 1, timestamp: tag.at.as_millis() as u32, body }, &mut out);
            if let (Some(sent), kind::VIDEO) = (&sent, tag.kind) {
                sent.note(tag.picture, Instant::now());
            }
            outgoing.write_all(&out).await?;
            out.clear();
        }
        Ok(())
    };
    tokio::select! {
        result = feed => result,
        result = drain => result,
    }
}
