//! Packets per second across veth: the kernel makes frames of 15,000 sessions in turn, they cross the wire, the relay (or a
//! reflector that only exchanges the link-layer addresses) sends them back, and a program at the sender's end counts them.
//! All three on one core, so that the figure holds everything.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use aya::Ebpf;
use aya::maps::Array;
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpMode;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};
use tandem_ebpf_abi::{Endpoint, FlowKey};
use tandem_media::flow::FlowCommand;
use tandem_netns::{Lab, Place};

use super::{chained, covered, ended, frame, options};

const SESSIONS: u32 = 15_000;
/// Frames in flight; the driver's ring holds 256.
const BATCH: u32 = 64;
/// Packets of a sample.
const PACKETS: u32 = 600_000;
const SAMPLES: usize = 9;
/// Ten packets of every session each 200 ms: 0.75 million a second. (A run of the generator costs the kernel milliseconds to
/// begin and end, whatever it sends.)
const ROUND: Duration = Duration::from_millis(200);
const ROUND_PACKETS: u32 = 10 * SESSIONS;
const ROUNDS: u32 = 25;
/// For what is still on the wire.
const SETTLE: Duration = Duration::from_millis(50);
/// Words of `Generator` in the object.
const WORDS: usize = 14;

pub(super) fn measure(lab: &Lab, folder: &Path, bpffs: &Path) -> Result<()> {
    // The reflector and both kinds of relay, one after the other, and that three times, so that a slow moment of the machine
    // meets all of them.
    for _ in 0..3 {
        let object = folder.join("bench.o");
        let link = lab.at(Place::Relay, move || -> Result<_> {
            let mut ebpf = Ebpf::load_file(object)?;
            let link = attach(&mut ebpf, "reflect", "r0")?;
            Ok((ebpf, link))
        })??;
        run(lab, folder, "reflector", None)?;
        drop(link);
        std::thread::sleep(super::UNLINKED);
        for verify_udp in [false, true] {
            let mut options = options(folder, "relay.o", bpffs)?;
            options.verify_udp = verify_udp;
            let opened = lab.at(Place::Relay, move || tandem_datapath::open(&options))?;
            let datapath = opened.datapath.with_context(|| format!("{:?}", opened.notices))?;
            let ports: Vec<u16> = (0..SESSIONS).map(|n| super::FIRST + 2 * n as u16).collect();
            let back = Endpoint::from("10.99.1.2:6000".parse::<std::net::SocketAddr>()?);
            let ours = Endpoint::from("10.99.1.100:10001".parse::<std::net::SocketAddr>()?);
            for n in 0..ports.len() {
                let FlowCommand::Install { key, mut value } = chained(&ports, n)? else { continue };
                (value.out_dest_ip, value.out_dest_port) = (back.ip, back.port);
                (value.out_source_ip, value.out_source_port) = (ours.ip, ours.port);
                datapath.apply(&FlowCommand::Install { key, value });
            }
            let name = if verify_udp { "relay, UDP checksums verified" } else { "relay" };
            run(lab, folder, name, Some(&datapath))?;
            let lost: u64 = ports
                .iter()
                .filter_map(|port| datapath.counters(FlowKey::new(0, *port)))
                .map(|counters| counters.lost + counters.duplicates + counters.reordered)
                .sum();
            let totals = datapath.totals().map_err(|e| anyhow!("{e}"))?;
            println!(
                "    the relay saw {lost} lost or out of order; {} of {} went the short way",
                totals.express, totals.rtp_packets
            );
            ended(datapath)?;
        }
    }
    Ok(())
}

fn attach(ebpf: &mut Ebpf, program: &str, interface: &str) -> Result<FdLink> {
    let program: &mut Xdp = ebpf.program_mut(program).with_context(|| format!("no program {program}"))?.try_into()?;
    program.load()?;
    let id = program.attach(interface, XdpMode::Driver)?;
    Ok(FdLink::try_from(program.take_link(id)?)?)
}

/// Samples at full speed, and for the relay a run at its real rate.
fn run(lab: &Lab, folder: &Path, name: &str, relay: Option<&tandem_datapath::Datapath>) -> Result<()> {
    let (object, name, real) = (folder.join("bench.o"), name.to_owned(), relay.is_some());
    lab.at(Place::A, move || -> Result<()> {
        let mut ebpf = Ebpf::load_file(object)?;
        let _sink = attach(&mut ebpf, "sink", "a0")?;
        let packet = frame(super::FIRST);
        prepare(&mut ebpf, &packet)?;
        let generator: &mut Xdp = ebpf.program_mut("generate").context("no program generate")?.try_into()?;
        generator.load()?;
        send(&ebpf, &packet, 4 * SESSIONS)?;
        std::thread::sleep(SETTLE);
        let mut rates = Vec::new();
        let (before, mut sent) = (sunk(&ebpf)?, 0);
        for _ in 0..SAMPLES {
            let begun = Instant::now();
            send(&ebpf, &packet, PACKETS)?;
            rates.push(f64::from(PACKETS) / begun.elapsed().as_secs_f64() / 1e6);
            sent += u64::from(PACKETS);
        }
        rates.sort_by(f64::total_cmp);
        println!(
            "{name}: best {:.2} Mpps, median {:.2}; {} of {sent} lost",
            rates[SAMPLES - 1],
            rates[SAMPLES / 2],
            lost(&ebpf, before, sent)?
        );
        if real {
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
            println!(
                "    at 15,000 x 50 a second: {sent} in {:.2} s ({:.2} Mpps), {} lost; the core was busy {:.0} % of the time, {late} of \
                 {ROUNDS} rounds began late",
                taken.as_secs_f64(),
                sent as f64 / taken.as_secs_f64() / 1e6,
                lost(&ebpf, before, sent)?,
                100.0 * busy.as_secs_f64() / taken.as_secs_f64(),
            );
        }
        Ok(())
    })?
}

/// Tells the generator what to send.
fn prepare(ebpf: &mut Ebpf, packet: &[u8]) -> Result<()> {
    // Destination port, sequence number and timestamp change; the rest of the sum does not.
    let mut fixed = packet.to_vec();
    for place in [36, 40, 44, 46, 48] {
        fixed[place..place + 2].fill(0);
    }
    let mut words = [0u32; WORDS];
    words[0] = SESSIONS;
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
