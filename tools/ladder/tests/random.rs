//! Seeded chaos: far parties that answer, refuse, redirect, hang up, change sessions and fall silent at random, over a
//! network that loses, repeats and reorders. Whatever they do, the switch must not panic, every call must end with one CDR,
//! nothing may be left, and money must be conserved.
//!
//! `LADDER_SEED=n` replays one seed; `LADDER_SEEDS=n` plays so many.

use std::collections::{BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_call::trace::TraceEvent;
use tandem_ladder::far::{Datagram, Far, Say};
use tandem_ladder::heard::Kind;
use tandem_ladder::{Site, Switch};
use tandem_leg::Time;
use tandem_rating::record::Record;

/// Seeds of an ordinary run: about a second each hundred in a debug build.
const SEEDS: u64 = 150;
/// Virtual time in which calls begin, seconds.
const BEGIN_S: u64 = 120;
/// Virtual time by which everything must be over: the longest call, and two rounds of 32 s for what is never answered.
const END_S: u64 = 900;

struct Event {
    at: Time,
    order: u64,
    what: What,
}

enum What {
    /// A datagram reaches the switch.
    ToSwitch(Datagram),
    /// A datagram of the switch reaches a party.
    ToFar(usize, Vec<u8>),
    /// A customer calls.
    Call(usize),
    /// A party says something in a dialog.
    Say {
        party: usize,
        dialog: usize,
        word: Word,
    },
    Pay,
    /// An operator ends every call.
    Kill,
    /// The network says that a party is not there.
    Unreachable(usize),
    /// Somebody sets the wall clock.
    WallClock(i64),
}

#[derive(Clone, Copy)]
enum Word {
    Status(u16),
    Answer,
    Ack,
    Bye,
    Cancel,
    Change,
    Refresh,
    Info,
    Media,
    Repeat(&'static str, u8),
    Fork,
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.order == other.order
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Event) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

struct World {
    rng: StdRng,
    switch: Switch,
    parties: Vec<Far>,
    customers: usize,
    events: BinaryHeap<Event>,
    order: u64,
    loss: f64,
    repeat: f64,
    delay_ms: u64,
    log: Vec<String>,
    problems: Vec<String>,
    heard_seq: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut site = Site::default();
        let mut line = |text: String| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            site.line(&words).expect("a valid site line");
        };
        let blocks = ["60/60", "1/1", "6/6", "30/6"];
        for name in ["a1", "a2"] {
            let balance = ["0", "0.05", "1", "3", "100"][rng.random_range(0..5)];
            let limit = ["0", "0.50"][rng.random_range(0..2)];
            let rate = ["0", "0.06", "0.60", "3"][rng.random_range(0..4)];
            let block = blocks[rng.random_range(0..4)];
            line(format!(
                "customer {name} account=customer balance={balance} limit={limit} rate={rate} blocks={block}"
            ));
        }
        for n in 1..=3 {
            let capacity = rng.random_range(1..10);
            let rate = ["0", "0.03", "0.55"][rng.random_range(0..3)];
            let priority = rng.random_range(1..3);
            line(format!("vendor b{n} capacity={capacity} rate={rate} priority={priority} switch.ring=on"));
        }
        line(format!("param SS_MAXCALLDURATION={}", rng.random_range(60..200)));
        line(format!("param SERVER_BILLING_HOLD_TIME_PRECISION={}", rng.random_range(0..1000)));
        line(format!("param SERVER_BILLING_FREE_TIME={}", rng.random_range(0..8)));
        line(format!("param SS_MEDIAPROXYMODE={}", ["On", "Off", "Auto"][rng.random_range(0..3)]));
        line(format!("rater_delay={}ms", [0, 0, 5, 300][rng.random_range(0..4)]));
        line(format!("ports=10000-{}", 10_000 + [7, 63, 255][rng.random_range(0..3)]));
        site.seed = rng.random();
        let switch = Switch::new(&site).expect("a valid site");
        let mut parties: Vec<Far> = site.customers.iter().map(|c| Far::new(&c.gateway.name, c.address)).collect();
        let customers = parties.len();
        parties.extend(site.vendors.iter().map(|v| Far::new(&v.gateway.name, v.address)));
        for party in &mut parties {
            party.reordering = true;
        }
        let bad = rng.random_bool(0.7);
        World {
            loss: if bad { rng.random_range(0.0..0.25) } else { 0.0 },
            repeat: if bad { rng.random_range(0.0..0.15) } else { 0.0 },
            delay_ms: if bad { rng.random_range(1..400) } else { 1 },
            rng,
            switch,
            parties,
            customers,
            events: BinaryHeap::new(),
            order: 0,
            log: Vec::new(),
            problems: Vec::new(),
            heard_seq: 0,
        }
    }

    fn now(&self) -> Time {
        self.switch.now().mono
    }

    fn later(&mut self, after_ms: u64, what: What) {
        self.order += 1;
        let at = self.now().plus_millis(after_ms);
        self.events.push(Event { at, order: self.order, what });
    }

    fn soon(&mut self, party: usize, dialog: usize, word: Word, up_to_ms: u64) {
        let after = self.rng.random_range(0..=up_to_ms);
        self.later(after, What::Say { party, dialog, word });
    }

    /// Sends over the bad network.
    fn send(&mut self, datagram: Datagram) {
        self.log.push(format!("{:>9} {} > {}", self.now().millis(), datagram.from, datagram.name));
        for _ in 0..self.copies() {
            let delay = self.rng.random_range(0..=self.delay_ms);
            self.later(delay, What::ToSwitch(datagram.clone()));
        }
    }

    fn copies(&mut self) -> u32 {
        if self.rng.random_bool(self.loss) { 0 } else { 1 + u32::from(self.rng.random_bool(self.repeat)) }
    }

    fn collect(&mut self) {
        while let Some(sent) = self.switch.poll_sent() {
            if sent.media {
                continue;
            }
            let Some(party) = self.parties.iter().position(|p| p.address == sent.to) else {
                self.problems.push(format!("something was sent to {}", sent.to));
                continue;
            };
            for _ in 0..self.copies() {
                let delay = self.rng.random_range(0..=self.delay_ms);
                self.later(delay, What::ToFar(party, sent.bytes.clone()));
            }
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.rng.random_range(1..25) {
            let at = self.rng.random_range(0..BEGIN_S * 1_000);
            let who = self.rng.random_range(0..self.customers);
            self.later(at, What::Call(who));
        }
        for _ in 0..self.rng.random_range(0..3) {
            let at = self.rng.random_range(0..BEGIN_S * 1_000);
            self.later(at, What::Pay);
        }
        for chance in [0.2, 0.3, 0.3] {
            if self.rng.random_bool(chance) {
                let at = self.rng.random_range(0..BEGIN_S * 1_000);
                let what = match self.rng.random_range(0..3) {
                    0 => What::Kill,
                    1 => What::Unreachable(self.rng.random_range(0..self.parties.len())),
                    _ => What::WallClock(self.rng.random_range(-86_400_000..86_400_000)),
                };
                self.later(at, what);
            }
        }
        let end = Time::from_secs(END_S);
        let mut turns = 0u64;
        loop {
            let next = self.events.peek().map(|e| e.at);
            let until = next.unwrap_or(end).min(end);
            let more = self.switch.step(until);
            self.collect();
            if !more {
                match self.events.pop() {
                    Some(event) if event.at <= end => self.event(event.what),
                    _ => break,
                }
                self.collect();
            }
            turns += 1;
            if turns.is_multiple_of(64) {
                self.problems.extend(self.switch.problems());
            }
            if !self.problems.is_empty() {
                return Err(self.problems.join("\n"));
            }
        }
        self.over()
    }

    fn over(&mut self) -> Result<(), String> {
        let left = self.switch.leftovers();
        if !left.is_empty() {
            return Err(format!("left: {}", left.join(", ")));
        }
        let problems = self.switch.problems();
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        let begun: BTreeSet<u64> = self
            .switch
            .trace()
            .iter()
            .filter(|line| matches!(line.event, TraceEvent::Received { .. }))
            .map(|line| line.flow_no)
            .collect();
        let told: Vec<u64> = self.switch.cdrs().map(|cdr| cdr.flow_no).collect();
        let unique: BTreeSet<u64> = told.iter().copied().collect();
        if told.len() != unique.len() || unique != begun {
            return Err(format!("{} calls began, {} CDRs tell of {}", begun.len(), told.len(), unique.len()));
        }
        let records = self.switch.records();
        let settled = records.iter().filter(|r| matches!(r, Record::Settled { .. })).count();
        if settled != begun.len() {
            return Err(format!("{} calls began, {settled} were settled", begun.len()));
        }
        for cdr in self.switch.cdrs() {
            // A call never costs more than the longest one allowed, and never lasts longer.
            if cdr.hold_ms > 200_000 || cdr.hold_ms < 0 {
                return Err(format!("call {} was held {} ms", cdr.flow_no, cdr.hold_ms));
            }
        }
        Ok(())
    }

    fn event(&mut self, what: What) {
        match what {
            What::ToSwitch(datagram) => {
                self.switch.signalling(datagram.from, datagram.text.as_bytes());
            }
            What::ToFar(party, bytes) => self.hear(party, &bytes),
            What::Call(party) => {
                let say = Say {
                    sdp: self.rng.random_bool(0.9).then(|| media_of(&self.parties[party], &mut self.rng)),
                    to: Some(format!("86139{:08}", self.rng.random_range(0..20))),
                    ..Say::default()
                };
                let (dialog, datagram) = self.parties[party].call("INVITE", &say);
                self.send(datagram);
                self.later(500, What::Say { party, dialog, word: Word::Repeat("INVITE", 0) });
                if self.rng.random_bool(0.25) {
                    self.soon(party, dialog, Word::Cancel, 20_000);
                }
                if self.rng.random_bool(0.1) {
                    self.soon(party, dialog, Word::Bye, 20_000);
                }
            }
            What::Say { party, dialog, word } => self.say(party, dialog, word),
            What::Kill => {
                self.switch.kill_all();
            }
            What::Unreachable(party) => self.switch.unreachable(self.parties[party].address),
            What::WallClock(by_ms) => self.switch.step_wall_clock(by_ms),
            What::Pay => {
                self.order += 1;
                let key = format!("pay:{}", self.order);
                let amount = "0.70".parse().expect("an amount");
                if let Err(error) = self.switch.pay("customer", amount, &key) {
                    self.problems.push(error.to_string());
                }
            }
        }
    }

    /// A party does what its dice say about what it heard.
    fn hear(&mut self, party: usize, bytes: &[u8]) {
        self.heard_seq += 1;
        let (seq, now) = (self.heard_seq, self.now());
        let secrets: Vec<String> = self
            .parties
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != party)
            .map(|(_, p)| p.address.ip().to_string())
            .collect();
        let dialog = match self.parties[party].hear(seq, now, bytes, &secrets) {
            Ok(dialog) => dialog,
            Err(problem) => {
                self.problems.push(format!("{problem}\n{}", String::from_utf8_lossy(bytes)));
                return;
            }
        };
        let heard = self.parties[party].dialogs[dialog].inbox.pop_front().expect("just heard");
        self.log.push(format!("{:>9} {} < {}", now.millis(), self.parties[party].address, heard.name()));
        let repeated = self.parties[party].dialogs[dialog].is_repeated(&heard);
        let dice: f64 = self.rng.random();
        match (&heard.kind, heard.method.as_str()) {
            (Kind::Request(_), "INVITE") if repeated => {}
            (Kind::Request(_), "INVITE") if !heard.to_tag.is_empty() => match dice {
                d if d < 0.6 => self.soon(party, dialog, Word::Answer, 3_000),
                d if d < 0.9 => {
                    let status = [488, 491, 500, 481, 408][self.rng.random_range(0..5)];
                    self.soon(party, dialog, Word::Status(status), 3_000);
                }
                _ => {}
            },
            (Kind::Request(_), "INVITE") => self.callee(party, dialog),
            (Kind::Request(_), "CANCEL") => {
                if dice < 0.9 {
                    self.soon(party, dialog, Word::Status(200), 100);
                    let word = if dice < 0.8 { Word::Status(487) } else { Word::Answer };
                    self.later(150, What::Say { party, dialog, word });
                }
            }
            (Kind::Request(_), "ACK") => {}
            (Kind::Request(_), _) => {
                if dice < 0.9 {
                    let status = if dice < 0.8 { 200 } else { 481 };
                    self.soon(party, dialog, Word::Status(status), 500);
                }
            }
            (Kind::Response(status), "INVITE") => {
                if *status >= 200 && self.rng.random_bool(0.93) {
                    self.soon(party, dialog, Word::Ack, 50);
                }
                if *status == 200 && !repeated {
                    self.connected(party, dialog);
                }
            }
            (Kind::Response(_), _) => {}
        }
    }

    /// What a vendor does with a new call.
    fn callee(&mut self, party: usize, dialog: usize) {
        let mut at = self.rng.random_range(0..2_000);
        for status in [100, 183, 180, 181] {
            if self.rng.random_bool(0.5) {
                self.later(at, What::Say { party, dialog, word: Word::Status(status) });
                at += self.rng.random_range(0..8_000);
            }
        }
        let word = match self.rng.random_range(0..100) {
            0..55 => Word::Answer,
            55..90 => {
                let refusals = [486, 503, 404, 480, 302, 500, 603, 600, 488, 401, 408, 699];
                Word::Status(refusals[self.rng.random_range(0..refusals.len())])
            }
            90..94 => Word::Bye,
            _ => return,
        };
        self.later(at, What::Say { party, dialog, word });
        if matches!(word, Word::Answer) {
            self.later(at, What::Say { party, dialog, word: Word::Repeat("200", 0) });
            self.connected(party, dialog);
            if self.rng.random_bool(0.1) {
                self.later(at + 200, What::Say { party, dialog, word: Word::Fork });
            }
        }
    }

    fn connected(&mut self, party: usize, dialog: usize) {
        for (word, chance, within_ms) in [
            (Word::Bye, 0.5, 150_000),
            (Word::Change, 0.3, 60_000),
            (Word::Change, 0.2, 500),
            (Word::Refresh, 0.2, 60_000),
            (Word::Info, 0.2, 60_000),
            (Word::Media, 0.5, 10_000),
            (Word::Media, 0.5, 60_000),
        ] {
            if self.rng.random_bool(chance) {
                self.soon(party, dialog, word, within_ms);
            }
        }
    }

    fn say(&mut self, party: usize, dialog: usize, word: Word) {
        let media = media_of(&self.parties[party], &mut self.rng);
        let far = &mut self.parties[party];
        let over = far.dialogs[dialog].over;
        let describe = |sdp: bool| Say { sdp: sdp.then_some(media), ..Say::default() };
        let datagram = match word {
            Word::Status(status) => {
                let mut say = describe(status == 183);
                if status == 503 {
                    say.headers.push(("Retry-After".to_owned(), "3".to_owned()));
                }
                far.respond(dialog, status, None, &say).ok()
            }
            Word::Answer => far.respond(dialog, 200, Some("INVITE"), &describe(true)).ok(),
            Word::Fork => far.respond(dialog, 200, Some("INVITE"), &Say { tag: "fork".into(), ..describe(true) }).ok(),
            Word::Ack => Some(far.request(dialog, "ACK", &describe(far.dialogs[dialog].last_sdp().is_none()))),
            Word::Cancel if far.dialogs[dialog].is_waiting("INVITE") => {
                Some(far.request(dialog, "CANCEL", &Say::default()))
            }
            Word::Bye if !over => Some(far.request(dialog, "BYE", &Say::default())),
            Word::Change if !over => {
                let direction = self.rng.random_bool(0.5).then(|| "sendonly".to_owned());
                Some(far.request(dialog, "INVITE", &Say { direction, ..describe(true) }))
            }
            Word::Refresh if !over => Some(far.request(dialog, "UPDATE", &describe(self.rng.random_bool(0.5)))),
            Word::Info if !over => {
                let body = Some(("application/dtmf-relay".to_owned(), "Signal=1".to_owned()));
                Some(far.request(dialog, "INFO", &Say { body, ..Say::default() }))
            }
            Word::Media => {
                for _ in 0..5 {
                    if let Ok((from, port, packet)) = far.rtp(dialog, 8) {
                        self.switch.media(port, from, &packet);
                    }
                }
                None
            }
            Word::Repeat(name, n) => {
                let wanted = match name {
                    "INVITE" => far.dialogs[dialog].is_waiting("INVITE"),
                    _ => !over,
                };
                let again = far.again(dialog, name).ok().filter(|_| wanted && n < 6);
                if again.is_some() {
                    self.later(500 << n, What::Say { party, dialog, word: Word::Repeat(name, n + 1) });
                }
                again
            }
            Word::Cancel | Word::Bye | Word::Change | Word::Refresh | Word::Info => None,
        };
        if let Some(datagram) = datagram {
            self.send(datagram);
        }
    }
}

fn media_of(party: &Far, rng: &mut StdRng) -> SocketAddr {
    SocketAddr::new(party.address.ip(), 20_000 + 2 * rng.random_range(0..1_000))
}

fn play(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let problem = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(problem)) => problem,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            format!("panic: {}", text.unwrap_or_default())
        }
    };
    let last = world.log.len().saturating_sub(60);
    let decisions: Vec<String> =
        world.switch.trace().iter().rev().take(40).map(|l| format!("{} {}", l.at.millis(), l.event)).collect();
    Err(format!(
        "LADDER_SEED={seed}: {problem}\nlast messages:\n{}\nlast decisions, youngest first:\n{}",
        world.log[last..].join("\n"),
        decisions.join("\n")
    ))
}

#[test]
fn whatever_far_parties_do_every_call_ends_once_and_money_is_conserved() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seeds = match number("LADDER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LADDER_SEEDS").unwrap_or(SEEDS),
    };
    let failures: Vec<String> = seeds.filter_map(|seed| play(seed).err()).collect();
    let heads: Vec<&str> = failures.iter().filter_map(|f| f.lines().next()).collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}\nthe first:\n{}", heads.len(), heads.join("\n"), failures[0]);
}

#[test]
fn a_seed_plays_the_same_twice() {
    let story = |seed| {
        let mut world = World::new(seed);
        let result = world.run();
        (result, world.log.len(), world.switch.cdrs().map(|c| (c.hold_ms, c.fee, c.end_reason)).collect::<Vec<_>>())
    };
    assert_eq!(story(3), story(3));
    assert_ne!(story(3).1, story(4).1);
}
