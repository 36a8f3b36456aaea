//! A spray over the whole range of ports: what a packet costs that nobody waits for, and what one flooded port does to the
//! others.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use tandem_datapath::open;
use tandem_netns::{Lab, Place};

use super::punts::{SHARED_BUFFER, Shard, Way, party, port};
use super::{FIRST, Raw, ended, frame, low, median, options, wire};

/// Samples of each way, in turns.
const ROUNDS: usize = 9;
/// Ports that the generator sends to, every second one.
const SPRAYED: usize = 15_000;
/// Packets of a sample.
const PACKETS: u32 = 300_000;
/// Runs of the program on one frame.
const REPEAT: u32 = 200_000;
/// Packets of the stream that is looked at, in a flood of this many between two turns of the shard.
const STREAM: usize = 20;
const FLOODS: [usize; 4] = [500, 2_000, 5_000, 20_000];

pub(super) fn measure(lab: &Lab, folder: &Path, bpffs: &Path, raw: &Raw) -> Result<()> {
    stack(lab, folder, raw)?;
    program(lab, folder, bpffs, raw)?;
    flood(lab, folder, raw)
}

/// Without a relay in the kernel: the stack looks for a receiver of each packet.
fn stack(lab: &Lab, folder: &Path, raw: &Raw) -> Result<()> {
    let _pass = lab.occupy(Place::Relay, "r0", &folder.join("relay.o"))?;
    let offer = wire::Offer::new(lab, folder)?;
    for leased in [0, SPRAYED] {
        let mut taken = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (way, samples) in Way::ALL.into_iter().zip(&mut taken) {
                let time = lab.at(Place::Relay, || -> Result<f64> {
                    let mut shard = Shard::new(way, folder, SHARED_BUFFER)?;
                    for n in 0..leased {
                        shard.open(port(2 * n))?;
                    }
                    // Nobody empties the queues meanwhile.
                    offer.send(lab, PACKETS)
                })??;
                samples.push(time);
            }
        }
        for (way, samples) in Way::ALL.into_iter().zip(&mut taken) {
            let (least, middle) = (low(samples), median(samples));
            println!(
                "spray, {leased} ports leased, nobody reads, {}: {least:.0} ns a packet (median {middle:.0})",
                way.name()
            );
            raw.row(
                "punts-spray",
                way.name(),
                &[("leased", leased as f64), ("least_ns", least), ("median_ns", middle)],
            );
        }
    }
    Ok(())
}

/// With the relay in the kernel: it asks for a receiver of what has no flow.
fn program(lab: &Lab, folder: &Path, bpffs: &Path, raw: &Raw) -> Result<()> {
    let mut rows: Vec<(String, Vec<f64>, u32)> = Vec::new();
    for _ in 0..3 {
        for way in Way::ALL {
            for leased in [false, true] {
                let (times, action) = lab.at(Place::Relay, || -> Result<_> {
                    let opened = open(&options(folder, "relay.o", bpffs)?);
                    let datapath = opened.datapath.with_context(|| format!("{:?}", opened.notices))?;
                    let mut shard = Shard::new(way, folder, SHARED_BUFFER)?;
                    if leased {
                        shard.open(FIRST)?;
                    }
                    let packet = frame(FIRST);
                    let mut times = Vec::new();
                    let mut action = 0;
                    for _ in 0..ROUNDS {
                        let (left, time) = datapath.time("r0", &packet, REPEAT).map_err(|e| anyhow!("{e}"))?;
                        times.push(time.as_nanos() as f64);
                        action = left.action;
                    }
                    ended(datapath)?;
                    Ok((times, action))
                })??;
                let name = format!("{}, port {}", way.name(), if leased { "leased" } else { "not leased" });
                match rows.iter_mut().find(|row| row.0 == name) {
                    Some(row) => row.1.extend(times),
                    None => rows.push((name, times, action)),
                }
            }
        }
    }
    for (name, mut times, action) in rows {
        let (least, middle) = (low(&mut times), median(&times));
        println!("relay in the kernel, no flow, {name}: {least:.0} ns (median {middle:.0}), XDP action {action}");
        raw.row("punts-program", &name, &[("least_ns", least), ("median_ns", middle), ("action", f64::from(action))]);
    }
    Ok(())
}

/// One leased port is flooded between two turns of the shard: what is left of another one's stream?
fn flood(lab: &Lab, folder: &Path, raw: &Raw) -> Result<()> {
    let (sender, sink) = party(lab)?;
    let to = "10.99.1.2:6000".parse()?;
    let (victim, flooded) = (port(0), port(100));
    for buffer in [212_992, SHARED_BUFFER] {
        for flood in FLOODS {
            for way in Way::ALL {
                let (sender, sink) = (&sender, &sink);
                let (heard, taken) = lab.at(Place::Relay, || -> Result<_> {
                    let mut shard = Shard::new(way, folder, buffer)?;
                    for port in [victim, victim ^ 1, flooded, flooded ^ 1] {
                        shard.open(port)?;
                    }
                    shard.turn()?;
                    for n in 0..flood {
                        sender.send_to(&[0xd5; 172], (super::MEDIA, flooded))?;
                        if n % (flood / STREAM) == 0 {
                            sender.send_to(&[0xd5; 172], (super::MEDIA, victim))?;
                        }
                    }
                    let begun = Instant::now();
                    let (mut heard, mut idle) = (0, 0);
                    while idle < 3 {
                        let relayed = shard.relay(to, |port| heard += usize::from(port == victim))?;
                        idle = if relayed == 0 { idle + 1 } else { 0 };
                    }
                    Ok((heard, begun.elapsed()))
                })??;
                let mut bytes = [0; 2_048];
                while sink.recv(&mut bytes).is_ok() {}
                println!(
                    "{flood} packets to another port between two turns, {} (buffer {buffer}): {heard} of {STREAM} heard, {:.2} ms",
                    way.name(),
                    taken.as_secs_f64() * 1e3
                );
                raw.row(
                    "punts-flood",
                    way.name(),
                    &[
                        ("flood", flood as f64),
                        ("buffer", buffer as f64),
                        ("sent", STREAM as f64),
                        ("heard", heard as f64),
                    ],
                );
            }
        }
    }
    Ok(())
}
