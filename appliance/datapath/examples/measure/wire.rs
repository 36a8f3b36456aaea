//! Packets across veth: the kernel makes frames of sessions in turn, they cross the wire, the relay (or a reflector that only
//! exchanges the link-layer addresses) sends them back, and a program at the sender's end counts them. All three on one core,
//! so that the figure holds everything; the kernel's own statistics say which program took what of it.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::maps::Array;
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpMode;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, loaded_programs};
use aya::sys::{Stats, enable_stats};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};
use tandem_datapath::Datapath;
use tandem_ebpf_abi::{Endpoint, FlowKey};
use tandem_media::flow::FlowCommand;
use tandem_netns::{Lab, Place};

use super::{Raw, chained, covered, ended, frame, options};

const SESSIONS: u32 = 15_000;
const COUNTS: [u32; 5] = [1, 1_000, 4_000, 8_000, SESSIONS];
/// Frames in flight; the driver's ring holds 256.
const BATCH: u32 = 64;
/// Packets of a sample.
const PACKETS: u32 = 600_000;
const SAMPLES: usize = 5;
/// Further ones with the kernel's statistics on, which cost some time themselves.
const STATISTICS: u32 = 2;
/// Reflector and both kinds of relay one after the other, that often, so that a slow moment of the machine meets all of them.
const TURNS: u32 = 2;
/// Ten packets of every session each 200 ms: 0.75 million a second. (A run of the generator costs the kernel milliseconds to
/// begin and end, whatever it sends.)
const ROUND: Duration = Duration::from_millis(200);
const ROUND_PACKETS: u32 = 10 * SESSIONS;
const ROUNDS: u32 = 25;
/// Runs at the real rate.
const RUNS: u32 = 5;
/// For what is still on the wire.
const SETTLE: Duration = Duration::from_millis(50);
/// Words of `Generator` in the object.
const WORDS: usize = 14;

/// How long a packet takes, by number of sessions.
pub(super) fn measure(lab: &Lab, folder: &Path, bpffs: &Path, raw: &Raw) -> Result<()> {
    for _ in 0..TURNS {
        let object = folder.join("bench.o");
        let (ebpf, link) = lab.at(Place::Relay, move || -> Result<_> {
            let mut ebpf = Ebpf::load_file(object)?;
            let link = attach(&mut ebpf, "reflect", "r0")?;
            Ok((ebpf, link))
        })??;
        let program: &Xdp = ebpf.program("reflect").context("no program reflect")?.try_into()?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        for count in COUNTS {
            samples(lab, folder, "reflector", count, &program, raw)?;
        }
        drop((link, ebpf));
        std::thread::sleep(super::UNLINKED);
        for verify_udp in [false, true] {
            let datapath = relay(lab, folder, bpffs, verify_udp)?;
            let id = datapath.status().program_id;
            let program =
                loaded_programs().flatten().find(|program| program.id() == id).context("the relay is gone")?;
            let program = program.fd()?.as_fd().try_clone_to_owned()?;
            for count in COUNTS {
                // Streams begin anew, as the generator does. One alone is more packets a second than any policer lets through.
                install(&datapath, count, count > 1)?;
                samples(lab, folder, name(verify_udp), count, &program, raw)?;
            }
            ended(datapath)?;
        }
    }
    Ok(())
}

/// All sessions at their real rate.
pub(super) fn paced(lab: &Lab, folder: &Path, bpffs: &Path, raw: &Raw) -> Result<()> {
    for run in 1..=RUNS {
        for verify_udp in [true, false] {
            let datapath = relay(lab, folder, bpffs, verify_udp)?;
            let (folder, raw, name) = (folder.to_owned(), raw.clone(), name(verify_udp));
            lab.at(Place::A, move || real_rate(&folder, run, name, &raw))??;
            report(&datapath)?;
            ended(datapath)?;
        }
    }
    Ok(())
}

fn name(verify_udp: bool) -> &'static str {
    if verify_udp { "relay, UDP checksums verified" } else { "relay" }
}

/// The relay with a flow for each session.
fn relay(lab: &Lab, folder: &Path, bpffs: &Path, verify_udp: bool) -> Result<Datapath> {
    let mut options = options(folder, "relay.o", bpffs)?;
    options.verify_udp = verify_udp;
    let opened = lab.at(Place::Relay, move || tandem_datapath::open(&options))?;
    let datapath = opened.datapath.with_context(|| format!("{:?}", opened.notices))?;
    install(&datapath, SESSIONS, true)?;
    Ok(datapath)
}

fn ports(count: u32) -> Vec<u16> {
    (0..count).map(|n| super::FIRST + 2 * n as u16).collect()
}

fn install(datapath: &Datapath, count: u32, policed: bool) -> Result<()> {
    let ports = ports(count);
    let back = Endpoint::from("10.99.1.2:6000".parse::<std::net::SocketAddr>()?);
    let ours = Endpoint::from("10.99.1.100:10001".parse::<std::net::SocketAddr>()?);
    for (n, port) in ports.iter().enumerate() {
        let FlowCommand::Install { key, mut value } = chained(&ports, n)? else { continue };
        (value.out_dest_ip, value.out_dest_port) = (back.ip, back.port);
        (value.out_source_ip, value.out_source_port) = (ours.ip, ours.port);
        if !policed {
            (value.policer_pps, value.policer_burst) = (0, 0);
        }
        datapath.apply(&super::remove(*port));
        datapath.apply(&FlowCommand::Install { key, value });
    }
    Ok(())
}

/// What the relay itself says.
fn report(datapath: &Datapath) -> Result<()> {
    let counters = ports(SESSIONS).into_iter().filter_map(|port| datapath.counters(FlowKey::new(0, port)));
    let lost: u64 = counters.map(|counters| counters.lost + counters.duplicates + counters.reordered).sum();
    let totals = datapath.totals().map_err(|e| anyhow!("{e}"))?;
    println!(
        "    the relay saw {lost} lost or out of order; {} of {} went the short way",
        totals.express, totals.rtp_packets
    );
    Ok(())
}

fn attach(ebpf: &mut Ebpf, program: &str, interface: &str) -> Result<FdLink> {
    let program: &mut Xdp = ebpf.program_mut(program).with_context(|| format!("no program {program}"))?.try_into()?;
    program.load()?;
    let id = program.attach(interface, XdpMode::Driver)?;
    Ok(FdLink::try_from(program.take_link(id)?)?)
}

/// The generator and the sink at the sender's end.
fn sender(folder: &Path, sessions: u32) -> Result<(Ebpf, FdLink, Vec<u8>)> {
    let mut ebpf = Ebpf::load_file(folder.join("bench.o"))?;
    let sink = attach(&mut ebpf, "sink", "a0")?;
    let packet = frame(super::FIRST);
    prepare(&mut ebpf, &packet, sessions)?;
    let generator: &mut Xdp = ebpf.program_mut("generate").context("no program generate")?.try_into()?;
    generator.load()?;
    send(&ebpf, &packet, 4 * SESSIONS)?;
    std::thread::sleep(SETTLE);
    Ok((ebpf, sink, packet))
}

/// Samples at full speed, `middle` being the program between the two at the sender's end.
fn samples(lab: &Lab, folder: &Path, name: &str, count: u32, middle: &OwnedFd, raw: &Raw) -> Result<()> {
    let (folder, name, raw, middle) = (folder.to_owned(), name.to_owned(), raw.clone(), middle.try_clone()?);
    lab.at(Place::A, move || -> Result<()> {
        let (ebpf, _sink, packet) = sender(&folder, count)?;
        let mut taken = Vec::new();
        let (before, mut sent) = (sunk(&ebpf)?, 0);
        for _ in 0..SAMPLES {
            let begun = Instant::now();
            send(&ebpf, &packet, PACKETS)?;
            taken.push(begun.elapsed().as_nanos() as f64 / f64::from(PACKETS));
            sent += u64::from(PACKETS);
        }
        taken.sort_by(f64::total_cmp);
        let lost = lost(&ebpf, before, sent)?;
        let own = |name: &str| -> Result<OwnedFd> {
            let program: &Xdp = ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?;
            Ok(program.fd()?.as_fd().try_clone_to_owned()?)
        };
        let programs = [own("generate")?, middle, own("sink")?];
        let statistics = enable_stats(Stats::RunTime)?;
        let spent = || programs.iter().map(spent).collect::<Result<Vec<_>>>();
        let (begun, start) = (Instant::now(), spent()?);
        for _ in 0..STATISTICS {
            send(&ebpf, &packet, PACKETS)?;
        }
        let whole = begun.elapsed().as_nanos() as f64 / f64::from(STATISTICS * PACKETS);
        let end = spent()?;
        drop(statistics);
        let parts: Vec<f64> = start
            .iter()
            .zip(&end)
            .map(|(before, after)| (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64)
            .collect();
        let (best, middle, rest) = (taken[0], taken[SAMPLES / 2], whole - parts.iter().sum::<f64>());
        println!(
            "{name}, {count} sessions: best {best:.0} ns a packet ({:.2} Mpps), median {middle:.0}; {lost} of {sent} lost; with \
             statistics {whole:.0} ns: generator {:.0}, program {:.0}, sink {:.0}, the rest {rest:.0}",
            1e3 / best,
            parts[0],
            parts[1],
            parts[2],
        );
        raw.row("veth", &name, &[
            ("sessions", f64::from(count)),
            ("best_ns", best),
            ("median_ns", middle),
            ("sent", sent as f64),
            ("lost", lost as f64),
            ("with_statistics_ns", whole),
            ("generator_ns", parts[0]),
            ("program_ns", parts[1]),
            ("sink_ns", parts[2]),
        ]);
        Ok(())
    })?
}

/// The generator with all sessions, whatever becomes of what it sends.
pub(super) struct Offer {
    ebpf: Ebpf,
    _sink: FdLink,
    packet: Vec<u8>,
}

impl Offer {
    pub(super) fn new(lab: &Lab, folder: &Path) -> Result<Offer> {
        let (ebpf, sink, packet) = lab.at(Place::A, || sender(folder, SESSIONS))??;
        Ok(Offer { ebpf, _sink: sink, packet })
    }

    /// Sends so many packets; how long one took, in ns.
    pub(super) fn send(&self, lab: &Lab, count: u32) -> Result<f64> {
        lab.at(Place::A, || {
            let begun = Instant::now();
            send(&self.ebpf, &self.packet, count)?;
            Ok(begun.elapsed().as_nanos() as f64 / f64::from(count))
        })?
    }
}

/// Time that a program took so far and how often it ran, while statistics are on: what the kernel says of its descriptor.
fn spent(program: &OwnedFd) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd()))?;
    let value = |key: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key} {text}"))?;
        Ok(line.trim().parse()?)
    };
    Ok((value("run_time_ns:")?, value("run_cnt:")?))
}

fn real_rate(folder: &Path, run: u32, name: &str, raw: &Raw) -> Result<()> {
    let (ebpf, _sink, packet) = sender(folder, SESSIONS)?;
    let (before, begun, mut busy, mut late) = (sunk(&ebpf)?, Instant::now(), Duration::ZERO, 0);
    for round in 0..ROUNDS {
        let due = begun + ROUND * round;
        match due.checked_duration_since(Instant::now()) {
            Some(wait) => std::thread::sleep(wait),
            None => late += 1,
        }
        let start = Instant::now();
        send(&ebpf, &packet, ROUND_PACKETS)?;
        busy += start.elapsed();
    }
    let taken = begun.elapsed();
    let sent = u64::from(ROUND_PACKETS * ROUNDS);
    let (lost, rate) = (lost(&ebpf, before, sent)?, sent as f64 / taken.as_secs_f64() / 1e6);
    let share = busy.as_secs_f64() / taken.as_secs_f64();
    println!(
        "run {run}, {name}, 15,000 x 50 a second: {sent} in {:.2} s ({rate:.3} Mpps), {lost} lost; the core was busy {:.0} % of the \
         time, {late} of {ROUNDS} rounds began late",
        taken.as_secs_f64(),
        100.0 * share,
    );
    raw.row(
        "rate",
        name,
        &[
            ("run", f64::from(run)),
            ("sent", sent as f64),
            ("seconds", taken.as_secs_f64()),
            ("lost", lost as f64),
            ("busy_share", share),
            ("late_rounds", f64::from(late)),
        ],
    );
    Ok(())
}

/// Tells the generator what to send.
fn prepare(ebpf: &mut Ebpf, packet: &[u8], sessions: u32) -> Result<()> {
    // Destination port, sequence number and timestamp change; the rest of the sum does not.
    let mut fixed = packet.to_vec();
    for place in [36, 40, 44, 46, 48] {
        fixed[place..place + 2].fill(0);
    }
    let mut words = [0u32; WORDS];
    words[0] = sessions;
    words[4] = covered(&fixed);
    for (word, bytes) in words[5..13].iter_mut().zip(packet.chunks(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words[13] = packet.len() as u32 - 34;
    let mut map: Array<_, [u32; WORDS]> = ebpf.map_mut("GENERATOR").context("no map GENERATOR")?.try_into()?;
    Ok(map.set(0, words, 0)?)
}

fn sunk(ebpf: &Ebpf) -> Result<u64> {
    let map: Array<_, u64> = ebpf.map("SUNK").context("no map SUNK")?.try_into()?;
    Ok(map.get(&0, 0)?)
}

/// Packets that did not come back since there were `before`.
fn lost(ebpf: &Ebpf, before: u64, sent: u64) -> Result<i64> {
    std::thread::sleep(SETTLE);
    Ok(sent.cast_signed() - sunk(ebpf)?.wrapping_sub(before).cast_signed())
}

fn send(ebpf: &Ebpf, packet: &[u8], count: u32) -> Result<()> {
    let generator: &Xdp = ebpf.program("generate").context("no program generate")?.try_into()?;
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let index = name_to_index(&socket, "a0")?;
    let mut context = [0u8; 24];
    context[4..8].copy_from_slice(&(packet.len() as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&index.to_ne_bytes());
    generator.test_run(TestRunOptions {
        data_in: Some(packet),
        ctx_in: Some(&context),
        repeat: count,
        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
        ..TestRunOptions::default()
    })?;
    Ok(())
}
