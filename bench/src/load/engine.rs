//! The loop: everything on one thread, one turn after the other, each step open loop.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde_json::{Map, Value, json};

use super::calls::hold_of;
use super::clock::{Moment, SECOND};
use super::counts::Counts;
use super::port::{self, Arrival, Inlet};
use super::rtp::Media;
use super::script::Step;
use super::signalling::{Plan, Signalling};
use crate::account;

/// Largest SIP datagram that is taken whole.
const SIP_BYTES: usize = 4_096;
/// Room for an RTP packet.
const RTP_BYTES: usize = 256;
/// Calls started in one turn before arrivals are looked at.
const STARTS: u32 = 32;
/// Batches taken from one socket in one turn.
const BATCHES: u32 = 4;
/// Shortest sleep between packets, ns. Spinning instead would be ended for 50 ms of every second when the scheduler is
/// real-time (sched_rt_runtime_us); a sleep costs no precision, because arrivals carry the kernel's stamps.
const NAP: u64 = 25_000;
/// Signalling is looked at this often while RTP runs, ns.
const GLANCE: u64 = 500_000;
/// After the last packet of a step, ns: what is still under way belongs to it.
const TAIL: u64 = SECOND / 2;

/// A generator with its sockets open.
pub(crate) struct Engine {
    customer: Inlet,
    vendor: Inlet,
    signalling: Signalling,
    media: Media,
    arrivals: Vec<Arrival>,
    watched: Vec<u32>,
}

impl Engine {
    /// Opens the sockets of `plan`. The processes `watched` are accounted for step by step.
    ///
    /// # Errors
    /// An address that is taken or not of this machine.
    pub(crate) fn open(plan: Plan, watched: Vec<u32>) -> Result<Engine> {
        let anywhere = plan.namespaces.is_some();
        // Sockets stay where they were opened.
        let open = |namespace: Option<&String>, sip, media| {
            namespace.map_or(Ok(()), |name| tandem_netns::enter(name))?;
            anyhow::Ok((port::open(sip, SIP_BYTES, anywhere)?, port::open(media, RTP_BYTES, anywhere)?))
        };
        let (a, b) = plan.namespaces.as_ref().map(|(a, b)| (a, b)).unzip();
        let ((customer, customer_out), customer_media) = open(a, plan.customer, plan.customer_media)?;
        let ((vendor, vendor_out), vendor_media) = open(b, plan.vendor, plan.vendor_media)?;
        let media = Media::new(customer_media, vendor_media, plan.run);
        let signalling = Signalling::new(plan, customer_out, vendor_out, Moment::now().steady);
        Ok(Engine { customer, vendor, signalling, media, arrivals: Vec::new(), watched })
    }

    /// Runs one step to its end and tells what it came to.
    ///
    /// # Errors
    /// A step that cannot be done now, or a socket that broke.
    pub(crate) fn run(&mut self, step: &Step) -> Result<Value> {
        self.signalling.counts = Counts::default();
        let before = account::Snapshot::take(&self.watched);
        let own = account::own_cpu_ns();
        let start = Moment::now();
        let mut extra = Map::new();
        match *step {
            Step::Calls { rate, count, hold_ms } => {
                extra.insert("rate".into(), rate.into());
                extra.insert("hold_ms".into(), hold_ms.into());
                self.place(rate, count, Some(hold_of(hold_ms)))?;
            }
            Step::Hold { rate, count } => {
                extra.insert("rate".into(), rate.into());
                self.place(rate, count, None)?;
            }
            Step::Idle { seconds } => self.idle(start.steady + u64::from(seconds) * SECOND)?,
            Step::Rtp { pps, seconds } => {
                extra.insert("pps".into(), pps.into());
                self.rtp(pps, seconds)?;
                extra.insert("rtp".into(), self.media.json());
            }
            Step::Release { rate } => {
                extra.insert("rate".into(), rate.into());
                self.release(rate)?;
            }
        }
        let took = Moment::now().steady - start.steady;
        let mut report = Map::new();
        report.insert("step".into(), step.name().into());
        report.insert("seconds".into(), json!((took as f64 / 1e6).round() / 1e3));
        report.append(&mut extra);
        report.append(&mut self.signalling.counts.json());
        report.insert("held".into(), self.signalling.held.len().into());
        report.insert("generator_cpu_s".into(), json!(account::seconds(account::own_cpu_ns().saturating_sub(own))));
        if !self.watched.is_empty() {
            report.insert("watched".into(), account::Snapshot::take(&self.watched).since(&before));
        }
        Ok(Value::Object(report))
    }

    fn place(&mut self, rate: u32, count: u32, hold: Option<u64>) -> Result<()> {
        let start = Moment::now().steady;
        let due = |n: u32| start + u64::from(n) * SECOND / u64::from(rate);
        let mut n = 0;
        while n < count || self.signalling.busy > 0 {
            let now = Moment::now().steady;
            for _ in 0..STARTS {
                if n < count && due(n) <= now {
                    self.signalling.place(due(n), Moment::now().steady, hold);
                    n += 1;
                }
            }
            self.turn((n < count).then(|| due(n)))?;
        }
        Ok(())
    }

    fn release(&mut self, rate: u32) -> Result<()> {
        let held = std::mem::take(&mut self.signalling.held);
        let start = Moment::now().steady;
        let due = |n: usize| start + n as u64 * SECOND / u64::from(rate);
        let mut n = 0;
        while n < held.len() || self.signalling.busy > 0 {
            let now = Moment::now().steady;
            for _ in 0..STARTS {
                if n < held.len() && due(n) <= now {
                    self.signalling.hang_up(held[n], due(n), Moment::now().steady);
                    n += 1;
                }
            }
            self.turn((n < held.len()).then(|| due(n)))?;
        }
        Ok(())
    }

    fn idle(&mut self, until: u64) -> Result<()> {
        while Moment::now().steady < until {
            self.turn(Some(until))?;
        }
        Ok(())
    }

    /// One turn of signalling: what came, what is due, what is to go; then sleep until `next` or an arrival.
    fn turn(&mut self, next: Option<u64>) -> Result<()> {
        let heard = self.signalling_turn();
        let now = Moment::now().steady;
        let next = next.unwrap_or(u64::MAX).min(self.signalling.wheel.next());
        if !heard && next > now {
            wait(&[&self.customer, &self.vendor], next - now)?;
        }
        Ok(())
    }

    fn signalling_turn(&mut self) -> bool {
        let mut heard = false;
        for _ in 0..BATCHES {
            let more = self.customer.receive(&mut self.arrivals);
            let now = Moment::now();
            for arrival in &self.arrivals {
                heard = true;
                let at = if arrival.wall == 0 { now.steady } else { now.steady_of(arrival.wall) };
                self.signalling.on_customer(self.customer.bytes(arrival), arrival.from, at, now.steady);
            }
            if !more {
                break;
            }
        }
        for _ in 0..BATCHES {
            let more = self.vendor.receive(&mut self.arrivals);
            let now = Moment::now().steady;
            for arrival in &self.arrivals {
                heard = true;
                self.signalling.on_vendor(self.vendor.bytes(arrival), arrival.from, now);
            }
            if !more {
                break;
            }
        }
        self.signalling.timers(Moment::now().steady);
        self.signalling.flush();
        heard
    }

    fn rtp(&mut self, pps: u32, seconds: u32) -> Result<()> {
        let signalling = &self.signalling;
        let mut relays = Vec::with_capacity(signalling.held.len());
        for n in &signalling.held {
            let customer = signalling.calls.get(n).and_then(|call| call.relay);
            let vendor = signalling.legs.get(&(n % 10_000_000)).and_then(|leg| leg.relay);
            let pair = customer.zip(vendor).with_context(|| format!("call {n} has no address for RTP in its SDP"))?;
            relays.push([pair.0, pair.1]);
        }
        ensure!(!relays.is_empty(), "no call is held: a step hold comes before a step rtp");
        let now = Moment::now();
        self.media.begin(relays.into_iter(), pps, seconds, now);
        let end = now.steady + u64::from(seconds) * SECOND + TAIL;
        // A generator that cannot keep up sends late, not less; but not for ever.
        let limit = end + signalling.plan.patience;
        let mut glance = 0;
        loop {
            let now = Moment::now();
            let next = self.media.next();
            if (next.is_none() && now.steady >= end) || now.steady >= limit {
                return Ok(());
            }
            self.media.send(now);
            self.rtp_turn();
            if now.steady >= glance {
                self.signalling_turn();
                glance = now.steady + GLANCE;
            }
            let next = self.media.next().unwrap_or(end).min(glance);
            let now = Moment::now().steady;
            if next > now {
                std::thread::sleep(Duration::from_nanos((next - now).max(NAP)));
            }
        }
    }

    fn rtp_turn(&mut self) {
        for side in 0..2 {
            for _ in 0..BATCHES {
                let more = self.media.inlets[side].receive(&mut self.arrivals);
                let wall = Moment::now().wall;
                for arrival in &self.arrivals {
                    let mut packet = [0; RTP_BYTES];
                    let bytes = self.media.inlets[side].bytes(arrival);
                    packet[..bytes.len()].copy_from_slice(bytes);
                    let at = if arrival.wall == 0 { wall } else { arrival.wall };
                    self.media.on_packet(side, &packet[..bytes.len()], at);
                }
                if !more {
                    break;
                }
            }
        }
    }
}

/// Sleeps until one of `inlets` has something or `for_ns` have passed.
fn wait(inlets: &[&Inlet], for_ns: u64) -> Result<()> {
    let mut fds: Vec<PollFd<'_>> = inlets.iter().map(|inlet| PollFd::new(inlet.fd(), PollFlags::POLLIN)).collect();
    let time = TimeSpec::new((for_ns / SECOND) as i64, (for_ns % SECOND) as i64);
    match ppoll(&mut fds, Some(time), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("cannot wait for datagrams"),
    }
}
