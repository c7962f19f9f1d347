//! Stories of two peers with a link between them: connecting, moving, restarting, and what strangers send.

mod pair;

use std::time::{Duration, Instant};

use bytes::Bytes;

use self::pair::{Pair, certificates, client_tuple, flip, start};
use super::client::ClientPeer;
use super::*;
use crate::base::seeded;
use crate::sfu::ortc::{DtlsFingerprint, DtlsParameters, DtlsRole};

#[test]
fn connects_in_both_roles_and_says_so_in_order() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut pair = Pair::new(role, 0, 1);
        pair.run(Duration::from_millis(300));
        assert_eq!(pair.assert_connected(), SrtpProfile::AeadAes128Gcm);
        let tuple = flip(client_tuple(1000));
        assert!(matches!(
            &pair.server_events[..],
            [PeerEvent::TupleAdded(a), PeerEvent::TupleSelected(b), PeerEvent::IceConnected, PeerEvent::Connected(_)]
                if *a == tuple && *b == tuple
        ));
        assert_eq!(pair.server.selected_tuple(), Some(tuple));
        // Consent is kept, nothing else happens.
        pair.run(Duration::from_secs(120));
        assert_eq!(pair.server_events.len(), 4);
        pair.client.close(pair.now).unwrap();
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.closed(), Some(&CloseReason::ClosedByPeer));
    }
}

#[test]
fn connects_over_lossy_links() {
    for seed in 0..30 {
        for role in [DtlsRole::Client, DtlsRole::Server] {
            let mut pair = Pair::new(role, 100, seed);
            pair.run(Duration::from_secs(15));
            pair.assert_connected();
            assert_eq!(pair.closed(), None, "seed {seed}");
        }
    }
}

#[test]
fn the_server_closing_is_told_to_the_client() {
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    // Also after the engine was reduced to its keys.
    pair.run(Duration::from_secs(20));
    pair.assert_connected();
    pair.server.close(pair.now);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.closed(), Some(&CloseReason::Closed));
    assert!(pair.client_events.contains(&PeerEvent::Closed(CloseReason::ClosedByPeer)));
    assert_eq!(pair.server.poll_timeout(), None);
}

#[test]
fn a_wrong_certificate_gets_no_keys() {
    let now = start();
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut pair = Pair::new(role, 0, 1);
        pair.server = Peer::new(now, &certificates().0, 3, &mut seeded(2));
        let expected = Certificate::generate().unwrap();
        let ice = pair.server.ice_parameters().clone();
        pair.client.set_remote_ice(now, &ice);
        let remote = DtlsParameters { role, fingerprints: vec![expected.fingerprint().clone()] };
        pair.server.connect(now, remote, pair.client.ice_parameters()).unwrap();
        pair.run(Duration::from_secs(2));
        assert_eq!(pair.closed(), Some(&CloseReason::FingerprintMismatch));
        assert!(Pair::keys(&pair.server_events).is_none());
    }
}

#[test]
fn parameters_without_a_usable_fingerprint_are_refused() {
    let now = start();
    let mut peer = Peer::new(now, &certificates().0, 0, &mut seeded(2));
    let ice = peer.ice_parameters().clone();
    let bad = DtlsFingerprint { algorithm: "sha-1".into(), value: "AA".into() };
    let refused = peer.connect(now, DtlsParameters { role: DtlsRole::Client, fingerprints: vec![bad] }, &ice);
    assert_eq!(refused, Err(NoUsableFingerprint.into()));
    let good = DtlsParameters { role: DtlsRole::Client, fingerprints: vec![certificates().1.fingerprint().clone()] };
    assert_eq!(peer.connect(now, good.clone(), &ice), Ok(()));
    assert_eq!(peer.connect(now, good, &ice), Err(PeerError::AlreadyConnected));
}

#[test]
fn a_client_hello_before_connect_is_not_lost() {
    let now = start();
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    pair.server = Peer::new(now, &certificates().0, 3, &mut seeded(2));
    let ice = pair.server.ice_parameters().clone();
    pair.client.set_remote_ice(now, &ice);
    pair.run(Duration::from_millis(200));
    assert!(Pair::keys(&pair.server_events).is_none());
    pair.server.connect(pair.now, pair.client.dtls_parameters(), pair.client.ice_parameters()).unwrap();
    // Three round trips, no retransmission.
    pair.run(Duration::from_millis(100));
    pair.assert_connected();
}

#[test]
fn flights_are_repeated_when_the_peer_repeats_its_own() {
    let is_dtls = |datagram: &Bytes| datagram[0] >= 20;
    // The first ClientHello, and the one with the cookie: answered, but the answer is lost.
    for hellos in 1..=2 {
        let mut pair = Pair::new(DtlsRole::Client, 0, 1);
        while pair.to_server.iter().filter(|datagram| is_dtls(datagram)).count() < hellos {
            assert!(pair.step(pair.now + Duration::from_secs(1)));
        }
        let hello = pair.to_server.iter().rfind(|datagram| is_dtls(datagram)).unwrap().clone();
        let tuple = flip(client_tuple(1000));
        let mut answers = |now| {
            pair.server.handle_datagram(now, tuple, &hello);
            std::iter::from_fn(|| pair.server.poll_transmit())
                .filter(|(_, datagram)| is_dtls(datagram))
                .map(|(_, d)| d.len())
                .sum::<usize>()
        };
        let first = answers(pair.now);
        assert!(first > 0);
        let mut again: Vec<usize> = (1..=20).map(|i| answers(pair.now + Duration::from_millis(200) * i)).collect();
        again.retain(|length| *length > 0);
        assert!(again.iter().all(|length| *length == first), "{first} {again:?}");
        assert_eq!(again.len(), if hellos == 1 { 16 } else { 3 });
    }
}

#[test]
fn nobody_comes() {
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    pair.run_server_alone(Duration::from_secs(29));
    assert_eq!(pair.closed(), None);
    pair.run_server_alone(Duration::from_secs(2));
    assert_eq!(pair.closed(), Some(&CloseReason::IceTimeout));
}

#[test]
fn a_peer_that_only_speaks_ice_is_given_up() {
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    pair.client = ClientPeer::new(
        pair.now,
        seeded(2),
        &certificates().1,
        DtlsRole::Server, // Waits for our ClientHello, while we wait for its.
        pair.server.ice_parameters(),
        &pair.server.dtls_parameters(),
        client_tuple(1000),
    );
    pair.run(Duration::from_secs(29));
    assert_eq!(pair.closed(), None);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.closed(), Some(&CloseReason::DtlsTimeout));
}

/// Whoever can send in the viewer's name could end its handshake by two bytes.
#[test]
fn alerts_that_are_not_encrypted_end_no_handshake() {
    let alert = |level, what| Bytes::from(vec![21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, level, what]);
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut pair = Pair::new(role, 0, 1);
        let end = pair.now + Duration::from_millis(300);
        while pair.step(end) {
            for datagram in [alert(2, 40), alert(1, 0), alert(2, 0)] {
                pair.server.handle_datagram(pair.now, flip(client_tuple(1000)), &datagram);
            }
        }
        pair.assert_connected();
        assert_eq!(pair.closed(), None);
        assert!(pair.server.take_dropped_records() > 10);
    }
    // Who means it goes silent, and is given up like others who do.
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    while !pair.server_events.contains(&PeerEvent::IceConnected) {
        assert!(pair.step(pair.now + Duration::from_secs(1)));
    }
    pair.server.handle_datagram(pair.now, flip(client_tuple(1000)), &alert(2, 40));
    pair.run_server_alone(Duration::from_secs(31));
    assert!(matches!(pair.closed(), Some(CloseReason::DtlsTimeout | CloseReason::ConsentLost)), "{:?}", pair.closed());
}

#[test]
fn consent_expires_30_s_after_the_last_check() {
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    pair.run(Duration::from_secs(40));
    pair.assert_connected();
    pair.run_server_alone(Duration::from_secs(26));
    assert_eq!(pair.closed(), None);
    pair.run_server_alone(Duration::from_secs(5));
    assert_eq!(pair.closed(), Some(&CloseReason::ConsentLost));
    assert_eq!(pair.server_events.iter().filter(|event| matches!(event, PeerEvent::TupleRemoved(_))).count(), 1);
}

#[test]
fn the_nominated_pair_is_followed_not_the_last_source() {
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    pair.run(Duration::from_secs(1));
    pair.client.add_tuple(pair.now, client_tuple(2000));
    pair.run(Duration::from_secs(10));
    assert!(pair.server_events.contains(&PeerEvent::TupleAdded(flip(client_tuple(2000)))));
    assert_eq!(pair.server.selected_tuple(), Some(flip(client_tuple(1000))));
    assert!(pair.client.nominate(pair.now, client_tuple(2000)));
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.server.selected_tuple(), Some(flip(client_tuple(2000))));
    // Media of both is taken, of a third not.
    let now = pair.now;
    let mut media = |port, second| pair.server.handle_datagram(now, flip(client_tuple(port)), &[0x80, second, 0, 0]);
    assert_eq!((media(1000, 96), media(2000, 200), media(3000, 96)), (Received::Srtp, Received::Srtcp, Received::Ignored));
}

/// A viewer names somebody else's address as the one to send to: whoever is there can't answer what we ask, and gets no media.
#[test]
fn media_follow_only_to_whom_receives_there() {
    let (own, victim) = (client_tuple(1000), client_tuple(2000));
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    pair.run(Duration::from_secs(1));
    pair.deaf = Some((flip(victim), 0));
    pair.client.add_tuple(pair.now, victim);
    pair.client.nominate(pair.now, victim);
    let sent = pair.to_server.len();
    pair.run(Duration::from_secs(60));
    pair.assert_connected();
    assert_eq!((pair.server.selected_tuple(), pair.closed()), (Some(flip(own)), None));
    // Half of what was sent since then came in the victim's name: each gets an answer, a few another check.
    let (_, got) = pair.deaf.unwrap();
    let spoofed: usize = pair.to_server[sent..].iter().map(Bytes::len).sum::<usize>() / 2;
    assert!(got > 0 && got < 2 * spoofed, "{got} for {spoofed}");
    // Its own path is given up: still nobody is sent media whom it names.
    pair.client.forget(own);
    pair.run(Duration::from_secs(60));
    assert_eq!((pair.server.selected_tuple(), pair.closed()), (None, None));
    assert_eq!(pair.server_events.iter().filter(|event| matches!(event, PeerEvent::TupleSelected(_))).count(), 1);
    // Who is there in truth is believed at once.
    pair.deaf = None;
    pair.run(Duration::from_secs(3));
    assert_eq!(pair.server.selected_tuple(), Some(flip(victim)));
}

#[test]
fn a_victim_named_during_the_handshake_gets_none_either() {
    let (own, victim) = (client_tuple(1000), client_tuple(2000));
    let is_dtls = |datagram: &Bytes| datagram[0] >= 20;
    for records in 0..=3 {
        let mut pair = Pair::new(DtlsRole::Client, 0, 1);
        pair.deaf = Some((flip(victim), 0));
        while pair.to_server.iter().filter(|datagram| is_dtls(datagram)).count() < records {
            assert!(pair.step(pair.now + Duration::from_secs(1)));
        }
        pair.client.add_tuple(pair.now, victim);
        pair.client.nominate(pair.now, victim);
        // What the victim would have to answer comes from the viewer's own address.
        pair.run(Duration::from_secs(20));
        let connected = Pair::keys(&pair.server_events).is_some();
        assert!(!connected || pair.server.selected_tuple() == Some(flip(own)), "{records}");
        assert!(pair.deaf.unwrap().1 < 40_000, "{records}: {:?}", pair.deaf);
    }
}

#[test]
fn a_lost_check_of_ours_is_repeated() {
    for seed in 0..20 {
        let mut pair = Pair::new(DtlsRole::Client, 0, seed);
        pair.run(Duration::from_secs(1));
        pair.assert_connected();
        pair.lost_per_mille = 300;
        pair.client.add_tuple(pair.now, client_tuple(2000));
        pair.client.nominate(pair.now, client_tuple(2000));
        pair.run(Duration::from_secs(10));
        assert_eq!(pair.server.selected_tuple(), Some(flip(client_tuple(2000))), "seed {seed}");
    }
}

#[test]
fn a_broken_tcp_connection_is_replaced_by_what_is_left_or_what_comes() {
    let tcp = |port| Tuple { protocol: Protocol::Tcp, ..client_tuple(port) };
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    pair.run(Duration::from_secs(1));
    pair.client.add_tuple(pair.now, tcp(2000));
    pair.client.nominate(pair.now, tcp(2000));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.server.selected_tuple(), Some(flip(tcp(2000))));
    // UDP is still there.
    pair.server.handle_disconnected(pair.now, &flip(tcp(2000)));
    assert_eq!(pair.server.selected_tuple(), Some(flip(client_tuple(1000))));
    // UDP tuples don't break.
    pair.server.handle_disconnected(pair.now, &flip(client_tuple(1000)));
    assert_eq!(pair.server.selected_tuple(), Some(flip(client_tuple(1000))));

    // A peer that has nothing but TCP.
    for comes_back in [true, false] {
        let mut pair = Pair::new(DtlsRole::Client, 0, 1);
        let (ice, dtls) = (pair.server.ice_parameters().clone(), pair.server.dtls_parameters());
        pair.client = ClientPeer::new(pair.now, seeded(3), &certificates().1, DtlsRole::Client, &ice, &dtls, tcp(1));
        pair.run(Duration::from_secs(1));
        pair.assert_connected();
        pair.server.handle_disconnected(pair.now, &flip(tcp(1)));
        assert_eq!((pair.server.selected_tuple(), pair.closed()), (None, None));
        if comes_back {
            pair.client.add_tuple(pair.now, tcp(2));
            pair.client.nominate(pair.now, tcp(2));
            pair.run(Duration::from_secs(40));
            assert_eq!((pair.server.selected_tuple(), pair.closed()), (Some(flip(tcp(2))), None));
        } else {
            pair.run_server_alone(Duration::from_secs(31));
            assert_eq!(pair.closed(), Some(&CloseReason::ConsentLost));
        }
    }
}

#[test]
fn ice_restart_keeps_the_old_pair_until_the_new_one_is_there() {
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    pair.run(Duration::from_secs(1));
    let old = pair.server.ice_parameters().clone();
    let unused = pair.server.restart_ice(pair.client.ice_parameters(), &mut seeded(3)).unwrap().clone();
    let new = pair.server.restart_ice(pair.client.ice_parameters(), &mut seeded(4)).unwrap().clone();
    assert!(worker_of_ufrag(&new.username_fragment) == Some(3) && new != old);
    pair.run(Duration::from_secs(40));
    assert_eq!(pair.closed(), None);
    assert!(pair.server_events.contains(&PeerEvent::UfragRetired(unused.username_fragment)));
    assert!(!pair.server_events.contains(&PeerEvent::UfragRetired(old.username_fragment.clone())));
    pair.client.set_remote_ice(pair.now, &new);
    pair.client.add_tuple(pair.now, client_tuple(2000));
    pair.client.nominate(pair.now, client_tuple(2000));
    pair.run(Duration::from_secs(1));
    assert!(pair.server_events.contains(&PeerEvent::UfragRetired(old.username_fragment)));
    assert_eq!(pair.server.selected_tuple(), Some(flip(client_tuple(2000))));
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.closed(), None);
}

/// Chromium checks from its new sockets before it has the answer to its restart: with its new name, and our old one.
#[test]
fn a_restart_moves_at_once_whichever_names_are_used() {
    for (answered_after, told) in [(0, true), (100, true), (0, false)] {
        let mut pair = Pair::new(DtlsRole::Client, 0, 1);
        pair.run(Duration::from_secs(1));
        pair.client.renew_ice();
        let new = pair.server.restart_ice(pair.client.ice_parameters(), &mut seeded(4)).unwrap().clone();
        pair.client.add_tuple(pair.now, client_tuple(2000));
        pair.client.nominate(pair.now, client_tuple(2000));
        pair.run(Duration::from_millis(answered_after));
        if told {
            pair.client.set_remote_ice(pair.now, &new);
        }
        pair.run(Duration::from_millis(100));
        assert_eq!(pair.server.selected_tuple(), Some(flip(client_tuple(2000))), "{answered_after} {told}");
    }
}

#[test]
fn strangers_change_nothing() {
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    let now = pair.now;
    let stranger = flip(client_tuple(666));
    let mut other = Pair::new(DtlsRole::Client, 0, 2);
    other.run(Duration::from_secs(1));
    // Checks for somebody else, a whole handshake, media, garbage: from a tuple that ICE does not know.
    for datagram in other.to_server.iter().chain(&[Bytes::from_static(&[0x80, 96, 1, 2, 3]), Bytes::new(), Bytes::from_static(&[22])]) {
        assert_eq!(pair.server.handle_datagram(now, stranger, datagram), Received::Ignored);
    }
    for length in 0..300 {
        for first in [0, 1, 20, 22, 64, 128, 200] {
            let mut garbage = vec![first; length];
            garbage.iter_mut().skip(1).for_each(|byte| *byte = pair.random() as u8);
            assert_eq!(pair.server.handle_datagram(now, stranger, &garbage), Received::Ignored);
        }
    }
    assert!(pair.server.poll_transmit().is_none() && pair.server.poll_event().is_none());
    pair.run(Duration::from_secs(1));
    pair.assert_connected();
}

#[test]
fn checks_are_answered_in_kind() {
    let now = start();
    let mut ice = IceLite::new(0xabc, &mut seeded(1));
    let parameters = ice.parameters().clone();
    let key = stun::key(&parameters.password);
    let tuple = flip(client_tuple(1));
    let name = format!("{}:them", parameters.username_fragment);
    let request = || stun::Writer::new(stun::BINDING_REQUEST, &[5; 12]).username(&name);
    let mut ask = |request: &[u8]| {
        let taken = ice.handle(now, tuple, request);
        let answer = ice.poll_transmit();
        assert!(answer.as_ref().is_none_or(|(to, answer)| *to == tuple && answer.len() <= 2 * request.len()));
        (taken, answer.map(|(_, answer)| answer))
    };
    let code = |(taken, answer): (bool, Option<Bytes>)| {
        assert!(taken);
        stun::Message::parse(&answer.unwrap()).unwrap().error_code
    };
    assert_eq!(code(ask(&request().controlled(1).finish(&key))), Some(487));
    assert_eq!(code(ask(&request().raw(0x7777, b"?").finish(&key))), Some(420));
    for ignored in [
        request().finish(&stun::key("wrong")),
        stun::Writer::new(stun::BINDING_REQUEST, &[5; 12]).finish(&key),
        stun::Writer::new(stun::BINDING_REQUEST, &[5; 12]).username("someone:them").finish(&key),
        stun::Writer::new(stun::BINDING_SUCCESS, &[5; 12]).username(&name).finish(&key),
        stun::Writer::new(0x0003, &[5; 12]).username(&name).finish(&key),
    ] {
        assert_eq!(ask(&ignored), (false, None));
    }
    let good = request().priority(1).controlling(9).finish(&key);
    assert_eq!(peek_ufrag(&good), Some(&*parameters.username_fragment));
    let (_, answer) = ask(&good);
    let answer = answer.unwrap();
    let answer = stun::Message::parse(&answer).unwrap();
    assert_eq!((answer.kind, answer.mapped), (stun::BINDING_SUCCESS, Some(tuple.remote)));
    assert!(answer.is_authentic(&key));
    assert_eq!(ice.poll_event(), Some(IceEvent::TupleAdded(tuple)));
    assert_eq!(ice.rejected(), 5);
}

#[test]
fn valid_tuples_are_bounded_and_the_selected_one_stays() {
    let now = start();
    let mut ice = IceLite::new(0, &mut seeded(1));
    let key = stun::key(&ice.parameters().password);
    let name = format!("{}:them", ice.parameters().username_fragment);
    let request = stun::Writer::new(stun::BINDING_REQUEST, &[5; 12]).username(&name).finish(&key);
    for port in 1..1000 {
        assert!(ice.handle(now + Duration::from_millis(port.into()), flip(client_tuple(port)), &request));
        let _ = (ice.poll_transmit(), std::iter::from_fn(|| ice.poll_event()).count());
    }
    assert_eq!((1..1000).filter(|port| ice.is_valid(&flip(client_tuple(*port)))).count(), 8);
    assert!(ice.is_valid(&flip(client_tuple(1))) && ice.is_valid(&flip(client_tuple(999))));
}

#[test]
fn ufrags_name_their_worker() {
    for worker in [0, 1, 7, 255, 65535] {
        assert_eq!(worker_of_ufrag(&IceLite::new(worker, &mut seeded(1)).parameters().username_fragment), Some(worker));
    }
    for bad in ["", "0000", "000gabcdefgh", "00FFabcdefgh", "0000abcdefg", "0000abcdefghi", "0000abcd:fgh", "000éabcdefg"] {
        assert_eq!(worker_of_ufrag(bad), None, "{bad}");
    }
}

#[test]
fn a_fragment_flood_costs_nothing_and_hurts_nobody() {
    let mut pair = Pair::new(DtlsRole::Client, 0, 1);
    // Until ICE is there.
    while !pair.server_events.contains(&PeerEvent::IceConnected) {
        assert!(pair.step(pair.now + Duration::from_secs(1)));
    }
    let tuple = flip(client_tuple(1000));
    for i in 0..200_000_u32 {
        // One byte each of a ClientHello-like message with a million bytes: rtc-dtls would recurse over all of them.
        let mut fragment = vec![22, 0xFE, 0xFD, 0, 0, 0, 0];
        fragment.extend_from_slice(&i.to_be_bytes());
        fragment.extend_from_slice(&[0, 13, 1, 0x0F, 0x42, 0x40, 0, (i % 3) as u8]);
        fragment.extend_from_slice(&(i + 1).to_be_bytes()[1..]);
        fragment.extend_from_slice(&[0, 0, 1, 0xAA]);
        pair.server.handle_datagram(pair.now, tuple, &fragment);
    }
    assert_eq!(pair.closed(), None);
    assert!(pair.server.take_dropped_records() > 190_000);
    let mut other = Pair::new(DtlsRole::Client, 0, 2);
    other.run(Duration::from_secs(1));
    other.assert_connected();
}

#[test]
fn broken_handshakes_fail_alone() {
    // Each datagram of a handshake in turn with flipped bits: it fails or succeeds, but nothing panics and nothing hangs.
    for seed in 0..60 {
        for role in [DtlsRole::Client, DtlsRole::Server] {
            let mut pair = Pair::new(role, 0, seed);
            let end = pair.now + Duration::from_secs(40);
            while pair.now < end && pair.step(end) {
                let victim = pair.random();
                let bit = pair.random() as usize;
                if victim.is_multiple_of(4)
                    && let Some((_, (true, _, datagram))) = pair.wire.iter_mut().next()
                    && datagram[0] >= 20
                {
                    let mut bytes = datagram.to_vec();
                    let at = bit % (bytes.len() * 8);
                    bytes[at / 8] ^= 1 << (at % 8);
                    *datagram = bytes.into();
                }
                if Pair::keys(&pair.server_events).is_some() || pair.closed().is_some() {
                    break;
                }
            }
            assert!(Pair::keys(&pair.server_events).is_some() || pair.closed().is_some(), "seed {seed}");
        }
    }
}

/// Not a check but a measurement: `cargo test --release --lib -- --ignored --nocapture cost_of_a_peer`.
#[test]
#[ignore = "prints numbers"]
#[allow(clippy::disallowed_methods)] // Measuring is about real time.
fn cost_of_a_peer() {
    const PEERS: usize = 500;
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let mut warm = Pair::new(DtlsRole::Client, 0, 1);
    warm.run(Duration::from_secs(1));
    let mut kept = vec![];
    for linger in [true, false] {
        let (mut busy, before) = (Duration::ZERO, resident());
        for _ in 0..PEERS {
            let mut pair = Pair::new(DtlsRole::Client, 0, 1);
            // The client's work must not count, so each side is run by hand.
            pair.client.handle_timeout(pair.now);
            loop {
                let mut quiet = true;
                while let Some((tuple, datagram)) = pair.client.poll_transmit() {
                    let begin = Instant::now();
                    pair.server.handle_datagram(pair.now, flip(tuple), &datagram);
                    busy += begin.elapsed();
                    quiet = false;
                }
                while let Some((tuple, datagram)) = pair.server.poll_transmit() {
                    pair.client.handle_datagram(pair.now, flip(tuple), &datagram);
                    quiet = false;
                }
                if quiet {
                    break;
                }
            }
            assert!(std::iter::from_fn(|| pair.server.poll_event()).any(|event| matches!(event, PeerEvent::Connected(_))));
            if !linger {
                pair.server.handle_timeout(pair.now + Duration::from_secs(11));
            }
            kept.push(pair.server);
        }
        let each = (resident() - before) / PEERS;
        println!("lingering {linger}: {each} bytes resident per peer, server side of a handshake {:?}", busy / PEERS as u32);
    }
}

#[test]
fn the_same_seed_gives_the_same_credentials() {
    let credentials = |seed| {
        let mut chance = seeded(seed);
        let mut peer = Peer::new(start(), &certificates().0, 1, &mut chance);
        let first = peer.ice_parameters().clone();
        [first.clone(), peer.restart_ice(&first, &mut chance).unwrap().clone()]
    };
    assert_eq!(credentials(1), credentials(1));
    assert_ne!(credentials(1), credentials(2));
    let [first, restarted] = credentials(1);
    assert_ne!(first, restarted);
}
