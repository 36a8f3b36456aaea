//! The fast path of media: opened before the shards, watched by a thread of its own, ended by an orderly stop. Whatever is
//! wrong with it is said, and user space relays.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tandem_datapath::{Datapath, Event, EventKind, Mode, Notice, Options, Refusal, Totals};
use tandem_ebpf_abi::{FlowCounters, FlowKey, FlowValue, PuntReason};
use tandem_media::FlowCommand;
use tandem_shard::FastPath;

use crate::config::Config;
use crate::orders::{Copy, ShardOrder};
use crate::steering::kernel_programs;
use crate::topology::Shared;
use crate::{limits, log};

const _: () = assert!(limits::MEDIA_ADDRESSES_MAX == tandem_ebpf_abi::SLOTS_MAX);

/// The object file among the kernel programs.
const OBJECT: &str = "relay.o";
/// How often the sums of an adopted kernel are read at the start until they are of one moment, and the pause between.
const BASELINE_TRIES: u32 = 25;
const BASELINE_PAUSE: Duration = Duration::from_micros(200);

/// The kernel's part in media, as all threads see it.
#[derive(Debug, Default)]
pub struct MediaPath {
    datapath: Option<Arc<Datapath>>,
    /// The program's file at the start.
    object: PathBuf,
    /// How each interface is served since the start.
    interfaces: Vec<Interface>,
    /// What the last look at the interfaces found wrong.
    troubles: Mutex<Vec<String>>,
    /// What the watching thread and the shards count.
    pub counters: PathCounters,
    /// Where the sums stood at the start.
    pub start: Baseline,
}

/// How an interface is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name in `media.interfaces`.
    pub name: String,
    /// `native`, `generic` or `none`.
    pub path: &'static str,
    /// Why not better; empty for the best.
    pub reason: String,
}

/// Sums of the maps when this process began: they outlive it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// RTP packets that the kernel had forwarded.
    pub rtp: u64,
    /// Of those, by flows that were still there.
    pub live: u64,
    /// Packets that had come too late for the counters of their flow.
    pub late: u64,
    /// By how many `rtp` may be too high: 0 when nothing was forwarded while the flows were read.
    pub unsure: u64,
}

/// Counters beside those of the maps.
#[derive(Debug, Default)]
pub struct PathCounters {
    /// RTCP and telephone events that were shown to their calls.
    pub copies: AtomicU64,
    /// Those for which a shard had no room.
    pub copies_dropped: AtomicU64,
    /// First packets that the kernel forwarded.
    pub first_rtp: AtomicU64,
    /// Streams that went on with another SSRC.
    pub ssrc_changes: AtomicU64,
    /// Streams above their packet rate, as often as it was told.
    pub rate_exceeded: AtomicU64,
    /// Samples of packets to ports without a flow.
    pub no_flow: AtomicU64,
    /// Flows that no call owned and that were removed.
    pub orphans: AtomicU64,
    /// RTP packets they had forwarded.
    pub orphan_packets: AtomicU64,
    /// Programs put in the place of a running one.
    pub upgrades: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MediaPath {
    /// Opens it as `[media]` says. Never fails as such.
    pub fn open(config: &Config, ports: RangeInclusive<u16>) -> MediaPath {
        let media = &config.media;
        if media.interfaces.is_empty() {
            log::info("media: user space relays, no interface is named in media.interfaces");
            clear(config);
            return MediaPath::default();
        }
        let names: Vec<&str> = media.interfaces.iter().map(String::as_str).collect();
        let addresses: Vec<IpAddr> = media.addresses().collect();
        let mut options = Options::new(&config.node, object(config), &names, &addresses, ports);
        options.mode = match media.xdp.as_str() {
            "native" => Mode::Native,
            "generic" => Mode::Generic,
            "off" => Mode::Off,
            _ => Mode::Auto,
        };
        options.bpffs.clone_from(&media.bpffs);
        let mut opened = tandem_datapath::open(&options);
        if opened.notices.iter().any(is_of_another_layout) {
            opened.notices.iter().for_each(|notice| log::warning(&format!("media: {notice}")));
            log::warning("media: the old maps are discarded; calls that go on learn their streams anew");
            options.discard_pins = true;
            opened = tandem_datapath::open(&options);
        }
        for notice in &opened.notices {
            match notice {
                Notice::Attached { instead_of_native: None, .. } => log::info(&format!("media: {notice}")),
                Notice::Attached { .. } | Notice::Refused { .. } => log::warning(&format!("media: {notice}")),
            }
        }
        if opened.datapath.is_none() {
            log::warning("media: user space relays");
            clear(config);
        }
        let interfaces = media.interfaces.iter().map(|name| served(name, &opened.notices)).collect();
        let datapath = opened.datapath.map(Arc::new);
        let start = datapath.as_deref().map(Baseline::of).unwrap_or_default();
        MediaPath { datapath, object: options.object, interfaces, start, ..MediaPath::default() }
    }

    /// The handle.
    pub fn datapath(&self) -> Option<&Arc<Datapath>> {
        self.datapath.as_ref()
    }

    /// The program's file, unless another one is named.
    pub fn object(&self) -> &Path {
        &self.object
    }

    /// How each interface is served.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// What is wrong with the interfaces now, a sentence each.
    pub fn troubles(&self) -> Vec<String> {
        locked(&self.troubles).clone()
    }

    /// The sums of the maps; zero without them.
    pub fn totals(&self) -> Totals {
        self.datapath.as_ref().and_then(|datapath| datapath.totals().ok()).unwrap_or_default()
    }

    /// A shard's access.
    pub fn of_shard(&self) -> Option<Box<dyn FastPath>> {
        let datapath = self.datapath.clone()?;
        Some(Box::new(Kernel { datapath }))
    }

    /// Flows of the ports in `range`.
    pub fn flows(&self, range: &RangeInclusive<u16>) -> Vec<FlowKey> {
        let Some(datapath) = &self.datapath else { return Vec::new() };
        datapath.flows().into_iter().map(|(key, _)| key).filter(|key| range.contains(&key.port)).collect()
    }

    /// Counts what was removed because no call had it.
    pub fn count_orphans(&self, orphans: &[FlowCounters]) {
        self.counters.orphans.fetch_add(orphans.len() as u64, Ordering::Relaxed);
        let packets = orphans.iter().map(|counters| counters.packets).sum();
        self.counters.orphan_packets.fetch_add(packets, Ordering::Relaxed);
    }

    /// Takes programs and pins away; the last thing of an orderly stop. Packets that nobody owns go to the stack then.
    pub fn end(self) {
        let Some(datapath) = self.datapath else { return };
        match Arc::into_inner(datapath).map(Datapath::detach) {
            Some(Ok(())) => log::info("media: the kernel's program is detached"),
            Some(Err(refusal)) => log::warning(&format!("media: {refusal}; {}", refusal.cure())),
            // Somebody still holds it: that is our own mistake, and the next start takes over what is pinned.
            None => log::warning("media: the kernel's program stays attached"),
        }
    }
}

impl Baseline {
    /// The kernel forwards while both sums are read: two equal readings in a row are of one moment. Under so many streams that
    /// there are none, the last one is taken with what went on meanwhile as its uncertainty.
    fn of(datapath: &Datapath) -> Baseline {
        // What came late in an earlier life is not counted in this one.
        let late = datapath.late_packets();
        let read = || {
            let before = datapath.totals().unwrap_or_default().rtp_packets;
            let mut live = 0;
            datapath.scan(|_, counters| live += counters.packets);
            let rtp = datapath.totals().unwrap_or_default().rtp_packets;
            Baseline { rtp, live, late, unsure: rtp.saturating_sub(before) }
        };
        let mut last = read();
        for _ in 0..BASELINE_TRIES {
            // A packet that is between its two counters has left the program by then.
            thread::sleep(BASELINE_PAUSE);
            let again = read();
            if again == last && again.unsure == 0 {
                break;
            }
            last = again;
        }
        last
    }
}

fn is_of_another_layout(notice: &Notice) -> bool {
    matches!(notice, Notice::Refused { refusal: Refusal::PinnedDiffers { .. }, .. })
}

/// Without a fast path nothing of an earlier one may go on: its streams would be counted by nobody, and ended for their silence.
fn clear(config: &Config) {
    match tandem_datapath::discard(&config.node, &config.media.bpffs) {
        Ok(false) => {}
        Ok(true) => log::warning(
            "media: what an earlier start left in the kernel is taken away; its streams come to user space",
        ),
        Err(refusal) => {
            log::warning(&format!("media: an earlier program goes on in the kernel: {refusal}; {}", refusal.cure()))
        }
    }
}

/// How interface `name` is served, by what was said at the start.
fn served(name: &str, notices: &[Notice]) -> Interface {
    let with = |path, reason: Option<&Refusal>| Interface {
        name: name.to_owned(),
        path,
        // A refusal of the verifier has the lines of its log.
        reason: reason.map(|refusal| format!("{refusal}; {}", refusal.cure()).replace('\n', " | ")).unwrap_or_default(),
    };
    let own = notices.iter().find_map(|notice| match notice {
        Notice::Attached { interface, attached, instead_of_native, .. } if interface == name => {
            Some(with(attached.as_str(), instead_of_native.as_ref()))
        }
        Notice::Refused { interface: Some(interface), refusal } if interface == name => {
            Some(with("none", Some(refusal)))
        }
        Notice::Attached { .. } | Notice::Refused { .. } => None,
    });
    own.unwrap_or_else(|| {
        let whole = notices.iter().find_map(|notice| match notice {
            Notice::Refused { interface: None, refusal } => Some(refusal),
            Notice::Refused { .. } | Notice::Attached { .. } => None,
        });
        with("none", whole)
    })
}

/// The program's file: as configured, else among the kernel programs.
fn object(config: &Config) -> PathBuf {
    config.media.xdp_object.clone().unwrap_or_else(|| kernel_programs(config).join(OBJECT))
}

/// A shard's access to the maps. Each port is written by the shard that leases it.
struct Kernel {
    datapath: Arc<Datapath>,
}

impl FastPath for Kernel {
    fn apply(&mut self, command: &FlowCommand) -> Option<FlowCounters> {
        self.datapath.apply(command)
    }

    fn counters(&self, port: FlowKey) -> Option<FlowCounters> {
        self.datapath.flow(port).and_then(|_| self.datapath.counters(port))
    }

    fn flow(&self, port: FlowKey) -> Option<FlowValue> {
        self.datapath.flow(port)
    }
}

/// Starts the thread that takes the kernel's events, looks after the interfaces and finds orphans; none without a fast path.
///
/// # Errors
/// When the system gives no thread.
pub fn watch(
    shared: &Arc<Shared>,
    parts: Vec<RangeInclusive<u16>>,
    orphans_every_s: u32,
) -> Result<Option<JoinHandle<()>>> {
    let Some(datapath) = shared.media.datapath.clone() else { return Ok(None) };
    let shared = shared.clone();
    let sweep_every = Duration::from_secs(orphans_every_s.into());
    let watcher = Watcher { shared, datapath, parts, sweep_every };
    let thread = thread::Builder::new().name("media".to_owned()).spawn(move || watcher.run());
    thread.map(Some).context("cannot start the media thread")
}

struct Watcher {
    shared: Arc<Shared>,
    datapath: Arc<Datapath>,
    parts: Vec<RangeInclusive<u16>>,
    sweep_every: Duration,
}

impl Watcher {
    fn run(self) {
        let (mut looked, mut swept) = (Instant::now(), Instant::now());
        while !self.shared.stopping.load(Ordering::Relaxed) {
            thread::park_timeout(Duration::from_millis(limits::MEDIA_EVENTS_MS));
            self.events();
            if looked.elapsed() >= Duration::from_millis(limits::MEDIA_CHECK_MS) {
                looked = Instant::now();
                self.look();
            }
            if swept.elapsed() >= self.sweep_every {
                swept = Instant::now();
                self.sweep();
            }
        }
    }

    /// Counts the events and shows the copies to their calls.
    fn events(&self) {
        let mut copies: Vec<Vec<Copy>> = self.parts.iter().map(|_| Vec::new()).collect();
        let counters = &self.shared.media.counters;
        self.datapath.poll_events(limits::MEDIA_EVENTS_MAX, &mut |event| {
            let count = |counter: &AtomicU64| {
                counter.fetch_add(1, Ordering::Relaxed);
            };
            match event.what {
                EventKind::FirstRtp => count(&counters.first_rtp),
                EventKind::SsrcChange => count(&counters.ssrc_changes),
                EventKind::RateExceeded => count(&counters.rate_exceeded),
                EventKind::NoFlow => count(&counters.no_flow),
                EventKind::RtcpCopy => self.sort(&mut copies, &event, PuntReason::RtcpCopy),
                EventKind::DtmfCopy => self.sort(&mut copies, &event, PuntReason::DtmfCopy),
            }
        });
        for (door, copies) in self.shared.shards.iter().zip(copies) {
            let many = copies.len() as u64;
            if many == 0 {
                continue;
            }
            if door.orders.push(ShardOrder::Copies(copies)).is_ok() {
                counters.copies.fetch_add(many, Ordering::Relaxed);
                door.waker.wake();
            } else {
                counters.copies_dropped.fetch_add(many, Ordering::Relaxed);
            }
        }
    }

    fn sort(&self, copies: &mut [Vec<Copy>], event: &Event<'_>, reason: PuntReason) {
        let port = event.key;
        let home = self.parts.iter().position(|part| part.contains(&port.port));
        if let Some(copies) = home.and_then(|home| copies.get_mut(home)) {
            copies.push(Copy { port, reason, payload: event.payload.into() });
        }
    }

    /// Says what has changed about the interfaces.
    fn look(&self) {
        let now: Vec<String> = self.datapath.check().iter().map(ToString::to_string).collect();
        let mut known = locked(&self.shared.media.troubles);
        for trouble in now.iter().filter(|trouble| !known.contains(trouble)) {
            log::warning(&format!("media: {trouble}"));
        }
        for gone in known.iter().filter(|trouble| !now.contains(trouble)) {
            log::info(&format!("media: no more: {gone}"));
        }
        *known = now;
    }

    /// Shows each shard the flows of its ports: it alone knows which have a call, and writes them.
    fn sweep(&self) {
        for (door, part) in self.shared.shards.iter().zip(&self.parts) {
            let flows = self.shared.media.flows(part);
            // A shard that is too busy is asked again the next time.
            if !flows.is_empty() && door.orders.push(ShardOrder::Orphans(flows)).is_ok() {
                door.waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(interface: Option<&str>, refusal: Refusal) -> Notice {
        Notice::Refused { interface: interface.map(str::to_owned), refusal }
    }

    #[test]
    fn an_interface_is_told_with_its_own_reason_before_that_of_the_whole() {
        let notices = [
            refused(Some("eth1"), Refusal::InterfaceMissing { interface: "eth1".to_owned() }),
            refused(None, Refusal::Off),
        ];
        let (own, whole) = (served("eth1", &notices), served("eth0", &notices));
        assert_eq!((own.path, whole.path), ("none", "none"));
        assert!(own.reason.contains("eth1") && whole.reason.contains("turned off"), "{own:?} {whole:?}");
    }

    #[test]
    fn generic_mode_says_why_it_is_not_native() {
        let notices = [Notice::Attached {
            interface: "eth0".to_owned(),
            attached: tandem_datapath::Attached::Generic,
            adopted: false,
            instead_of_native: Some(Refusal::NoNativeDriver { interface: "eth0".to_owned() }),
        }];
        let eth0 = served("eth0", &notices);
        assert_eq!(eth0.path, "generic");
        assert!(eth0.reason.contains("driver"), "{eth0:?}");
    }
}
