//! What the kernel program costs: `measure OBJECTS [packet | scan | veth | rate | punts [RAW]]` (the folder of `cargo xtask ebpf`; `all`
//! is all of them), as root. Rows of JSON are added to the file RAW. Makes its own namespaces; for a core of its own:
//! `taskset -c 1 nice -n -10 measure ...`. `cargo xtask bench kernel` does so and keeps the results.
//!
//! 1. ns per packet by the kernel's test run, against a program that does nothing but transmit, 1 to 15,000 sessions. The
//!    kernel hands the program its own output again, so each session's packet is made the next one's, in random order.
//! 2. Across veth against a reflector, 1 to 15,000 sessions: generator, relay and sink on one core, and what each takes.
//! 3. 15,000 sessions at 50 packets a second, all on one core: is anything lost?
//! 4. The scan of all counters through memory.
//! 5. Sockets of ports against one socket for all that the kernel leaves to user space: calls, memory, packets, sprays.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use aya::Ebpf;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use tandem_datapath::{Datapath, Mode, Options, open};
use tandem_ebpf_abi::{Endpoint, FlowKey, FlowValue};
use tandem_media::flow::FlowCommand;
use tandem_netns::{Lab, Place};

#[path = "measure/punts.rs"]
mod punts;
#[path = "measure/spray.rs"]
mod spray;
#[path = "measure/wire.rs"]
mod wire;

/// The media address: not an address of the machine, so that the output of one session may be the input of the next.
const MEDIA: &str = "10.99.1.100";
const FIRST: u16 = 10_000;
const SESSIONS: [usize; 5] = [1, 1_000, 4_000, 8_000, 15_000];
/// Samples of each program, taken in turns, so that a slow moment of the machine meets all.
const ROUNDS: usize = 21;
const REPEAT: u32 = 200_000;
/// A link that is let go ends some time after the call, and the kernel tells nobody.
const UNLINKED: Duration = Duration::from_millis(300);

/// The file for rows of JSON, if there is one.
#[derive(Clone)]
struct Raw(Option<Arc<File>>);

impl Raw {
    fn row(&self, part: &str, name: &str, fields: &[(&str, f64)]) {
        let Some(mut file) = self.0.as_deref() else { return };
        let fields: String = fields.iter().map(|(key, value)| format!(",\"{key}\":{value:.3}")).collect();
        if let Err(error) = writeln!(file, "{{\"part\":\"{part}\",\"name\":\"{name}\"{fields}}}") {
            eprintln!("a row is not kept: {error}");
        }
    }
}

fn main() -> Result<()> {
    let folder =
        PathBuf::from(std::env::args().nth(1).context("measure OBJECTS (the folder with relay.o and bench.o)")?);
    let lab = Lab::up("tandem-measure")?;
    let bpffs = std::env::temp_dir().join("tandem-measure-bpffs");
    lab.ip(Place::Relay, &["neigh", "replace", MEDIA, "lladdr", "02:00:00:00:01:02", "nud", "permanent", "dev", "r0"])?;
    let part = std::env::args().nth(2).unwrap_or_else(|| "all".to_owned());
    let wanted = |name: &str| part == "all" || part == name;
    let file = std::env::args().nth(3).map(|path| File::options().create(true).append(true).open(path)).transpose()?;
    let raw = Raw(file.map(Arc::new));
    let result = (|| -> Result<()> {
        let (packets, scans) = (wanted("packet"), wanted("scan"));
        let (at, mount, rows) = (folder.clone(), bpffs.clone(), raw.clone());
        lab.at(Place::Relay, move || -> Result<()> {
            if packets {
                per_packet(&at, &mount, true, &rows)?;
                per_packet(&at, &mount, false, &rows)?;
            }
            if scans { scan(&at, &mount, &rows) } else { Ok(()) }
        })??;
        if wanted("veth") {
            wire::measure(&lab, &folder, &bpffs, &raw)?;
        }
        if wanted("rate") {
            wire::paced(&lab, &folder, &bpffs, &raw)?;
        }
        if wanted("punts") { punts::measure(&lab, &folder, &bpffs, &raw) } else { Ok(()) }
    })();
    let _ = Command::new("umount").arg(&bpffs).output();
    let _ = fs::remove_dir(&bpffs);
    result
}

fn options(folder: &Path, object: &str, bpffs: &Path) -> Result<Options> {
    let media: IpAddr = MEDIA.parse()?;
    let mut options = Options::new("measure", folder.join(object), &["r0"], &[media], FIRST..=39_999);
    options.bpffs = bpffs.to_owned();
    options.mode = Mode::Native;
    Ok(options)
}

/// A flow of session `n` of `order` whose packets go to the next one's port.
fn chained(order: &[u16], n: usize) -> Result<FlowCommand> {
    let next = order[(n + 1) % order.len()];
    let media = Endpoint::from(SocketAddr::new(MEDIA.parse()?, 0));
    let peer: SocketAddr = "10.99.1.2:4000".parse()?;
    let peer = Endpoint::from(peer);
    let value = FlowValue {
        source_ip: peer.ip,
        source_port: peer.port,
        out_source_ip: peer.ip,
        out_source_port: peer.port,
        out_dest_ip: media.ip,
        out_dest_port: next,
        rtcp_dest_ip: media.ip,
        rtcp_dest_port: next,
        family: 4,
        tos: 0xb8,
        dtmf_pt: 101,
        clock_hz: 8_000,
        policer_pps: u16::MAX,
        policer_burst: u16::MAX,
        version: 1,
        ..FlowValue::default()
    };
    Ok(FlowCommand::Install { key: FlowKey::new(0, order[n]), value })
}

fn remove(port: u16) -> FlowCommand {
    FlowCommand::Remove { key: FlowKey::new(0, port), reason: tandem_ebpf_abi::RemoveReason::CallEnded }
}

/// Ports in an order that no prefetcher foresees.
fn shuffled(count: usize) -> Vec<u16> {
    let mut ports: Vec<u16> = (0..count as u16).map(|n| FIRST + 2 * n).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    // The first one stays: the chain begins there.
    for last in (2..ports.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ports.swap(last, 1 + (state >> 33) as usize % last);
    }
    ports
}

fn frame(port: u16) -> Vec<u8> {
    let mut payload = vec![0x80, 8, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7];
    payload.resize(172, 0xd5);
    let mut frame = vec![2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2, 8, 0, 0x45, 0xb8];
    frame.extend((28 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 99, 1, 2, 10, 99, 1, 100]);
    let sum = frame[14..34].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame.extend(4000u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend((8 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    let check = !(folded(covered(&frame)) as u16);
    frame[40..42].copy_from_slice(&check.to_be_bytes());
    frame
}

/// Sum of what the UDP checksum of a frame covers.
fn covered(frame: &[u8]) -> u32 {
    let words = frame[26..].chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(*p.get(1).unwrap_or(&0)));
    words.sum::<u32>() + 17 + (frame.len() as u32 - 34)
}

fn folded(sum: u32) -> u32 {
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

fn sample(program: &Xdp, packet: &[u8], interface: u32) -> Result<(f64, u32)> {
    let mut context = [0u8; 24];
    context[4..8].copy_from_slice(&(packet.len() as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&interface.to_ne_bytes());
    let result = program.test_run(TestRunOptions {
        data_in: Some(packet),
        ctx_in: Some(&context),
        repeat: REPEAT,
        ..TestRunOptions::default()
    })?;
    Ok((result.duration.as_nanos() as f64, result.return_value))
}

fn per_packet(folder: &Path, bpffs: &Path, verify_udp: bool, raw: &Raw) -> Result<()> {
    let mut options = options(folder, "bench.o", bpffs)?;
    options.verify_udp = verify_udp;
    let opened = open(&options);
    let datapath = opened.datapath.with_context(|| format!("{:?}", opened.notices))?;
    let status = datapath.status();
    println!(
        "UDP checksums {}verified; {} instructions, {} looked at by the verifier",
        if verify_udp { "" } else { "not " },
        status.instructions,
        status.verified
    );
    let mut bench = Ebpf::load_file(folder.join("bench.o"))?;
    let bare: &mut Xdp = bench.program_mut("bare").context("no program `bare`")?.try_into()?;
    bare.load()?;
    let index = status.interfaces[0].index;
    for count in SESSIONS {
        let order = shuffled(count);
        for n in 0..count {
            datapath.apply(&chained(&order, n)?);
        }
        let mut packet = frame(order[0]);
        // Once around, so that every stream has begun.
        packet = datapath.time("r0", &packet, 4 * count as u32).map_err(|e| anyhow!("{e}"))?.0.frame;
        // One session alone gets more packets a second than any policer lets through, but not more at once.
        let repeat = if count == 1 { u32::from(u16::MAX) / 2 } else { REPEAT };
        let (mut relays, mut bares) = (Vec::new(), Vec::new());
        let before = datapath.totals().map_err(|e| anyhow!("{e}"))?;
        for _ in 0..ROUNDS {
            bares.push(sample(bare, &packet, index)?.0);
            if count == 1 {
                datapath.apply(&remove(order[0]));
                datapath.apply(&chained(&order, 0)?);
            }
            let (left, taken) = datapath.time("r0", &packet, repeat).map_err(|e| anyhow!("{e}"))?;
            packet = left.frame;
            relays.push(taken.as_nanos() as f64);
        }
        let after = datapath.totals().map_err(|e| anyhow!("{e}"))?;
        let forwarded = after.rtp_packets - before.rtp_packets;
        let express = after.express - before.express;
        let lookups = after.hop_lookups - before.hop_lookups;
        let (relay, bare_ns) = (low(&mut relays), low(&mut bares));
        let ratio = median(&relays) / median(&bares);
        println!(
            "{count:>6} sessions: relay {relay:.0} ns (median {:.0}), bare XDP_TX {bare_ns:.0} ns (median {:.0}), ratio of \
             the lowest {:.2}, of the medians {ratio:.2}; {forwarded} of {} forwarded, {express} the short way, {lookups} questions \
             for the way",
            median(&relays),
            median(&bares),
            relay / bare_ns,
            ROUNDS as u64 * u64::from(repeat),
        );
        let name = if verify_udp { "relay, UDP checksums verified" } else { "relay" };
        raw.row(
            "packet",
            name,
            &[
                ("sessions", count as f64),
                ("relay_ns", relay),
                ("relay_median_ns", median(&relays)),
                ("bare_ns", bare_ns),
                ("bare_median_ns", median(&bares)),
                ("forwarded", forwarded as f64),
                ("express", express as f64),
                ("instructions", f64::from(status.instructions)),
            ],
        );
        for port in order {
            datapath.apply(&remove(port));
        }
    }
    ended(datapath)
}

/// The link ends with its last user, and the next program needs the place.
fn ended(datapath: Datapath) -> Result<()> {
    datapath.detach().map_err(|e| anyhow!("{e}"))?;
    std::thread::sleep(UNLINKED);
    Ok(())
}

fn scan(folder: &Path, bpffs: &Path, raw: &Raw) -> Result<()> {
    let opened = open(&options(folder, "relay.o", bpffs)?);
    let datapath = opened.datapath.with_context(|| format!("{:?}", opened.notices))?;
    let order = shuffled(15_000);
    let mut installed = 0;
    for count in [1, 1_000, order.len()] {
        for n in installed..count {
            datapath.apply(&chained(&order, n)?);
        }
        installed = count;
        let mut taken = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let mut packets = 0;
            let found = datapath.scan(|_, counters| packets += counters.packets);
            taken.push(begun.elapsed().as_nanos() as f64 / 1e6);
            ensure!(found == count, "{found} of {count} flows found");
        }
        let (least, middle) = (low(&mut taken), median(&taken));
        println!("scan of {count} flows among 30,000 ports: {least:.3} ms (median {middle:.3})");
        raw.row("scan", "scan", &[("flows", count as f64), ("least_ms", least), ("median_ms", middle)]);
    }
    ended(datapath)
}

fn low(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[0]
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}
