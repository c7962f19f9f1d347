//! What this machine needs to encrypt and send a packet and nothing else: runs of ten packets as one `UDP_SEGMENT` message without a pause,
//! and the traffic of a stream, at its pace.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headend::inside::net::udp::{RecvBatch, SendBatch, UdpPort};
use headend::inside::rtp::packet::{RtpHeader, write_header};
use headend::inside::rtp::srtp::{Keying, SrtpProfile, SrtpSender};

use crate::report::{Report, Target, us};
use crate::{Result, proc};

/// Receivers, as many as the larger scenario has viewers.
const RECEIVERS: usize = 200;
/// Packets in a row to the same receiver: a picture of 1.5 Mbit/s at 30 fps has five, a key frame forty.
const RUN: usize = 10;
/// Payload of a packet.
const PAYLOAD: usize = 1180;
/// How long each profile is measured.
const MEASURE: Duration = Duration::from_secs(2);
/// The stream of the `whep` scenario as its viewers get it: 30 pictures of six packets and 50 packets of audio a second.
const PICTURE: (Duration, usize, usize) = (Duration::from_nanos(33_333_333), 6, 1040);
const AUDIO: (Duration, usize, usize) = (Duration::from_millis(20), 1, 170);

/// Both profiles.
pub(crate) async fn run() -> Result<Report> {
    let mut report = Report::default();
    for (name, profile) in [("AEAD_AES_128_GCM", SrtpProfile::AeadAes128Gcm), ("AES128_CM_HMAC_SHA1_80", SrtpProfile::Aes128CmHmacSha1_80)]
    {
        let cost = measure(profile).await?;
        report.add(&format!("floor: encrypt and send, {name}, GSO × {RUN}, per packet"), us(cost), "µs", Target::None);
    }
    Ok(report)
}

async fn measure(profile: SrtpProfile) -> Result<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let (addresses, drain) = drain(stop.clone())?;
    let port = UdpPort::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false)?;
    let keying = Keying::new(profile, &vec![1; profile.key_len()], &vec![2; profile.salt_len()])?;
    let sender = SrtpSender::new(&keying)?;
    let mut template = vec![0x5A; 12 + PAYLOAD];
    let header = RtpHeader { marker: false, payload_type: 96, sequence_number: 0, timestamp: 0, ssrc: 1 };
    let header_len = write_header(&mut template, &header, &[])?;
    let mut batch = SendBatch::new();
    let (began, cpu) = (Instant::now(), proc::this_thread());
    let mut index = 0u64;
    while began.elapsed() < MEASURE {
        for address in &addresses {
            for _ in 0..RUN {
                let len = template.len();
                let Some(room) = batch.begin(*address, Ipv4Addr::LOCALHOST.into(), len + profile.tag_len()) else { break };
                room[..len].copy_from_slice(&template);
                headend::inside::rtp::packet::set_sequence_number(room, index as u16);
                let sealed = sender.seal_with_index(room, header_len, len, index)?;
                batch.commit(sealed);
                index += 1;
            }
            if batch.is_full() {
                while !batch.flush(&port)? {
                    port.writable().await?;
                }
            }
        }
    }
    let spent = proc::this_thread() - cpu;
    stop.store(true, Ordering::Relaxed);
    let _ = drain.join();
    let sent = batch.counters().packets.max(1);
    Ok(Duration::from_nanos((spent.as_nanos() / u128::from(sent)) as u64))
}

/// Per packet, for the traffic of a stream at its pace to `receivers` that each have keys of their own and read as viewers do, on one thread.
pub(crate) async fn paced(receivers: usize) -> Result<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let (addresses, readers) = readers(receivers, stop.clone())?;
    let port = UdpPort::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false)?;
    let handle = tokio::runtime::Handle::current();
    let sending = tokio::task::spawn_blocking(move || {
        let _inside = handle.enter();
        send_paced(&port, &addresses).map_err(|error| error.to_string())
    });
    let spent = sending.await?;
    stop.store(true, Ordering::Relaxed);
    let _ = tokio::task::spawn_blocking(move || readers.join()).await;
    Ok(spent?)
}

fn send_paced(port: &UdpPort, addresses: &[SocketAddr]) -> Result<Duration> {
    let profile = SrtpProfile::AeadAes128Gcm;
    let keys = |n: usize| Keying::new(profile, &vec![n as u8; profile.key_len()], &vec![2; profile.salt_len()]);
    let senders = (0..addresses.len()).map(|n| Ok(SrtpSender::new(&keys(n)?)?)).collect::<Result<Vec<_>>>()?;
    let mut packet = vec![0x5A; 12 + PAYLOAD];
    let header = RtpHeader { marker: false, payload_type: 96, sequence_number: 0, timestamp: 0, ssrc: 1 };
    let header_len = write_header(&mut packet, &header, &[])?;
    let (began, cpu) = (Instant::now(), proc::this_thread());
    let mut due = [(PICTURE, began), (AUDIO, began)];
    let (mut batch, mut index) = (SendBatch::new(), 0u64);
    while began.elapsed() < MEASURE {
        let Some(((every, count, payload), at)) = due.iter_mut().min_by_key(|(_, at)| *at) else { break };
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        *at += *every;
        let len = header_len + *payload;
        for (address, sender) in addresses.iter().zip(&senders) {
            for n in 0..*count as u64 {
                let Some(room) = batch.begin(*address, Ipv4Addr::LOCALHOST.into(), len + profile.tag_len()) else { break };
                room[..len].copy_from_slice(&packet[..len]);
                headend::inside::rtp::packet::set_sequence_number(room, (index + n) as u16);
                let sealed = sender.seal_with_index(room, header_len, len, index + n)?;
                batch.commit(sealed);
            }
        }
        index += *count as u64;
        batch.flush(port)?;
    }
    let spent = proc::this_thread() - cpu;
    Ok(Duration::from_nanos((spent.as_nanos() / u128::from(batch.counters().packets.max(1))) as u64))
}

fn readers(count: usize, stop: Arc<AtomicBool>) -> Result<Drain> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let bind = |_| UdpPort::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false);
    let ports: Vec<UdpPort> = (0..count).map(bind).collect::<std::io::Result<_>>()?;
    drop(inside);
    let addresses = ports.iter().map(UdpPort::local_addr).collect();
    let thread = std::thread::spawn(move || {
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let batch = std::rc::Rc::new(std::cell::RefCell::new(RecvBatch::new()));
            for port in ports {
                let batch = batch.clone();
                tokio::task::spawn_local(async move {
                    while port.readable().await.is_ok() {
                        let _ = port.recv_batch(&mut batch.borrow_mut());
                    }
                });
            }
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    });
    Ok((addresses, thread))
}

type Drain = (Vec<SocketAddr>, std::thread::JoinHandle<()>);

/// Sockets that are read by another thread, as the viewers' are.
fn drain(stop: Arc<AtomicBool>) -> Result<Drain> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let bind = |_| UdpPort::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false);
    let ports: Vec<UdpPort> = (0..RECEIVERS).map(bind).collect::<std::io::Result<_>>()?;
    drop(inside);
    let addresses = ports.iter().map(UdpPort::local_addr).collect();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            let mut batch = RecvBatch::new();
            while !stop.load(Ordering::Relaxed) {
                for port in &ports {
                    while port.recv_batch(&mut batch).is_ok() {}
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    });
    Ok((addresses, thread))
}
