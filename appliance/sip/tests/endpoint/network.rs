//! Two endpoints, each with a wilful call room, joined by a network that loses, doubles, delays, reorders and damages
//! datagrams. Whatever happens, every leg is forgotten and nothing is left. One seed fixes everything.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_leg::{
    Confirm, Info, LegEvent, LegId, ListenerId, Reason, Time, Update, UpdateFailed, UpdateMethod, Updated,
};
use tandem_sip::{Counts, Endpoint, Output};

use crate::support::*;

/// Both call rooms stop starting things here and end what stands.
const CURFEW: Time = Time::from_secs(90);
const CALLS: u64 = 12;

#[derive(Clone, Copy)]
struct Weather {
    loss: f64,
    double: f64,
    damage: f64,
    delay_max_ms: u64,
}

#[derive(Default)]
struct Known {
    answered: bool,
    ended: bool,
    forgotten: bool,
}

struct Side {
    e: Endpoint,
    address: SocketAddr,
    legs: BTreeMap<LegId, Known>,
}

#[derive(Default, Debug)]
struct Tally {
    connected: u32,
    confirmed: u32,
    updated: u32,
    update_failed: u32,
    ended: u32,
    failed: u32,
}

/// Arrival, serial number (so that the order is fixed), side, bytes.
type Flight = (Time, u64, usize, Vec<u8>);

struct World {
    rng: StdRng,
    now: Time,
    sides: [Side; 2],
    flying: BinaryHeap<Reverse<Flight>>,
    serial: u64,
    weather: Weather,
    tally: Tally,
    trail: Vec<String>,
}

impl World {
    fn new(seed: u64, weather: Weather) -> World {
        let side = |n: u8| {
            let mut config = config();
            config.seed = [n + seed as u8; 32];
            let address: SocketAddr = format!("203.0.113.{}:5060", n + 1).parse().unwrap();
            config.listeners = vec![tandem_sip::Listener { local: address, advertised: address }];
            config.known = vec!["203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap()];
            Side { e: Endpoint::new(config), address, legs: BTreeMap::new() }
        };
        World {
            rng: StdRng::seed_from_u64(seed),
            now: Time::ZERO,
            sides: [side(0), side(1)],
            flying: BinaryHeap::new(),
            serial: 0,
            weather,
            tally: Tally::default(),
            trail: Vec::new(),
        }
    }

    fn chance(&mut self, p: f64) -> bool {
        self.rng.random_bool(p)
    }

    fn launch(&mut self, to: SocketAddr, bytes: &[u8]) {
        // Somebody else's address: a damaged Via or Contact.
        let Some(side) = self.sides.iter().position(|side| side.address == to) else { return };
        let copies = if self.chance(self.weather.loss) { 0 } else { 1 + usize::from(self.chance(self.weather.double)) };
        for _ in 0..copies {
            let mut bytes = bytes.to_vec();
            if self.chance(self.weather.damage) && !bytes.is_empty() {
                let at = self.rng.random_range(0..bytes.len());
                bytes[at] = self.rng.random();
            }
            let delay = self.rng.random_range(1..=self.weather.delay_max_ms);
            self.serial += 1;
            self.flying.push(Reverse((self.now.plus_millis(delay), self.serial, side, bytes)));
        }
    }

    fn order(&mut self, side: usize, leg: LegId, event: LegEvent) {
        if matches!(event, LegEvent::Disconnect(_) | LegEvent::Fail(_))
            && let Some(known) = self.sides[side].legs.get_mut(&leg)
        {
            known.ended = true;
        }
        self.trail.push(format!("{} order {side} {leg:?} {event:?}", self.now.millis()));
        // A refused order is fine: the call room may be late.
        if let Err(error) = self.sides[side].e.handle_leg_event(self.now, leg, event) {
            self.trail.push(format!("    {error}"));
        }
    }

    fn drain(&mut self) {
        loop {
            let mut idle = true;
            for side in 0..2 {
                while let Some(output) = self.sides[side].e.poll_output() {
                    idle = false;
                    self.carry_out(side, output);
                }
            }
            if idle {
                return;
            }
        }
    }

    fn carry_out(&mut self, side: usize, output: Output) {
        match output {
            Output::Send { to, bytes, .. } => {
                let line: String =
                    String::from_utf8_lossy(&bytes).lines().next().unwrap_or("").chars().take(60).collect();
                self.trail.push(format!("{} {side} sends {line}", self.now.millis()));
                self.launch(to, &bytes);
                self.sides[side].e.recycle(bytes);
            }
            Output::Event { leg, event } => {
                self.trail.push(format!("{} {side} {leg:?} {event:?}", self.now.millis()));
                let known = self.sides[side].legs.entry(leg).or_default();
                assert!(!known.ended && !known.forgotten, "news after the end: {event:?}");
                self.react(side, leg, event);
            }
            Output::Forgotten { leg } => {
                self.trail.push(format!("{} {side} {leg:?} forgotten", self.now.millis()));
                let known = self.sides[side].legs.get_mut(&leg).expect("a leg we heard of");
                assert!(!known.forgotten, "forgotten twice");
                assert!(known.ended, "forgotten without an end");
                known.forgotten = true;
            }
        }
    }

    /// A call room that does anything that is allowed.
    fn react(&mut self, side: usize, leg: LegId, event: LegEvent) {
        let late = self.now >= CURFEW;
        match event {
            LegEvent::Try(_) if late => self.order(side, leg, hang_up()),
            LegEvent::Try(_) => {
                if self.chance(0.7) {
                    self.order(side, leg, ring(180));
                }
                match self.rng.random_range(0..10) {
                    0 => self.order(side, leg, fail(486)),
                    1 => self.order(side, leg, LegEvent::Disconnect(tandem_leg::Disconnect::order(Reason::q850(21)))),
                    2 | 3 => {}
                    _ => {
                        self.order(side, leg, connect(SDP_B));
                        self.sides[side].legs.entry(leg).or_default().answered = true;
                    }
                }
            }
            LegEvent::Connect(_) => {
                self.tally.connected += 1;
                self.sides[side].legs.entry(leg).or_default().answered = true;
                if self.chance(0.9) {
                    self.order(side, leg, LegEvent::Confirm(Confirm { sdp: some(SDP_A) }));
                }
            }
            LegEvent::Confirm(_) => self.tally.confirmed += 1,
            LegEvent::Update(_) => match self.rng.random_range(0..4) {
                0 => self.order(side, leg, LegEvent::UpdateFailed(UpdateFailed { status: 488, retry_after_s: None })),
                1 => {}
                _ => self.order(side, leg, LegEvent::Updated(Updated { sdp: some(SDP_A) })),
            },
            LegEvent::Updated(_) => {
                self.tally.updated += 1;
                self.order(side, leg, LegEvent::Confirm(Confirm { sdp: some(SDP_B) }));
            }
            LegEvent::UpdateFailed(_) => self.tally.update_failed += 1,
            LegEvent::Redirect(_) | LegEvent::Fail(_) | LegEvent::Disconnect(_) => {
                if matches!(event, LegEvent::Disconnect(_)) {
                    self.tally.ended += 1;
                } else {
                    self.tally.failed += 1;
                }
                self.sides[side].legs.entry(leg).or_default().ended = true;
            }
            LegEvent::Sent { .. } | LegEvent::Proceeding | LegEvent::Ring(_) | LegEvent::Info(_) => {}
        }
    }

    /// Something happens by itself on a random living leg.
    fn whim(&mut self) {
        let side = self.rng.random_range(0..2);
        let living: Vec<(LegId, bool)> =
            self.sides[side].legs.iter().filter(|(_, k)| !k.ended).map(|(leg, k)| (*leg, k.answered)).collect();
        if living.is_empty() {
            return;
        }
        let (leg, answered) = living[self.rng.random_range(0..living.len())];
        let offer = if self.chance(0.7) { some(SDP_A) } else { None };
        match self.rng.random_range(0..8) {
            0 => self.order(side, leg, hang_up()),
            1 if !answered && leg.is_incoming() => {
                self.order(side, leg, connect(SDP_B));
                self.sides[side].legs.entry(leg).or_default().answered = true;
            }
            2 | 3 => {
                let method = UpdateMethod::Invite;
                self.order(side, leg, LegEvent::Update(Update { method, sdp: offer }));
            }
            4 => {
                let method = UpdateMethod::Update;
                self.order(side, leg, LegEvent::Update(Update { method, sdp: offer }));
            }
            5 => {
                let info = Info { content_type: "application/dtmf".into(), body: b"5".to_vec() };
                self.order(side, leg, LegEvent::Info(info));
            }
            6 => self.order(side, leg, LegEvent::Updated(Updated { sdp: some(SDP_A) })),
            _ => {
                let failed = UpdateFailed { status: 500, retry_after_s: Some(1) };
                self.order(side, leg, LegEvent::UpdateFailed(failed));
            }
        }
    }

    fn run(&mut self) {
        let mut next_whim = Time::from_millis(300);
        let mut calls = 0;
        let mut curfew = false;
        // Long enough for the last BYE, its absence, and everything that fades after it.
        let end = CURFEW.plus_secs(400);
        loop {
            let mut next = self.flying.peek().map(|Reverse(flight)| flight.0);
            for side in &self.sides {
                next = [next, side.e.poll_timeout()].into_iter().flatten().min();
            }
            if !curfew {
                next = Some(next.map_or(next_whim, |at| at.min(next_whim)));
            }
            let Some(at) = next else { return };
            assert!(at <= end, "it never ends");
            self.now = self.now.max(at);
            while self.flying.peek().is_some_and(|Reverse(flight)| flight.0 <= self.now) {
                let Some(Reverse((_, _, side, bytes))) = self.flying.pop() else { break };
                let source = self.sides[1 - side].address;
                self.sides[side].e.handle_datagram(self.now, ListenerId(0), source, &bytes);
                self.drain();
            }
            for side in 0..2 {
                self.sides[side].e.handle_timeout(self.now);
                self.drain();
            }
            if !curfew && self.now >= next_whim {
                next_whim = self.now.plus_millis(self.rng.random_range(50..1_500));
                if calls < CALLS && self.chance(0.5) {
                    calls += 1;
                    let side = self.rng.random_range(0..2);
                    let leg = LegId::outgoing(calls);
                    let mut order = b_try(if self.rng.random_bool(0.8) { SDP_A } else { "" });
                    order.remote = self.sides[1 - side].address;
                    self.order(side, leg, LegEvent::Try(Box::new(order)));
                } else {
                    self.whim();
                }
                self.drain();
            }
            if !curfew && self.now >= CURFEW {
                curfew = true;
                for side in 0..2 {
                    let living: Vec<LegId> =
                        self.sides[side].legs.iter().filter(|(_, k)| !k.ended).map(|(leg, _)| *leg).collect();
                    for leg in living {
                        self.order(side, leg, hang_up());
                    }
                }
                self.drain();
            }
        }
    }
}

fn play(seed: u64, weather: Weather) -> Tally {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed, weather);
        world.run();
        for side in &world.sides {
            let left: Vec<_> = side.legs.iter().filter(|(_, k)| !k.forgotten).map(|(leg, _)| *leg).collect();
            if !left.is_empty() || side.e.counts() != Counts::default() || side.e.poll_timeout().is_some() {
                let trail = world.trail.join("\n");
                panic!("left: {left:?} {:?}\n{trail}", side.e.counts());
            }
        }
        world.tally
    });
    outcome.unwrap_or_else(|_| panic!("seed {seed}"))
}

fn seasons(weather: Weather, seeds: std::ops::Range<u64>) -> Tally {
    let mut sum = Tally::default();
    for seed in seeds {
        let one = play(seed, weather);
        sum.connected += one.connected;
        sum.confirmed += one.confirmed;
        sum.updated += one.updated;
        sum.update_failed += one.update_failed;
        sum.ended += one.ended;
        sum.failed += one.failed;
    }
    sum
}

#[test]
fn fine_weather() {
    let sum = seasons(Weather { loss: 0.0, double: 0.0, damage: 0.0, delay_max_ms: 1 }, 0..20);
    assert!(sum.connected > 50 && sum.updated > 50 && sum.ended > 50 && sum.failed > 20, "{sum:?}");
    assert!(sum.confirmed >= sum.connected / 2, "{sum:?}");
}

#[test]
fn loss_doubles_and_disorder() {
    let sum = seasons(Weather { loss: 0.2, double: 0.2, damage: 0.0, delay_max_ms: 800 }, 100..160);
    assert!(sum.connected > 150 && sum.updated > 50 && sum.update_failed > 20, "{sum:?}");
}

#[test]
fn almost_nothing_arrives() {
    let sum = seasons(Weather { loss: 0.7, double: 0.0, damage: 0.0, delay_max_ms: 3_000 }, 200..240);
    assert!(sum.connected > 50 && sum.ended > 20, "{sum:?}");
}

#[test]
fn damaged_datagrams() {
    let sum = seasons(Weather { loss: 0.05, double: 0.1, damage: 0.3, delay_max_ms: 200 }, 300..360);
    assert!(sum.connected > 100, "{sum:?}");
}
