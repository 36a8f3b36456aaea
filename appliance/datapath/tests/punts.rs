//! One socket for all leased ports of a shard: real datagrams across veth, with and without the relay in the kernel before it.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{PORTS, Scene, address, frame, rtp};
use tandem_datapath::{Mode, PuntOptions, Punts, Refusal};
use tandem_ebpf_abi::{FlowKey, LEASE_SEEN_MAX, LEASE_SPAN_SHIFT};
use tandem_netns::{Place, kernel_program};
use tandem_ring::{BufferGroup, Completion, Ring, RingConfig, SocketId, UdpOptions};

/// Longer than a busy machine lets a datagram wait.
const PATIENCE: Duration = Duration::from_secs(10);
const V4: u8 = 0;
const V6: u8 = 1;

fn options(object: &Path, shards: u8) -> PuntOptions {
    let addresses = vec!["10.99.1.1".parse().expect("test"), "fd99:1::1".parse().expect("test")];
    PuntOptions { object: object.to_owned(), addresses, ports: PORTS, shards }
}

/// What came: which shard's socket it came to, where it had been sent.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    shard: u8,
    destination: SocketAddr,
    bytes: Vec<u8>,
}

/// The program with two shards, whose sockets one ring reads.
struct Shards {
    ring: Ring,
    punts: Punts,
}

impl Shards {
    fn new(object: &Path) -> Shards {
        let punts = Punts::attach(&options(object, 2)).expect("attached");
        let mut ring = Ring::new(RingConfig::default()).expect("a ring");
        for shard in 0..2 {
            let mut open = |address: &str| -> SocketId {
                let options = UdpOptions {
                    recv_buffer: 4 << 20,
                    tell_destination: true,
                    ..UdpOptions::new(address.parse().expect("test"))
                };
                ring.open_udp(u32::from(shard), &options, BufferGroup::Media).expect("a socket")
            };
            let (v4, v6) = (open("127.0.0.1:0"), open("[::1]:0"));
            let [v4, v6] = [v4, v6].map(|socket| ring.descriptor(socket).expect("open"));
            punts.join(shard, Some(v4), Some(v6)).expect("taken");
        }
        Shards { ring, punts }
    }

    /// What comes next.
    fn hear(&mut self) -> Heard {
        let begun = Instant::now();
        loop {
            if let Some(heard) = self.next() {
                return heard;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing came");
            self.ring.wait(Some(Duration::from_millis(100))).expect("wait");
        }
    }

    /// What is there.
    fn next(&mut self) -> Option<Heard> {
        while let Some(completion) = self.ring.next() {
            if let Completion::Datagram { token, buffer, .. } = completion {
                let destination = buffer.destination().expect("told");
                return Some(Heard { shard: token as u8, destination, bytes: buffer.to_vec() });
            }
        }
        None
    }
}

fn program() -> Option<PathBuf> {
    let object = kernel_program("punts.o")?;
    match tandem_ring::probe() {
        Ok(_) => Some(object),
        Err(missing) => {
            println!("skipped: {missing}");
            None
        }
    }
}

fn party(scene: &Scene, address: &str) -> UdpSocket {
    let socket = scene.lab.at(Place::A, || UdpSocket::bind(address)).expect("the namespace").expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

#[test]
fn leased_ports_go_to_their_shard_and_others_as_ever() {
    let (Some(object), Some(scene)) = (program(), Scene::new()) else { return };
    let clients = [party(&scene, "10.99.1.2:4000"), party(&scene, "[fd99:1::2]:4000")];
    let ours = ["10.99.1.1", "[fd99:1::1]"];
    let sent = |slot: u8, port: u16, text: &str| {
        let to = address(&format!("{}:{port}", ours[usize::from(slot)]));
        let done = clients[usize::from(slot)].send_to(text.as_bytes(), to);
        (to, done)
    };
    scene
        .lab
        .at(Place::Relay, || {
            let mut shards = Shards::new(&object);
            let last = *PORTS.end();
            // Neighbours, both ends of the range, the same port on both addresses.
            let leases =
                [(V4, 10_000, 0), (V4, 10_001, 1), (V4, 10_002, 0), (V4, last, 1), (V6, 10_000, 1), (V6, last, 0)];
            for (slot, port, shard) in leases {
                assert!(shards.punts.lease(FlowKey::new(slot, port), shard));
            }
            for (slot, port, shard) in leases {
                let text = format!("to {port} on {slot}");
                let (to, done) = sent(slot, port, &text);
                done.expect("sent");
                assert_eq!(shards.hear(), Heard { shard, destination: to, bytes: text.into_bytes() });
            }
            assert!(!shards.punts.lease(FlowKey::new(V4, 9_999), 0), "below the range");
            assert!(!shards.punts.lease(FlowKey::new(2, 10_000), 0), "no such address");
            // Of nobody: somebody else's socket gets it.
            let foreign = UdpSocket::bind("10.99.1.1:20000").expect("a socket");
            foreign.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            sent(V4, 20_000, "foreign").1.expect("sent");
            let mut bytes = [0; 100];
            let len = foreign.recv(&mut bytes).expect("heard");
            assert_eq!(&bytes[..len], b"foreign");
            // Given back, and leased by the other shard.
            shards.punts.release(FlowKey::new(V4, 10_000));
            assert!(shards.punts.lease(FlowKey::new(V4, 10_002), 1));
            sent(V4, 10_000, "nobody's").1.expect("sent");
            let (to, done) = sent(V4, 10_002, "the other's");
            // The port nobody has answers with ICMP, which a later call on the socket tells.
            if done.is_err() {
                sent(V4, 10_002, "the other's").1.expect("sent");
            }
            assert_eq!(shards.hear(), Heard { shard: 1, destination: to, bytes: b"the other's".to_vec() });
            // The program ends with its owner.
            drop(shards);
            let again = UdpSocket::bind("10.99.1.1:10002").expect("a socket");
            again.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            while sent(V4, 10_002, "again").1.is_err() {}
            let len = again.recv(&mut bytes).expect("heard");
            assert_eq!(&bytes[..len], b"again");
        })
        .expect("the namespace");
}

#[test]
fn a_flooded_port_takes_no_more_than_its_share() {
    const FLOOD: usize = 10_000;
    let (Some(object), Some(scene)) = (program(), Scene::new()) else { return };
    let client = party(&scene, "10.99.1.2:4000");
    scene
        .lab
        .at(Place::Relay, || {
            let mut shards = Shards::new(&object);
            for port in [10_000, 10_001] {
                shards.punts.lease(FlowKey::new(V4, port), 0);
            }
            let begun = Instant::now();
            let (mut flooded, mut others) = (0u64, 0);
            for n in 0..FLOOD {
                client.send_to(b"flood", "10.99.1.1:10000").expect("sent");
                // Now and then the other one, far below its share, and a turn of the shard.
                if n % 500 == 0 {
                    client.send_to(b"call", "10.99.1.1:10001").expect("sent");
                    while others <= n / 500 {
                        let heard = shards.hear();
                        flooded += u64::from(heard.destination.port() == 10_000);
                        others += usize::from(heard.destination.port() == 10_001);
                    }
                }
            }
            let spans = (begun.elapsed().as_nanos() >> LEASE_SPAN_SHIFT) as u64 + 2;
            while let Some(heard) = shards.next() {
                flooded += u64::from(heard.destination.port() == 10_000);
            }
            assert_eq!(others, FLOOD / 500, "the other port hears everything");
            assert!(flooded >= u64::from(LEASE_SEEN_MAX), "{flooded}");
            assert!(flooded <= spans * u64::from(LEASE_SEEN_MAX), "{flooded} in {spans} spans");
        })
        .expect("the namespace");
}

#[test]
fn the_relay_in_the_kernel_drops_what_has_no_lease_and_passes_the_rest() {
    let (Some(object), Some(scene)) = (program(), Scene::new()) else { return };
    let datapath = scene.datapath(Mode::Native);
    scene
        .lab
        .at(Place::Relay, || {
            let shards = Shards::new(&object);
            for (slot, frames) in [
                (V4, frame("10.99.1.2:4000", "10.99.1.1:10000", &rtp(8, 1, 7))),
                (V6, frame("[fd99:1::2]:4000", "[fd99:1::1]:10000", &rtp(8, 1, 7))),
            ] {
                // XDP_DROP and XDP_PASS.
                for (leased, action) in [(false, 1), (true, 2), (false, 1)] {
                    let key = FlowKey::new(slot, 10_000);
                    if leased {
                        shards.punts.lease(key, 1);
                    } else {
                        shards.punts.release(key);
                    }
                    let seen = datapath.simulate("r0", &frames).expect("run");
                    assert_eq!(seen.action, action, "slot {slot}, leased: {leased}");
                }
            }
        })
        .expect("the namespace");
}

#[test]
fn a_refusal_names_cause_and_cure() {
    let Some(object) = program() else { return };
    let refused = |change: fn(&mut PuntOptions)| {
        let mut options = options(&object, 1);
        change(&mut options);
        Punts::attach(&options).expect_err("refused")
    };
    let missing = refused(|options| options.object = "/nowhere/punts.o".into());
    assert!(
        matches!(missing, Refusal::ObjectMissing { .. }) && missing.cure().contains("cargo xtask ebpf"),
        "{missing}"
    );
    let nothing = refused(|options| options.addresses.clear());
    assert!(matches!(nothing, Refusal::Addresses { count: 0, .. }), "{nothing}");
    let other = refused(|options| options.object.set_file_name("steer.o"));
    assert!(matches!(other, Refusal::ObjectInvalid { .. }), "{other}");
}
