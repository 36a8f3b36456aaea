//! What the tests share: a place with the kernel program in it, and frames made by hand.
#![allow(dead_code)] // Each test file uses its part.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tandem_datapath::{Datapath, Mode, Notice, Options, open};
use tandem_ebpf_abi::{Endpoint, FlowKey, FlowValue};
use tandem_media::flow::FlowCommand;
use tandem_netns::{Lab, Place};

pub(crate) const PORTS: std::ops::RangeInclusive<u16> = 10_000..=39_999;

/// The kernel's program; nothing when this machine cannot run it, which is printed.
pub(crate) fn ready() -> Option<PathBuf> {
    tandem_netns::kernel_program("relay.o")
}

/// A lab with a bpf file system of its own.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) object: PathBuf,
    pub(crate) bpffs: PathBuf,
}

impl Scene {
    pub(crate) fn new() -> Option<Scene> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let object = ready()?;
        let name = format!("tt{}x{}", std::process::id() % 100_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let bpffs = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bpffs-{name}"));
        let lab = Lab::up(&name).expect("the namespaces come up");
        Some(Scene { lab, object, bpffs })
    }

    /// Options for the relay of this scene: both interfaces, one address of each family.
    pub(crate) fn options(&self, mode: Mode) -> Options {
        let addresses: [IpAddr; 2] = ["10.99.1.1".parse().unwrap(), "fd99:1::1".parse().unwrap()];
        let mut options = Options::new("test", self.object.clone(), &["r0", "r1"], &addresses, PORTS);
        options.mode = mode;
        options.bpffs = self.bpffs.clone();
        options
    }

    /// The fast path, attached in `mode` to both interfaces.
    pub(crate) fn datapath(&self, mode: Mode) -> Datapath {
        let options = self.options(mode);
        let opened = self.lab.at(Place::Relay, move || open(&options)).expect("the namespace is there");
        for notice in &opened.notices {
            assert!(matches!(notice, Notice::Attached { .. }), "{notice}");
        }
        opened.datapath.expect("attached")
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // It may not be mounted when a test ended early.
        let _ = Command::new("umount").arg(&self.bpffs).output();
        let _ = std::fs::remove_dir(&self.bpffs);
    }
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

/// A flow from `source` that leaves from `out` to `dest`.
pub(crate) fn flow(source: &str, out: &str, dest: &str) -> FlowValue {
    let (source, out, dest) =
        (Endpoint::from(address(source)), Endpoint::from(address(out)), Endpoint::from(address(dest)));
    FlowValue {
        source_ip: source.ip,
        source_port: source.port,
        out_source_ip: out.ip,
        out_source_port: out.port,
        out_dest_ip: dest.ip,
        out_dest_port: dest.port,
        family: if source.ip.is_v4() { 4 } else { 6 },
        tos: 0xb8,
        dtmf_pt: 101,
        clock_hz: 8_000,
        rtcp_dest_ip: dest.ip,
        rtcp_dest_port: dest.port + 1,
        version: 1,
        ..FlowValue::default()
    }
}

pub(crate) fn install(key: FlowKey, value: FlowValue) -> FlowCommand {
    FlowCommand::Install { key, value }
}

/// An RTP packet of 20 ms of G.711.
pub(crate) fn rtp(payload_type: u8, seq: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|n| n as u8 ^ seq as u8));
    packet
}

/// Where a section of an object file is (ELF64, little-endian).
pub(crate) fn section(object: &[u8], name: &str) -> std::ops::Range<usize> {
    let u64_at = |at: usize| u64::from_le_bytes(object[at..at + 8].try_into().unwrap()) as usize;
    let u32_at = |at: usize| u32::from_le_bytes(object[at..at + 4].try_into().unwrap()) as usize;
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([object[at], object[at + 1]]));
    let (headers, count, names) = (u64_at(0x28), u16_at(0x3c), u16_at(0x3e));
    let range = |n: usize| {
        let header = headers + 64 * n;
        u64_at(header + 24)..u64_at(header + 24) + u64_at(header + 32)
    };
    let found = (0..count).find(|n| {
        let at = range(names).start + u32_at(headers + 64 * n);
        object[at..].starts_with(name.as_bytes()) && object[at + name.len()] == 0
    });
    range(found.unwrap_or_else(|| panic!("no section {name}")))
}

/// An RTCP receiver report without blocks.
pub(crate) fn rtcp() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 0, 0, 0, 9]
}

fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            total += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// UDP header and payload with the right checksum.
fn datagram(source: SocketAddr, dest: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut udp = Vec::new();
    udp.extend(source.port().to_be_bytes());
    udp.extend(dest.port().to_be_bytes());
    udp.extend((8 + payload.len() as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let len = (udp.len() as u32).to_be_bytes();
    let check = match !sum(&[&octets(source.ip()), &octets(dest.ip()), &len, &[0, 0, 0, 17], &udp]) {
        0 => 0xffff,
        check => check,
    };
    udp[6..8].copy_from_slice(&check.to_be_bytes());
    udp
}

/// A whole frame, TTL 64, ToS 0.
pub(crate) fn frame(source: &str, dest: &str, payload: &[u8]) -> Vec<u8> {
    let (source, dest) = (address(source), address(dest));
    let udp = datagram(source, dest, payload);
    let mut frame = vec![2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2];
    if source.is_ipv4() {
        let mut ip = vec![0x45, 0];
        ip.extend((20 + udp.len() as u16).to_be_bytes());
        ip.extend([0x12, 0x34, 0x40, 0, 64, 17, 0, 0]);
        ip.extend(octets(source.ip()));
        ip.extend(octets(dest.ip()));
        frame.extend([8, 0]);
        frame.extend(ip);
        right_header(&mut frame);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((udp.len() as u16).to_be_bytes());
        frame.extend([17, 64]);
        frame.extend(octets(source.ip()));
        frame.extend(octets(dest.ip()));
    }
    frame.extend(udp);
    frame
}

/// Makes the IPv4 header of an untagged frame add up again.
pub(crate) fn right_header(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let check = !sum(&[&frame[14..14 + usize::from(frame[14] & 15) * 4]]);
    frame[24..26].copy_from_slice(&check.to_be_bytes());
}

/// With a VLAN tag.
pub(crate) fn tagged(mut frame: Vec<u8>, vlan: u16) -> Vec<u8> {
    let [high, low] = vlan.to_be_bytes();
    frame.splice(12..12, [0x81, 0, high, low]);
    frame
}

/// Both checksums of a frame, from scratch.
pub(crate) fn assert_checksums(bytes: &[u8]) {
    let frame = tandem_forward::frame::parse(bytes).expect("a frame that can be read");
    let udp = &bytes[frame.udp..frame.payload + frame.payload_len];
    let (source, dest) = (octets(frame.source.ip.into()), octets(frame.dest.ip.into()));
    let len = (udp.len() as u32).to_be_bytes();
    if frame.version == tandem_forward::frame::Version::V4 {
        assert_eq!(sum(&[&bytes[frame.ip..frame.udp]]), 0xffff, "IPv4 header");
    }
    if udp[6..8] != [0, 0] {
        assert_eq!(sum(&[&source, &dest, &len, &[0, 0, 0, 17], udp]), 0xffff, "UDP checksum");
    }
}

/// Whether the UDP checksum of a frame is right, from scratch.
pub(crate) fn checksum_is_right(bytes: &[u8]) -> bool {
    let frame = tandem_forward::frame::parse(bytes).expect("a frame that can be read");
    tandem_forward::checksum::udp_is_right(bytes, &frame)
}

/// Microseconds of the clock that the kernel program uses.
pub(crate) fn now_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}
