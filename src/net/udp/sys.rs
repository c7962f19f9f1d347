//! `sendmmsg` with per-message control data (source address and segment size), and programs for groups of sockets.
//!
//! In: messages in an arena; a program. Out: how many the kernel took; whether it takes the program.
#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::message::Message;

/// Messages per `sendmmsg`: so many that the call itself costs little beside them. The kernel takes up to 1024.
const BATCH: usize = 64;
/// Room for IPV6_PKTINFO and UDP_SEGMENT.
const CONTROL: usize = 64;

/// cmsghdr needs the alignment of a word.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What the kernel is given pointers into. Kept between calls so that nothing is allocated.
pub(super) struct Scratch {
    headers: Vec<libc::mmsghdr>,
    slices: Vec<libc::iovec>,
    names: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
}

// SAFETY: the raw pointers inside `headers` and `slices` are only ever followed within `send`, which writes them anew from
// its own borrows before the system call; between calls they are dead values.
unsafe impl Send for Scratch {}

impl Default for Scratch {
    fn default() -> Self {
        // SAFETY: all of these are plain C structures for which zero bytes are a valid value.
        let (header, slice, name) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            headers: vec![header; BATCH],
            slices: vec![slice; BATCH],
            names: vec![name; BATCH],
            controls: vec![Control([0; CONTROL]); BATCH],
        }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch")
    }
}

/// Lets `program` choose among the sockets that share the socket's address.
pub(super) fn attach(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions behind `filter`, which outlive the call; it writes nothing there.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends as many of `messages` as one call takes. An error is about the first one. `source_for` says which source address to put on
/// packets that answer to one of ours.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    source_for: impl Fn(IpAddr) -> Option<IpAddr>,
    scratch: &mut Scratch,
    arena: &[u8],
    messages: &[Message],
) -> io::Result<usize> {
    let count = messages.len().min(BATCH);
    for (index, message) in messages[..count].iter().enumerate() {
        let payload = &arena[message.start..message.start + message.len];
        scratch.slices[index] = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        let name_len = write_name(&mut scratch.names[index], message.remote);
        let source = source_for(message.local).filter(|ip| ip.is_ipv4() == message.remote.is_ipv4());
        let segment = (message.segments > 1).then_some(message.segment as u16);
        let control_len = write_control(&mut scratch.controls[index], source, segment);
        let header = &mut scratch.headers[index];
        header.msg_len = 0;
        header.msg_hdr.msg_name = (&raw mut scratch.names[index]).cast();
        header.msg_hdr.msg_namelen = name_len;
        header.msg_hdr.msg_iov = &raw mut scratch.slices[index];
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = if control_len == 0 { std::ptr::null_mut() } else { (&raw mut scratch.controls[index]).cast() };
        header.msg_hdr.msg_controllen = control_len;
        header.msg_hdr.msg_flags = 0;
    }
    loop {
        // SAFETY: the first `count` headers point to names, slices and controls of this scratch and payloads of `arena`, all of
        // which outlive the call; sendmmsg writes nothing but `msg_len` of the headers.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), scratch.headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT) };
        if let Ok(sent) = usize::try_from(sent) {
            return Ok(sent);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

fn write_name(storage: &mut libc::sockaddr_storage, address: SocketAddr) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is larger than and aligned for every sockaddr type.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in>().write(name) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in6>().write(name) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Writes the control messages and returns their length.
fn write_control(control: &mut Control, source: Option<IpAddr>, segment: Option<u16>) -> usize {
    let mut at = 0;
    match source {
        Some(IpAddr::V4(ip)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            at += put(control, at, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
            at += put(control, at, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    if let Some(segment) = segment {
        at += put(control, at, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    at
}

/// Puts one control message at `at` and returns the room it takes.
fn put<T: Copy>(control: &mut Control, at: usize, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
    // SAFETY: these two only compute sizes.
    let (space, len) = unsafe { (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32) as usize) };
    let data_at = len - size_of::<T>();
    if at + space > CONTROL {
        return 0; // Can't be: the buffer is made for both messages.
    }
    // SAFETY: the check above keeps both writes inside the buffer; its start is aligned for cmsghdr and `at` is a sum of
    // CMSG_SPACEs, which keep that alignment. The value is written without assuming alignment.
    unsafe {
        let base = control.0.as_mut_ptr().add(at);
        base.cast::<libc::cmsghdr>().write(libc::cmsghdr { cmsg_len: len as _, cmsg_level: level, cmsg_type: kind });
        base.add(data_at).cast::<T>().write_unaligned(value);
    }
    space
}
