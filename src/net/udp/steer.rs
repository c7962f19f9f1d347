//! To which of the sockets that share an address the kernel gives a datagram: a classic BPF program over the sender's port.
//!
//! In: senders' ports and the socket each is to reach. Out: a program for the group of sockets (`SO_ATTACH_REUSEPORT_CBPF`, Linux 4.5),
//! which needs no privilege. Without it the kernel goes by a hash of both addresses, and most datagrams come to the wrong thread.

use std::collections::BTreeMap;

use libc::sock_filter;

/// How many runs of ports a program tells apart: it may have 4096 instructions, and a run takes two and a few more jumps. Beyond, the
/// highest ports belong to the last run.
const MAX_RUNS: usize = 1800;
/// What the kernel takes for "go by the hash".
const BY_HASH: u32 = u32::MAX;

/// Senders' ports and the socket each is to reach. Two senders behind different addresses may have the same port: the last one counts.
#[derive(Debug, Default)]
pub struct Steering {
    sockets: BTreeMap<u16, u16>,
}

impl Steering {
    /// What comes from `port` is for the socket that was bound as number `socket`, from 0.
    pub fn set(&mut self, port: u16, socket: u16) {
        self.sockets.insert(port, socket);
    }

    /// Takes back what [`Self::set`] said, unless another socket has the port by then.
    pub fn remove(&mut self, port: u16, socket: u16) {
        if self.sockets.get(&port) == Some(&socket) {
            self.sockets.remove(&port);
        }
    }

    /// The first port of each run of ports for one socket. What lies between two known ports can go anywhere.
    fn runs(&self) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for (port, socket) in &self.sockets {
            if runs.last().is_none_or(|(_, last)| last != socket) {
                runs.push((*port, *socket));
            }
        }
        runs.truncate(MAX_RUNS);
        runs
    }

    /// A search tree over the runs. The data a program sees begins behind the UDP header; the source port stands behind an IP header without
    /// options. Where there are some, a datagram may come to another socket, as it may without a program.
    pub(super) fn program(&self, ipv6: bool) -> Vec<sock_filter> {
        let runs = self.runs();
        if runs.is_empty() {
            return vec![answer(BY_HASH)];
        }
        let header = if ipv6 { 40 } else { 20 };
        let offset = (libc::SKF_NET_OFF + header).cast_unsigned();
        let mut program = vec![instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, offset)];
        program.extend(tree(&runs));
        program
    }
}

fn tree(runs: &[(u16, u16)]) -> Vec<sock_filter> {
    if let [(_, socket)] = runs {
        return vec![answer((*socket).into())];
    }
    let (low, high) = runs.split_at(runs.len() / 2);
    let (below, above) = (tree(low), tree(high));
    let from = high.first().map_or(0, |(port, _)| u32::from(*port));
    let mut program = match u8::try_from(below.len()) {
        Ok(over) => vec![instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, over, 0, from)],
        // Too far for a conditional jump.
        Err(_) => vec![
            instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, from),
            instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, below.len() as u32),
        ],
    };
    program.extend(below);
    program.extend(above);
    program
}

fn answer(socket: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, socket)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_stays_within_what_the_kernel_takes() {
        let mut steering = Steering::default();
        assert_eq!(steering.program(false).len(), 1);
        (0..=u16::MAX).for_each(|port| steering.set(port, port % 7));
        assert!(steering.program(true).len() <= 4096, "{}", steering.program(true).len());
    }

    #[test]
    fn neighbours_for_one_socket_are_one_run() {
        let mut steering = Steering::default();
        for (port, socket) in [(5000, 0), (5001, 0), (40_000, 1), (5002, 0), (60_000, 1), (50_000, 0)] {
            steering.set(port, socket);
        }
        assert_eq!(steering.runs(), [(5000, 0), (40_000, 1), (50_000, 0), (60_000, 1)]);
        steering.remove(50_000, 1); // has another owner by now
        assert_eq!(steering.runs().len(), 4);
        steering.remove(50_000, 0);
        assert_eq!(steering.runs(), [(5000, 0), (40_000, 1)]);
    }
}
