//! Real sockets on both ends, frames through veth: native and generic, upgrade and the death of the loader under load, and
//! an attacker. Counts are exact; nothing waits for a fixed time.

mod common;

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use socket2::SockRef;
use tandem_datapath::{Attached, Datapath, Mode, Notice, Refusal, open};
use tandem_ebpf_abi::{DropReason, FlowKey};
use tandem_netns::Place;

/// How long a packet may be on its way; only a lost one lets a test wait so long.
const PATIENCE: Duration = Duration::from_secs(5);
const CALLS: u16 = 50;

/// The sockets of a party.
fn party(scene: &Scene, place: Place, ip: &'static str, port: u16) -> UdpSocket {
    let socket = scene.lab.at(place, move || UdpSocket::bind((ip, port))).expect("the namespace").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // A frame that XDP lets pass takes a page of the buffer.
    SockRef::from(&socket).set_recv_buffer_size(8 << 20).expect("a buffer");
    socket
}

/// Both directions of `CALLS` calls between a (10.99.1.2:4000) and b (10.99.2.2:6000); call n has ports 10000 + 4n and + 2.
fn calls(datapath: &Datapath) {
    for n in 0..CALLS {
        let (near, far) = (10_000 + 4 * n, 10_002 + 4 * n);
        let there = flow("10.99.1.2:4000", &format!("10.99.1.1:{far}"), "10.99.2.2:6000");
        let back = flow("10.99.2.2:6000", &format!("10.99.1.1:{near}"), "10.99.1.2:4000");
        datapath.apply(&install(FlowKey::new(0, near), there));
        datapath.apply(&install(FlowKey::new(0, far), back));
    }
}

/// Sends `count` packets to the calls in turn; each must arrive, once, from the right port, before the next 32 go.
fn talk(from: &UdpSocket, to: &UdpSocket, first_port: u16, count: u32) {
    let mut buffer = [0; 2048];
    let mut sent = 0;
    while sent < count {
        let batch = 32.min(count - sent);
        for n in sent..sent + batch {
            let call = (n % u32::from(CALLS)) as u16;
            let packet = rtp(8, (n / u32::from(CALLS)) as u16, u32::from(call));
            from.send_to(&packet, ("10.99.1.1", first_port + 4 * call)).expect("sent");
        }
        for n in sent..sent + batch {
            let call = (n % u32::from(CALLS)) as u16;
            let (len, source) = to.recv_from(&mut buffer).unwrap_or_else(|e| panic!("packet {n} of {count}: {e}"));
            assert_eq!(buffer[..len], rtp(8, (n / u32::from(CALLS)) as u16, u32::from(call)), "packet {n}");
            assert_eq!(source.ip().to_string(), "10.99.1.1");
            assert_eq!(source.port() % 4, (first_port + 2) % 4, "from the other port of the call");
        }
        sent += batch;
    }
}

/// Nothing more is there.
fn silent(socket: &UdpSocket) {
    socket.set_nonblocking(true).expect("a mode");
    let error = socket.recv_from(&mut [0; 2048]).expect_err("a packet that nobody should have got");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    socket.set_nonblocking(false).expect("a mode");
}

#[test]
fn streams_go_both_ways_natively_and_generically() {
    for mode in [Mode::Native, Mode::Generic] {
        let Some(scene) = Scene::new() else { return };
        let _receivers = scene.lab.receive(&scene.object).expect("programs on the far ends");
        let datapath = scene.datapath(mode);
        let expected = if mode == Mode::Native { Attached::Native } else { Attached::Generic };
        assert!(datapath.status().interfaces.iter().all(|status| status.attached == expected));
        calls(&datapath);
        let a = party(&scene, Place::A, "10.99.1.2", 4000);
        // b sends to the address of the first network, which its default route leads to.
        let b = party(&scene, Place::B, "10.99.2.2", 6000);
        talk(&a, &b, 10_000, 2_000);
        talk(&b, &a, 10_002, 2_000);
        let totals = datapath.totals().expect("totals");
        assert_eq!((totals.rtp_packets, totals.rtp_bytes), (4_000, 4_000 * 172), "{mode:?}");
        let mut sum = 0;
        assert_eq!(datapath.scan(|_, counters| sum += counters.packets), 2 * usize::from(CALLS));
        assert_eq!(sum, totals.rtp_packets, "{mode:?}: the flows and the totals agree");
        let counters = datapath.counters(FlowKey::new(0, 10_000)).expect("a port");
        assert_eq!((counters.packets, counters.lost, counters.duplicates), (40, 0, 0));
        assert!(counters.last_us >= counters.first_us && counters.first_us > 0);
    }
}

#[test]
fn a_party_on_the_same_link_is_answered_on_it() {
    let Some(scene) = Scene::new() else { return };
    let _receivers = scene.lab.receive(&scene.object).expect("programs on the far ends");
    let datapath = scene.datapath(Mode::Native);
    let a = party(&scene, Place::A, "10.99.1.2", 4000);
    let other = party(&scene, Place::A, "10.99.1.2", 4002);
    datapath.apply(&install(FlowKey::new(0, 10_000), flow("10.99.1.2:4000", "10.99.1.1:10002", "10.99.1.2:4002")));
    for seq in 0..100 {
        a.send_to(&rtp(8, seq, 1), "10.99.1.1:10000").expect("sent");
        let mut buffer = [0; 2048];
        let (len, source) = other.recv_from(&mut buffer).expect("it arrives");
        assert_eq!((&buffer[..len], source), (&rtp(8, seq, 1)[..], address("10.99.1.1:10002")));
    }
    assert_eq!(datapath.totals().expect("totals").redirected, 0, "by XDP_TX");
}

#[test]
fn an_upgrade_under_load_loses_nothing() {
    let Some(scene) = Scene::new() else { return };
    let _receivers = scene.lab.receive(&scene.object).expect("programs on the far ends");
    let datapath = scene.datapath(Mode::Native);
    calls(&datapath);
    let first = datapath.status().program_id;
    let (a, b) = (party(&scene, Place::A, "10.99.1.2", 4000), party(&scene, Place::B, "10.99.2.2", 6000));
    let done = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&done);
    let talker = thread::spawn(move || {
        let mut packets = 0;
        while !stop.load(Ordering::Relaxed) {
            talk(&a, &b, 10_000, 500);
            packets += 500;
        }
        packets
    });
    for _ in 0..4 {
        datapath.upgrade(&scene.object).expect("the new program takes over");
    }
    // A file that is no program changes nothing.
    let wrong = datapath.upgrade(std::path::Path::new("/proc/self/cmdline"));
    assert!(matches!(wrong, Err(Refusal::ObjectInvalid { .. })), "{wrong:?}");
    done.store(true, Ordering::Relaxed);
    let packets: u64 = talker.join().expect("every packet arrived");
    assert_ne!(datapath.status().program_id, first);
    assert_eq!(datapath.totals().expect("totals").rtp_packets, packets, "counted on, none twice");
}

/// The loader as a process of its own: this test, called by itself, holds the fast path until it is killed.
#[test]
fn loader_in_a_process_of_its_own() {
    let Some(bpffs) = std::env::var_os("TANDEM_TEST_LOADER") else { return };
    let object = ready().expect("the parent looked");
    let addresses = ["10.99.1.1".parse().expect("an address"), "fd99:1::1".parse().expect("an address")];
    let mut options = tandem_datapath::Options::new("test", object, &["r0", "r1"], &addresses, PORTS);
    options.bpffs = bpffs.into();
    let opened = open(&options);
    let datapath = opened.datapath.expect("attached");
    calls(&datapath);
    println!("loaded");
    loop {
        thread::park();
    }
}

#[test]
fn streams_outlive_the_process_and_the_next_one_adopts_them() {
    let Some(scene) = Scene::new() else { return };
    let _receivers = scene.lab.receive(&scene.object).expect("programs on the far ends");
    // The file system must be there for both processes.
    drop(scene.datapath(Mode::Native));
    let mut loader = Command::new("ip")
        .args(["netns", "exec", &scene.lab.namespace(Place::Relay)])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "loader_in_a_process_of_its_own", "--nocapture"])
        .env("TANDEM_TEST_LOADER", &scene.bpffs)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut lines = BufReader::new(loader.stdout.take().expect("its output")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with("loaded"))), "the loader came up");
    let (a, b) = (party(&scene, Place::A, "10.99.1.2", 4000), party(&scene, Place::B, "10.99.2.2", 6000));
    talk(&a, &b, 10_000, 500);
    // `ip netns exec` becomes the program, so this is its number.
    loader.kill().expect("killed");
    loader.wait().expect("gone");
    talk(&a, &b, 10_000, 1_000);
    let options = scene.options(Mode::Native);
    let opened = scene.lab.at(Place::Relay, move || open(&options)).expect("the namespace");
    for notice in &opened.notices {
        assert!(matches!(notice, Notice::Attached { adopted: true, .. }), "{notice}");
    }
    let datapath = opened.datapath.expect("adopted");
    assert_eq!(datapath.flows().len(), 2 * usize::from(CALLS));
    assert_eq!(datapath.counters(FlowKey::new(0, 10_000)).expect("a port").packets, 30, "counted on");
    talk(&a, &b, 10_000, 500);
    assert_eq!(datapath.totals().expect("totals").rtp_packets, 2_000);
    // Other ports: the pinned maps do not fit, and are not thrown away by accident.
    let mut other = scene.options(Mode::Native);
    other.ports = 10_000..=19_999;
    let refused = scene.lab.at(Place::Relay, move || open(&other)).expect("the namespace");
    assert!(refused.datapath.is_none());
    let text = refused.notices.iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains("ports 10000-39999 where 10000-19999 are configured"), "{text}");
    talk(&a, &b, 10_000, 100);
    datapath.detach().expect("detached");
}

#[test]
fn an_attacker_on_all_ports_changes_no_stream_and_gets_no_packet() {
    let Some(scene) = Scene::new() else { return };
    let _receivers = scene.lab.receive(&scene.object).expect("programs on the far ends");
    let datapath = scene.datapath(Mode::Native);
    calls(&datapath);
    let (a, b) = (party(&scene, Place::A, "10.99.1.2", 4000), party(&scene, Place::B, "10.99.2.2", 6000));
    let attacker = party(&scene, Place::B, "10.99.2.2", 7777);
    talk(&a, &b, 10_000, 500);
    let before: Vec<_> = datapath.flows();
    // RTP Inject and RTP Bleed: RTP, RTCP, and with the SSRC of a stream that it has guessed, from a port of its own.
    for port in PORTS {
        for packet in [rtp(8, 1, 7), rtp(8, 1, u32::from(port % 50)), rtcp()] {
            attacker.send_to(&packet, ("10.99.1.1", port)).expect("sent");
        }
    }
    // What came after the spray has passed it: the same link, the same queue.
    talk(&b, &a, 10_002, 500);
    silent(&attacker);
    silent(&b);
    silent(&a);
    assert_eq!(datapath.flows(), before, "no flow changed");
    let totals = datapath.totals().expect("totals");
    assert_eq!(totals.rtp_packets, 1_000, "nothing of it was sent on");
    let dropped = |reason: DropReason| totals.drops[reason as usize];
    let calls = 2 * u64::from(CALLS);
    assert_eq!(dropped(DropReason::NoFlow), 3 * (30_000 - calls), "no ICMP either");
    assert_eq!(dropped(DropReason::SourceMismatch), 2 * calls);
    // The machine of b itself may send RTCP from another port once, and user space would be asked about it.
    let rtcp = dropped(DropReason::RtcpStray) + totals.punts[tandem_ebpf_abi::PuntReason::RtcpUnlatched as usize];
    assert_eq!(rtcp, calls);
}

#[test]
fn refusals_name_cause_and_cure() {
    let Some(scene) = Scene::new() else { return };
    let notices = |change: fn(&mut tandem_datapath::Options)| {
        let mut options = scene.options(Mode::Auto);
        change(&mut options);
        let opened = scene.lab.at(Place::Relay, move || open(&options)).expect("the namespace");
        (opened.datapath.is_some(), opened.notices.iter().map(|n| format!("{n}\n")).collect::<String>())
    };
    for (change, text) in [
        ((|o| o.mode = Mode::Off) as fn(&mut tandem_datapath::Options), "turned off"),
        (|o| o.interfaces.clear(), "no interface is named"),
        (|o| o.addresses.clear(), "0 media addresses"),
        (|o| o.object = "/nowhere/relay.o".into(), "cargo xtask ebpf"),
        (|o| o.object = "/proc/self/cmdline".into(), "is not the kernel program"),
        (|o| o.bpffs = "/proc/self/nowhere".into(), "mount -t bpf"),
        (|o| o.interfaces = vec!["nic9".to_owned()], "there is no interface nic9"),
    ] {
        let (served, said) = notices(change);
        assert!(!served && said.contains(text), "{text}: {said}");
    }
    // An MTU that native XDP does not take: generic instead, and why.
    scene.lab.ip(Place::Relay, &["link", "set", "r0", "mtu", "9000"]).expect("an MTU");
    scene.lab.ip(Place::A, &["link", "set", "a0", "mtu", "9000"]).expect("an MTU");
    let (served, said) = notices(|o| o.interfaces.truncate(1));
    assert!(served, "{said}");
    assert!(said.contains("r0: XDP generic") && said.contains("MTU of r0 (9000)"), "{said}");
    // Renamed, then down, then gone: each is said, and the others go on.
    let datapath = scene.lab.at(Place::Relay, {
        let options = scene.options(Mode::Auto);
        move || open(&options)
    });
    let datapath = Arc::new(datapath.expect("the namespace").datapath.expect("attached"));
    let check = || {
        let datapath = Arc::clone(&datapath);
        let notices = scene.lab.at(Place::Relay, move || datapath.check()).expect("the namespace");
        notices.iter().map(|n| format!("{n}\n")).collect::<String>()
    };
    assert_eq!(check(), "");
    scene.lab.ip(Place::Relay, &["link", "set", "r1", "down"]).expect("down");
    assert!(check().contains("r1: no XDP: the interface r1 is down"), "{}", check());
    scene.lab.ip(Place::Relay, &["link", "set", "r1", "name", "lan0"]).expect("renamed");
    assert!(check().contains("is called lan0 now"), "{}", check());
    scene.lab.ip(Place::Relay, &["link", "del", "lan0"]).expect("deleted");
    assert!(check().contains("there is no interface r1"), "{}", check());
}
