//! The far parties of one call: a caller and every vendor's device it reaches, doing what the call's own dice say.
//!
//! They speak SIP text through `tandem_ladder::far::Far`, which also minds that what they hear is what a strict peer would
//! take. They retransmit like devices, and they may do anything: refuse, fall silent, cancel, hang up both at once, change
//! the session, send DTMF, redirect, fork, vanish.

use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_ladder::far::{Datagram, Far, Say};
use tandem_ladder::heard::Kind;
use tandem_leg::Time;

use crate::plan::CallPlan;
use crate::setup;

/// Retransmissions of a party before it gives up.
const REPEATS_MAX: u8 = 6;
/// Packets of one burst of media, 20 ms apart.
const BURST_MAX: u8 = 12;

/// Which device of a call: 0 the caller, n the n-th attempt's.
pub type Device = u8;

/// Something a device will say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A response to the last open request.
    Status(u16),
    /// 200 with a session description to the INVITE.
    Answer,
    /// The same from another branch of a fork.
    Fork,
    /// ACK.
    Ack,
    /// BYE.
    Bye,
    /// CANCEL.
    Cancel,
    /// A re-INVITE, on hold or off.
    Change,
    /// An UPDATE.
    Refresh,
    /// An INFO with a digit.
    Info,
    /// Media packets.
    Media(u8),
    /// Again what it sent last under that name.
    Repeat(&'static str, u8),
}

/// What a device does next: who, when, what.
#[derive(Clone, Copy, Debug)]
pub struct Intent {
    /// Device.
    pub device: Device,
    /// From now, microseconds.
    pub after_us: u64,
    /// What.
    pub word: Word,
}

/// What a device says now.
#[derive(Clone, Debug)]
pub enum Speech {
    /// A SIP message.
    Sip(Datagram),
    /// A media packet: from, to this port of the switch, bytes.
    Media(SocketAddr, u16, Vec<u8>),
}

/// See the module text.
#[derive(Debug)]
pub struct Actor {
    /// The plan of this call.
    pub plan: CallPlan,
    devices: Vec<Far>,
    rng: StdRng,
    /// A party of this call has vanished: it neither speaks nor listens.
    gone: Vec<bool>,
    /// The switch lost its memory during this call: what it says may contradict what it said.
    pub lenient: bool,
    rtp: bool,
    heard: u64,
    intents: Vec<Intent>,
}

impl Actor {
    /// The caller, before he calls.
    pub fn new(plan: CallPlan, rtp: bool) -> Actor {
        let mut rng = StdRng::seed_from_u64(plan.seed);
        let mut caller =
            Far::new(&format!("a{}c{}", plan.customer, plan.index), setup::customer_address(plan.customer));
        caller.reordering = true;
        let rtp = rtp && rng.random_bool(0.5);
        Actor {
            plan,
            devices: vec![caller],
            rng,
            gone: vec![false],
            lenient: false,
            rtp,
            heard: 0,
            intents: Vec::new(),
        }
    }

    /// What was decided since the last look.
    pub fn take_intents(&mut self) -> Vec<Intent> {
        std::mem::take(&mut self.intents)
    }

    /// Address of a device.
    pub fn address(&self, device: Device) -> SocketAddr {
        self.devices[usize::from(device)].address
    }

    /// Where a device wants media.
    pub fn media_address(&self, device: Device) -> SocketAddr {
        // Every device of every call has its own, so that a packet that strays is seen.
        let n = u32::from(device) * 9_001 + self.plan.index * 2;
        SocketAddr::new(self.address(device).ip(), 20_000 + (n % 40_000) as u16)
    }

    fn will(&mut self, device: Device, after_ms: u64, word: Word) {
        self.intents.push(Intent { device, after_us: after_ms * 1_000, word });
    }

    fn soon(&mut self, device: Device, up_to_ms: u64, word: Word) {
        let after_us = self.rng.random_range(0..=up_to_ms * 1_000);
        self.intents.push(Intent { device, after_us, word });
    }

    /// The caller calls.
    pub fn call(&mut self) -> (String, Speech) {
        let sdp = self.rng.random_bool(0.92).then(|| self.media_address(0));
        let say = Say { sdp, from: Some(self.plan.caller()), to: Some(self.plan.number()), ..Say::default() };
        let (_, datagram) = self.devices[0].call("INVITE", &say);
        self.will(0, 500, Word::Repeat("INVITE", 0));
        match self.rng.random_range(0..100) {
            0..10 => self.soon(0, 20_000, Word::Cancel),
            10..14 => self.soon(0, 8_000, Word::Bye),
            14..17 => self.gone[0] = true,
            _ => {}
        }
        let call_id = self.devices[0].dialogs[0].call_id.clone();
        (call_id, Speech::Sip(datagram))
    }

    /// A vendor's device that hears of this call for the first time.
    pub fn device(&mut self, vendor: usize) -> Device {
        let n = self.devices.len();
        let name = format!("b{vendor}c{}n{n}", self.plan.index);
        let mut far = Far::new(&name, setup::vendor_address(vendor));
        far.reordering = true;
        self.devices.push(far);
        self.gone.push(false);
        n as Device
    }

    /// A datagram of the switch reaches a device.
    ///
    /// # Errors
    /// What is wrong with it, whatever was expected.
    pub fn hear(&mut self, device: Device, at: Time, bytes: &[u8], secrets: &[String]) -> Result<(), String> {
        let here = usize::from(device);
        if self.gone[here] {
            return Ok(());
        }
        self.heard += 1;
        let dialog = match self.devices[here].hear(self.heard, at, bytes, secrets) {
            Ok(dialog) => dialog,
            Err(_) if self.lenient => return Ok(()),
            Err(problem) => return Err(problem),
        };
        let Some(heard) = self.devices[here].dialogs[dialog].inbox.pop_front() else {
            return Ok(());
        };
        let repeated = self.devices[here].dialogs[dialog].is_repeated(&heard);
        let dice: f64 = self.rng.random();
        match (&heard.kind, heard.method.as_str()) {
            (Kind::Request(_), "INVITE") if repeated => {}
            (Kind::Request(_), "INVITE") if !heard.to_tag.is_empty() => match dice {
                d if d < 0.7 => self.soon(device, 3_000, Word::Answer),
                d if d < 0.95 => {
                    let status = [488, 491, 500, 481, 408][self.rng.random_range(0..5)];
                    self.soon(device, 3_000, Word::Status(status));
                }
                _ => {}
            },
            (Kind::Request(_), "INVITE") => self.ring(device),
            (Kind::Request(_), "CANCEL") => {
                if dice < 0.95 {
                    self.soon(device, 100, Word::Status(200));
                    self.will(device, 150, if dice < 0.85 { Word::Status(487) } else { Word::Answer });
                }
            }
            (Kind::Request(_), "ACK") => {}
            (Kind::Request(_), _) => {
                if dice < 0.95 {
                    self.soon(device, 500, Word::Status(if dice < 0.88 { 200 } else { 481 }));
                }
            }
            (Kind::Response(status), "INVITE") => {
                if *status >= 200 && dice < 0.96 {
                    self.soon(device, 50, Word::Ack);
                }
                if *status == 200 && !repeated {
                    self.connected(device);
                }
            }
            (Kind::Response(_), _) => {}
        }
        Ok(())
    }

    /// What a vendor does with a new call.
    fn ring(&mut self, device: Device) {
        let mut at = self.rng.random_range(0..1_500);
        for status in [100, 183, 180, 181] {
            if self.rng.random_bool(0.5) {
                self.will(device, at, Word::Status(status));
                at += self.rng.random_range(0..5_000);
            }
        }
        match self.rng.random_range(0..100) {
            0..60 => {
                self.will(device, at, Word::Answer);
                self.will(device, at + 500, Word::Repeat("200", 0));
                if self.rng.random_bool(0.05) {
                    self.will(device, at + 200, Word::Fork);
                }
                self.connected(device);
            }
            60..92 => {
                let refusals = [486, 486, 503, 503, 404, 480, 302, 500, 603, 600, 488, 401, 408, 699];
                let status = refusals[self.rng.random_range(0..refusals.len())];
                self.will(device, at, Word::Status(status));
            }
            92..94 => self.will(device, at, Word::Bye),
            94..96 => self.gone[usize::from(device)] = true,
            _ => {}
        }
    }

    fn connected(&mut self, device: Device) {
        // Some both at the same instant, most one of them, some nobody: then the longest call ends it.
        let talk_ms = [100, 900, 5_000, 45_000, 120_000][self.rng.random_range(0..5)];
        match self.rng.random_range(0..100) {
            0..10 => self.will(device, talk_ms, Word::Bye),
            10..65 => self.soon(device, talk_ms * 2, Word::Bye),
            65..68 => self.gone[usize::from(device)] = true,
            _ => {}
        }
        for (word, chance, within_ms) in [
            (Word::Change, 0.2, 40_000),
            (Word::Change, 0.05, 300),
            (Word::Refresh, 0.15, 40_000),
            (Word::Info, 0.15, 40_000),
        ] {
            if self.rng.random_bool(chance) {
                self.soon(device, within_ms, word);
            }
        }
        if self.rtp {
            let burst = self.rng.random_range(1..=BURST_MAX);
            self.soon(device, 2_000, Word::Media(burst));
            if self.rng.random_bool(0.3) {
                self.soon(device, 30_000, Word::Media(burst));
            }
        }
    }

    /// A device says a word, if it still makes sense.
    pub fn say(&mut self, device: Device, word: Word) -> Option<Speech> {
        let here = usize::from(device);
        // Who vanished after his first word still repeats nothing.
        if self.gone[here] {
            return None;
        }
        let media = self.media_address(device);
        let hold = self.rng.random_bool(0.5);
        let far = &mut self.devices[here];
        let over = far.dialogs.first()?.over;
        let describe = |sdp: bool| Say { sdp: sdp.then_some(media), ..Say::default() };
        let datagram = match word {
            Word::Status(status) => {
                let mut say = describe(status == 183);
                if status == 503 {
                    say.headers.push(("Retry-After".to_owned(), "3".to_owned()));
                }
                if status == 302 {
                    let to = format!("<sip:{}@{}>", self.plan.number(), far.address);
                    say.headers.push(("Contact".to_owned(), to));
                }
                far.respond(0, status, None, &say).ok()
            }
            Word::Answer => far.respond(0, 200, Some("INVITE"), &describe(true)).ok(),
            Word::Fork => far.respond(0, 200, Some("INVITE"), &Say { tag: "fork".into(), ..describe(true) }).ok(),
            Word::Ack => {
                let offerless = far.dialogs[0].last_sdp().is_none();
                Some(far.request(0, "ACK", &describe(offerless)))
            }
            Word::Cancel if far.dialogs[0].is_waiting("INVITE") => {
                let datagram = far.request(0, "CANCEL", &Say::default());
                self.will(device, 500, Word::Repeat("CANCEL", 0));
                Some(datagram)
            }
            Word::Bye if !over => {
                let datagram = far.request(0, "BYE", &Say::default());
                self.will(device, 500, Word::Repeat("BYE", 0));
                Some(datagram)
            }
            Word::Change if !over && !far.dialogs[0].is_waiting("INVITE") => {
                let direction = hold.then(|| "sendonly".to_owned());
                Some(far.request(0, "INVITE", &Say { direction, ..describe(true) }))
            }
            Word::Refresh if !over => Some(far.request(0, "UPDATE", &describe(hold))),
            Word::Info if !over => {
                let body = Some(("application/dtmf-relay".to_owned(), "Signal=1".to_owned()));
                Some(far.request(0, "INFO", &Say { body, ..Say::default() }))
            }
            Word::Media(left) => {
                let packet = far.rtp(0, 8).ok();
                if left > 1 && !over {
                    self.will(device, 20, Word::Media(left - 1));
                }
                return packet.map(|(from, port, bytes)| Speech::Media(from, port, bytes));
            }
            Word::Repeat(name, n) => {
                let dialog = &far.dialogs[0];
                let wanted = match name {
                    "200" => dialog.from_switch && !dialog.heard.iter().any(|h| h.is_request("ACK")),
                    method => dialog.is_waiting(method),
                };
                let again = far.again(0, name).ok().filter(|_| wanted && n < REPEATS_MAX);
                if again.is_some() {
                    self.will(device, 500 << n.min(3), Word::Repeat(name, n + 1));
                }
                again
            }
            Word::Cancel | Word::Bye | Word::Change | Word::Refresh | Word::Info => None,
        };
        datagram.map(Speech::Sip)
    }
}
