//! What user space gets of media: a socket for every port, as shards have them, against one socket to which the kernel directs
//! the datagrams of all leased ports, with a raw socket to send by. Both in the same run, in turns, on one core.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use tandem_datapath::{PuntOptions, Punts};
use tandem_ebpf_abi::FlowKey;
use tandem_netns::{Lab, Place};
use tandem_ring::{BufferGroup, Completion, RawOptions, Ring, RingConfig, SocketId, UdpOptions};

use super::{FIRST, MEDIA, Raw, low, median};

/// The range.
const PORTS: usize = 30_000;
/// Ports that can be open where a process may have 20,000 files.
const OPEN: usize = 18_000;
/// Samples of each way, in turns.
const ROUNDS: usize = 21;
/// Calls whose ports are opened between two waits.
const CALLS: usize = 32;
const BATCHES: usize = 20;
/// Calls that are there meanwhile, with two ports each.
const OTHERS: [usize; 3] = [0, 2_000, 7_500];
/// Ports that packets come to, in turn: not so few that the program takes it for a flood.
const STREAMS: [usize; 3] = [1_000, 4_000, OPEN];
/// Packets between two waits, and in a sample.
const BURST: usize = 64;
const PACKETS: usize = 64 * 300;
/// Turns within which they must have come.
const TURNS_MAX: usize = 100_000;
/// RTP of 20 ms of G.711.
const PAYLOAD: usize = 172;
/// As the daemon asks for: `limits::MEDIA_RECV_BUFFER_BYTES`.
const RECV_BUFFER: usize = 16 << 10;
/// Of the one that stands for all.
pub(super) const SHARED_BUFFER: usize = 4 << 20;
const TOS: u8 = 0xb8;
/// Memory of the kernel is given back some time later.
const SETTLE: Duration = Duration::from_secs(2);

/// How datagrams come in and go out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    PerPort,
    Shared,
}

impl Way {
    pub(super) const ALL: [Way; 2] = [Way::PerPort, Way::Shared];

    pub(super) fn name(self) -> &'static str {
        match self {
            Way::PerPort => "socket a port",
            Way::Shared => "one socket",
        }
    }
}

/// The ring of a shard and what it has open.
pub(super) struct Shard {
    pub(super) ring: Ring,
    open: Vec<Option<SocketId>>,
    shared: Option<(Punts, SocketId)>,
}

impl Shard {
    pub(super) fn new(way: Way, folder: &Path, recv_buffer: usize) -> Result<Shard> {
        let config = RingConfig { sockets_max: 32_768, send_slots: 8_192, ..RingConfig::default() };
        let mut ring = Ring::new(config)?;
        let mut shared = None;
        if way == Way::Shared {
            let media: IpAddr = MEDIA.parse()?;
            let punts = attach(folder)?;
            let options = UdpOptions { recv_buffer, tell_destination: true, ..UdpOptions::new("127.0.0.1:0".parse()?) };
            let socket = ring.open_udp(0, &options, BufferGroup::Media)?;
            let socket = ring.descriptor(socket).context("it is open")?;
            punts.join(0, Some(socket), None).map_err(|e| anyhow!("{e}"))?;
            let raw = RawOptions { addr: media, tos: TOS, send_buffer: 0, free_bind: false };
            shared = Some((punts, ring.open_raw(0, &raw)?));
        }
        Ok(Shard { ring, open: vec![None; PORTS], shared })
    }

    pub(super) fn open(&mut self, port: u16) -> Result<()> {
        if let Some((punts, _)) = &self.shared {
            ensure!(punts.lease(FlowKey::new(0, port), 0), "port {port} is not in the range");
            return Ok(());
        }
        let options =
            UdpOptions { tos: TOS, recv_buffer: RECV_BUFFER, ..UdpOptions::new(SocketAddr::new(MEDIA.parse()?, port)) };
        let socket = self.ring.open_udp(u32::from(port), &options, BufferGroup::Media)?;
        self.open[usize::from(port - FIRST)] = Some(socket);
        Ok(())
    }

    pub(super) fn close(&mut self, port: u16) {
        if let Some((punts, _)) = &self.shared {
            punts.release(FlowKey::new(0, port));
        }
        if let Some(socket) = self.open[usize::from(port - FIRST)].take() {
            self.ring.close_udp(socket);
        }
    }

    /// A turn of the shard without news.
    pub(super) fn turn(&mut self) -> Result<()> {
        self.ring.wait(Some(Duration::ZERO))?;
        while self.ring.next().is_some() {}
        Ok(())
    }

    /// Sends on all that has arrived, each from the neighbour of the port that it came to, and tells the port.
    pub(super) fn relay(&mut self, to: SocketAddr, mut seen: impl FnMut(u16)) -> Result<usize> {
        let mut relayed = 0;
        self.ring.wait(Some(Duration::ZERO))?;
        while let Some(completion) = self.ring.next() {
            let Completion::Datagram { token, buffer, truncated: false, .. } = completion else { continue };
            relayed += 1;
            if let Some((_, raw)) = &self.shared {
                let port = buffer.destination().context("the kernel told no destination")?.port();
                seen(port);
                self.ring.send_buffer_from(*raw, port ^ 1, to, buffer).map_err(|unsent| anyhow!("{unsent}"))?;
            } else {
                let port = token as u16;
                seen(port);
                let socket = self.open[usize::from((port ^ 1) - FIRST)].context("the neighbour is not open")?;
                self.ring.send_buffer(socket, to, buffer).map_err(|unsent| anyhow!("{unsent}"))?;
            }
        }
        Ok(relayed)
    }
}

fn attach(folder: &Path) -> Result<Punts> {
    let last = FIRST + PORTS as u16 - 1;
    let options =
        PuntOptions { object: folder.join("punts.o"), addresses: vec![MEDIA.parse()?], ports: FIRST..=last, shards: 1 };
    Punts::attach(&options).map_err(|e| anyhow!("{e}"))
}

/// Ports in the order they are taken.
pub(super) fn port(n: usize) -> u16 {
    FIRST + (n % PORTS) as u16
}

/// All parts. The media address is one of the relay's meanwhile.
pub(super) fn measure(lab: &Lab, folder: &Path, bpffs: &Path, raw: &Raw) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(OPEN as u64 + 1_000);
    setrlimit(Resource::Nofile, limit).context("19,000 open files are needed")?;
    let own = format!("{MEDIA}/32");
    lab.ip(Place::Relay, &["neigh", "del", MEDIA, "dev", "r0"])?;
    lab.ip(Place::Relay, &["addr", "add", &own, "dev", "r0"])?;
    let result = (|| -> Result<()> {
        lab.at(Place::Relay, || calls(folder, raw))??;
        lab.at(Place::Relay, || memory(folder, raw))??;
        packets(lab, folder, raw)?;
        super::spray::measure(lab, folder, bpffs, raw)
    })();
    lab.ip(Place::Relay, &["addr", "del", &own, "dev", "r0"])?;
    result
}

/// Time of this thread's on a processor, the kernel's work for it included.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPU time of a call's two ports, from opening to closing, beside other calls.
fn calls(folder: &Path, raw: &Raw) -> Result<()> {
    for others in OTHERS {
        let mut taken: BTreeMap<Way, Vec<f64>> = BTreeMap::new();
        let mut shards = Vec::new();
        for way in Way::ALL {
            let mut shard = Shard::new(way, folder, SHARED_BUFFER)?;
            for n in 0..2 * others {
                shard.open(port(n))?;
            }
            for _ in 0..8 {
                shard.turn()?;
            }
            // Both are there at once: no packet comes, so that neither disturbs the other.
            shards.push((way, shard));
        }
        for _ in 0..ROUNDS {
            for (way, shard) in &mut shards {
                let begun = cpu();
                for batch in 0..BATCHES {
                    let ports = || (0..2 * CALLS).map(move |n| port(2 * others + 2 * CALLS * batch + n));
                    for port in ports() {
                        shard.open(port)?;
                    }
                    shard.turn()?;
                    for port in ports() {
                        shard.close(port);
                    }
                    // The first cancels, the second lets go.
                    shard.turn()?;
                    shard.turn()?;
                }
                let call = (cpu() - begun).as_nanos() as f64 / 1e3 / (BATCHES * CALLS) as f64;
                taken.entry(*way).or_default().push(call);
            }
        }
        for (way, mut samples) in taken {
            let (least, middle) = (low(&mut samples), median(&samples));
            println!("beside {others} calls, {}: {least:.2} us of CPU a call (median {middle:.2})", way.name());
            raw.row(
                "punts-calls",
                way.name(),
                &[("others", others as f64), ("least_us", least), ("median_us", middle)],
            );
        }
    }
    Ok(())
}

/// Bytes of the kernel's caches by name, and of this process.
fn used() -> Result<(BTreeMap<String, f64>, f64)> {
    let mut caches = BTreeMap::new();
    for line in fs::read_to_string("/proc/slabinfo")?.lines().skip(2) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        // Name, objects in use, all, bytes of one.
        caches.insert(words[0].to_owned(), words[1].parse::<f64>()? * words[3].parse::<f64>()?);
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let resident: f64 = resident.split_ascii_whitespace().next().context("no number")?.parse()?;
    Ok((caches, resident * 1024.0))
}

/// Memory of all ports.
fn memory(folder: &Path, raw: &Raw) -> Result<()> {
    for way in Way::ALL {
        let mut shard = Shard::new(way, folder, SHARED_BUFFER)?;
        shard.turn()?;
        std::thread::sleep(SETTLE);
        let (caches, resident) = used()?;
        for n in 0..OPEN {
            shard.open(port(n))?;
        }
        shard.turn()?;
        let (after, resident_after) = used()?;
        let mut grown: Vec<(String, f64)> = after
            .into_iter()
            .map(|(name, bytes)| (bytes - caches.get(&name).copied().unwrap_or(0.0), name))
            .filter(|(bytes, _)| bytes.abs() >= 16.0 * OPEN as f64)
            .map(|(bytes, name)| (name, bytes / OPEN as f64))
            .collect();
        grown.sort_by(|a, b| b.1.total_cmp(&a.1));
        let kernel: f64 = grown.iter().map(|(_, bytes)| bytes).sum();
        let own = (resident_after - resident) / OPEN as f64;
        let list: Vec<String> = grown.iter().map(|(name, bytes)| format!("{name} {bytes:.0}")).collect();
        println!(
            "{OPEN} ports, {}: {kernel:.0} bytes of the kernel's a port ({}), {own:.0} of the process",
            way.name(),
            list.join(", ")
        );
        raw.row(
            "punts-memory",
            way.name(),
            &[("ports", OPEN as f64), ("kernel_bytes", kernel), ("process_bytes", own)],
        );
        for n in 0..OPEN {
            shard.close(port(n));
        }
        shard.turn()?;
        drop(shard);
        std::thread::sleep(SETTLE);
    }
    Ok(())
}

/// Sender and receiver of the party, in its namespace, used from wherever.
pub(super) fn party(lab: &Lab) -> Result<(UdpSocket, UdpSocket)> {
    lab.at(Place::A, || -> Result<_> {
        let sender = UdpSocket::bind("10.99.1.2:4000")?;
        let sink = UdpSocket::bind("10.99.1.2:6000")?;
        socket2::SockRef::from(&sink).set_recv_buffer_size(4 << 20)?;
        sink.set_nonblocking(true)?;
        Ok((sender, sink))
    })?
}

/// Time of a packet that comes to a port and is sent on, all of it on this core: the sender's socket and the wire, the look for
/// the receiver, the ring, the way back into the receiver's queue.
fn packets(lab: &Lab, folder: &Path, raw: &Raw) -> Result<()> {
    let (sender, sink) = party(lab)?;
    let to: SocketAddr = "10.99.1.2:6000".parse()?;
    for streams in STREAMS {
        let mut taken: BTreeMap<(Way, &str), Vec<f64>> = BTreeMap::new();
        let mut lost = BTreeMap::from(Way::ALL.map(|way| (way, 0)));
        for _ in 0..3 {
            for way in Way::ALL {
                // One at a time: the program would take the other's packets.
                let (sender, sink) = (&sender, &sink);
                let samples = lab.at(Place::Relay, || -> Result<_> {
                    let mut shard = Shard::new(way, folder, SHARED_BUFFER)?;
                    for n in 0..streams {
                        shard.open(port(n))?;
                    }
                    shard.turn()?;
                    (0..ROUNDS / 3).map(|_| sample(&mut shard, sender, sink, to, streams)).collect::<Result<Vec<_>>>()
                })??;
                for sample in samples {
                    for (phase, time) in
                        [("send", sample.send), ("ring", sample.ring), ("whole", sample.send + sample.ring)]
                    {
                        taken.entry((way, phase)).or_default().push(time.as_nanos() as f64 / PACKETS as f64);
                    }
                    *lost.entry(way).or_default() += PACKETS - sample.arrived;
                }
            }
        }
        for way in Way::ALL {
            let mut row = vec![("streams", streams as f64), ("lost", lost[&way] as f64)];
            let mut text = Vec::new();
            for (phase, least_key, median_key) in [
                ("whole", "whole_least_ns", "whole_median_ns"),
                ("send", "send_least_ns", "send_median_ns"),
                ("ring", "ring_least_ns", "ring_median_ns"),
            ] {
                let Some(samples) = taken.get_mut(&(way, phase)) else { continue };
                let (least, middle) = (low(samples), median(samples));
                row.extend([(least_key, least), (median_key, middle)]);
                text.push(format!("{phase} {least:.0} ns (median {middle:.0})"));
            }
            println!("{streams} ports, {}: {}; {} lost", way.name(), text.join(", "), lost[&way]);
            raw.row("punts-packets", way.name(), &row);
        }
    }
    Ok(())
}

struct Sample {
    /// The sender's calls, with the wire and the look for the receiver.
    send: Duration,
    /// The ring's turns, with the wire back.
    ring: Duration,
    arrived: usize,
}

fn sample(shard: &mut Shard, sender: &UdpSocket, sink: &UdpSocket, to: SocketAddr, streams: usize) -> Result<Sample> {
    let mut payload = [0xd5; PAYLOAD];
    payload[..2].copy_from_slice(&[0x80, 8]);
    let mut sample = Sample { send: Duration::ZERO, ring: Duration::ZERO, arrived: 0 };
    // Coprime to the numbers of streams, so that no prefetcher foresees it.
    let mut at = 0;
    for _ in 0..PACKETS / BURST {
        let begun = Instant::now();
        for _ in 0..BURST {
            at = (at + 7_919) % streams;
            sender.send_to(&payload, (MEDIA, port(at)))?;
        }
        let sent = Instant::now();
        let mut relayed = 0;
        let mut turns = 0;
        // The kernel may leave some to a thread of its own.
        while relayed < BURST && turns < TURNS_MAX {
            relayed += shard.relay(to, |_| ())?;
            turns += 1;
        }
        // What was queued in the last turn goes out.
        shard.turn()?;
        sample.send += sent - begun;
        sample.ring += sent.elapsed();
        ensure!(relayed == BURST, "{relayed} of {BURST} packets came to the ring");
        let mut bytes = [0; 2 * PAYLOAD];
        while let Ok(len) = sink.recv(&mut bytes) {
            ensure!(bytes[..len] == payload, "another packet came back");
            sample.arrived += 1;
        }
    }
    Ok(sample)
}
