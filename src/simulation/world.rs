//! The server and everything around it: publishers' connections, viewers, and what happens to them.
//!
//! In: a script. Out: what is broken.

use std::collections::BTreeMap;

use super::connection::Connection;
use super::faults::{Plant, Script, Trouble};
use super::publisher::{Numbers, Publisher};
use super::random::Random;
use super::server::Server;
use super::viewer::Viewer;
use super::{MS, SECOND};
use crate::sfu::types::Reading;
use crate::stream::Track;

/// The turn of the world.
const TICK: i64 = 10 * MS;

pub(super) struct World {
    server: Server,
    script: Script,
    connections: Vec<Connection>,
    viewers: Vec<Viewer>,
    viewers_left: u64,
    numbers: Numbers,
}

impl World {
    pub(super) fn new(seed: u64, plant: Option<Plant>, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let mut script = Script { plant, ..Script::new(&mut random) };
        script.records |= plant.is_some();
        let mut connections: Vec<Connection> = Vec::new();
        let usual = script.publishers.iter().map(|(begins_at, plan)| (0, *begins_at, plan, 25));
        let other = script.other.iter().map(|(begins_at, plan)| (1, *begins_at, plan, 50));
        for (index, (path, begins_at, plan, shares)) in usual.chain(other).enumerate() {
            if verbose {
                eprintln!("{begins_at:>12} publisher {index} of path {path}: {plan:?}");
            }
            let publisher = Publisher::new(plan.clone(), begins_at, random.fork());
            let of_its_own = Connection::new(random.fork(), plant);
            if connections.is_empty() || !random.chance(shares) {
                connections.push(of_its_own);
            }
            let last = connections.len() - 1;
            connections[last].add(index, path, begins_at, publisher);
        }
        if verbose {
            eprintln!("{script:?}");
        }
        let server = Server::new(seed, &script, random, verbose);
        Self { server, viewers_left: script.viewers, script, connections, viewers: Vec::new(), numbers: Numbers::default() }
    }

    /// What is broken, and what was counted.
    pub(super) fn result(self) -> (Vec<String>, BTreeMap<String, u64>) {
        (self.server.broken, self.server.counts)
    }

    /// Lives until the script is over.
    pub(super) fn run(&mut self) {
        let end = self.script.lasts;
        while self.server.now < end && self.server.broken.is_empty() {
            self.step();
        }
        for connection in &mut self.connections {
            connection.end(&mut self.server, "the simulation is over");
        }
        for path in 0..self.server.lives.len() {
            if let Some(life) = &mut self.server.lives[path] {
                let actions = life.core.end();
                self.server.carry_out(path, actions);
            }
        }
        self.step();
        if self.server.broken.is_empty() && (self.server.readers.len() > 0 && self.viewers.is_empty()) {
            self.server.fail(format!("{} readers are left", self.server.readers.len()));
        }
    }

    fn step(&mut self) {
        self.server.now += TICK;
        self.troubles();
        self.server.look_at_the_clock();
        for connection in &mut self.connections {
            connection.turn(&mut self.server, &mut self.numbers);
        }
        // Whose connection is gone before they have begun take another one.
        let waiting: Vec<_> = self.connections.iter_mut().flat_map(Connection::take_waiting).collect();
        for (index, path, begins_at, publisher) in waiting {
            let mut connection = Connection::new(self.server.random.fork(), self.script.plant);
            connection.add(index, path, begins_at, publisher);
            self.connections.push(connection);
        }
        self.server.turn();
        if self.script.crash_at.take_if(|at| *at <= self.server.now).is_some() {
            self.server.crash();
        }
        self.view();
        let strict = self.script.clean && self.connections.iter().all(Connection::is_honest);
        for path in 0..self.server.lives.len() {
            self.server.check(path, strict);
        }
    }

    fn troubles(&mut self) {
        while let Some((_, trouble)) = self.script.troubles.first().copied().filter(|(at, _)| *at <= self.server.now) {
            self.script.troubles.remove(0);
            self.server.say(|| format!("{trouble:?}"));
            for path in 0..self.server.lives.len() {
                match trouble {
                    Trouble::WallStep(_) => {}
                    Trouble::Evict => {
                        if let Some(life) = &mut self.server.lives[path] {
                            life.core.evict("ended by the operator");
                        }
                    }
                    Trouble::KillChild | Trouble::Late(_) => self.server.hurt_segmenter(path, trouble),
                }
            }
            // No trouble for anybody: the clock's rule sees to it.
            if let Trouble::WallStep(by) = trouble {
                self.server.wall_step += by;
            }
        }
    }

    fn view(&mut self) {
        let (now, at) = (self.server.now, self.server.at());
        let mut broken = Vec::new();
        let mut gone = Vec::new();
        self.viewers.retain_mut(|viewer| {
            let stays = viewer.read(now, &mut broken) && now < viewer.leaves_at;
            if !stays {
                gone.push(viewer.id);
            }
            stays
        });
        let server = &mut self.server;
        gone.into_iter().for_each(|id| server.readers.close(&mut server.worker, id));
        broken.into_iter().for_each(|what| server.fail(what));
        for path in 0..server.lives.len() {
            let Some(life) = &server.lives[path] else { continue };
            if self.viewers_left == 0 || !server.random.chance(1) {
                continue;
            }
            let tracks: Vec<Track> = life.core.tracks().cloned().collect();
            if tracks.is_empty() {
                continue;
            }
            self.viewers_left -= 1;
            let track = &tracks[server.random.next() as usize % tracks.len()];
            let leaves_at = now + server.random.range(SECOND, 20 * SECOND);
            let opened = server.readers.open(at, &mut server.worker, (server.router, track.producer), Reading::Live);
            if let Some((id, reader)) = opened {
                let mut viewer = Viewer::new(id, reader, track.kind, leaves_at);
                if !self.script.clean && server.random.chance(20) {
                    viewer.asleep_until = now + server.random.range(SECOND, 10 * SECOND);
                }
                self.viewers.push(viewer);
            }
        }
    }
}
