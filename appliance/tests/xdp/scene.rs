//! A switch in a namespace, its customer and its vendor in two others, and streams between them.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tandem_netns::{Lab, Place, Receiver};

use crate::common::{Net, Plan, Switch, until};
use crate::peer::{Peer, Stage};

/// Between two packets of a stream: half of what speech has, well below the policer's 200 a second.
const PTIME: Duration = Duration::from_millis(10);
/// Bytes of audio in a packet.
const AUDIO: usize = 80;
/// How long the last packets may be on their way.
const TAIL: Duration = Duration::from_millis(500);

/// The kernel's program; nothing when this machine cannot run it, which is printed.
pub(crate) fn object() -> Option<PathBuf> {
    tandem_netns::kernel_program("relay.o")
}

/// Everything together; gone with the test.
pub(crate) struct Scene {
    pub(crate) switch: Switch,
    customer: Arc<Peer>,
    vendor: Arc<Peer>,
    bpffs: PathBuf,
    _receivers: Vec<Receiver>,
    lab: Lab,
}

impl Scene {
    /// A switch with the fast path on both links; `more` are further lines of `[media]`.
    #[track_caller]
    pub(crate) fn new(interfaces: &[&str], more: &str) -> Option<Scene> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let object = object()?;
        let name = format!("tx{}x{}", std::process::id() % 100_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let bpffs = std::env::temp_dir().join(format!("bpffs-{name}"));
        let lab = Lab::up(&name).expect("the namespaces come up");
        let receivers = lab.receive(&object).expect("programs on the far ends");
        let file = if more.contains("xdp_object") { String::new() } else { format!("xdp_object = {object:?}\n") };
        let media = format!("interfaces = {interfaces:?}\nbpffs = {bpffs:?}\n{file}{more}");
        let net = Net::of_lab();
        let plan = Plan { media, ..Plan::default() };
        let namespace = format!("--net=/run/netns/{}", lab.namespace(Place::Relay));
        let switch = Switch::start_at(&plan, net, |_| vec!["nsenter".to_owned(), namespace]);
        let party = |place, address: SocketAddr| {
            let sip = net.sip();
            Arc::new(lab.at(place, move || Peer::new(address, sip)).expect("a party in its namespace"))
        };
        let customer = party(Place::A, (net.customer(), 5060).into());
        let vendor = party(Place::B, net.vendor(1));
        Some(Scene { switch, customer, vendor, bpffs, _receivers: receivers, lab })
    }

    /// A call that both sides have, with its streams running.
    #[track_caller]
    pub(crate) fn call(&self, number: &str) -> Talk {
        let (customer, called) = (self.customer.clone(), number.to_owned());
        self.lab.at(Place::A, move || customer.connect(&called)).expect("a call");
        let here = self.customer.once(number, |dialog| dialog.stage == Stage::Talking);
        let there = self.vendor.once(number, |dialog| dialog.stage == Stage::Talking);
        Talk::start([
            (here.rtp.clone(), here.media.expect("media of the switch")),
            (there.rtp.clone(), there.media.expect("media of the switch")),
        ])
    }

    /// The caller hangs up, and both sides see the end.
    #[track_caller]
    pub(crate) fn hang_up(&self, number: &str) {
        self.customer.hang_up(number);
        self.customer.once(number, |dialog| dialog.stage == Stage::Ended);
        self.vendor.once(number, |dialog| dialog.stage == Stage::Ended);
    }

    /// A counter of `tandem status`.
    #[track_caller]
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.switch.json(&["status"])["counters"][name].as_u64().unwrap_or(0)
    }

    /// Runs `ip` at the switch.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        self.lab.ip(Place::Relay, arguments).expect("ip");
    }

    /// Where the pins are.
    pub(crate) fn pins(&self) -> PathBuf {
        self.bpffs.join("tandem-test")
    }

    /// Waits until the answered calls can go on after a kill.
    #[track_caller]
    pub(crate) fn written_down(&self) {
        until("every call has its first heartbeat", || {
            let status = self.switch.json(&["status"]);
            (status["calls_talking"] != 0 && status["counters"]["calls_first_heartbeat_due"] == 0).then_some(())
        });
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.switch.kill();
        }
        // Nobody may have mounted it.
        let _ = Command::new("umount").arg("-l").arg(&self.bpffs).output();
        let _ = std::fs::remove_dir(&self.bpffs);
    }
}

/// Both streams of a call; every packet that is sent is counted where it arrives.
pub(crate) struct Talk {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    thread: JoinHandle<Heard>,
}

/// What came of it: of each direction how many were sent and how many arrived, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) sent: u32,
    pub(crate) arrived: [u32; 2],
}

impl Talk {
    fn start(ends: [(Arc<UdpSocket>, SocketAddr); 2]) -> Talk {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = thread::spawn(move || {
            let mut seen = [vec![false; 1 << 16], vec![false; 1 << 16]];
            let mut sequence = 0u16;
            let mut due = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                sequence += 1;
                for (n, (socket, to)) in ends.iter().enumerate() {
                    socket.send_to(&packet(sequence, n as u8), to).expect("a packet is sent");
                }
                count.store(u32::from(sequence), Ordering::Relaxed);
                take(&ends, &mut seen);
                due += PTIME;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let arrived =
                |seen: &[Vec<bool>; 2]| [0, 1].map(|n: usize| seen[n].iter().filter(|seen| **seen).count() as u32);
            let end = Instant::now() + TAIL;
            while arrived(&seen) != [u32::from(sequence); 2] && Instant::now() < end {
                take(&ends, &mut seen);
                thread::sleep(Duration::from_millis(1));
            }
            Heard { sent: u32::from(sequence), arrived: arrived(&seen) }
        });
        Talk { stop, sent, thread }
    }

    /// Waits until another `packets` were sent in each direction.
    #[track_caller]
    pub(crate) fn go_on(&self, packets: u32) {
        let wanted = self.sent.load(Ordering::Relaxed) + packets;
        until("the streams go on", || (self.sent.load(Ordering::Relaxed) >= wanted).then_some(()));
    }

    /// Ends both streams.
    #[track_caller]
    pub(crate) fn stop(self) -> Heard {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the streams")
    }
}

/// Notes what has arrived: at end `n` the stream of the other end.
fn take(ends: &[(Arc<UdpSocket>, SocketAddr); 2], seen: &mut [Vec<bool>; 2]) {
    let mut buffer = [0; 512];
    for (n, (socket, from)) in ends.iter().enumerate() {
        while let Ok((len, source)) = socket.recv_from(&mut buffer) {
            assert_eq!((len, source), (12 + AUDIO, *from), "a packet of the switch");
            assert_eq!(buffer[11], 1 - n as u8, "the other end's stream");
            let sequence = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
            assert!(!std::mem::replace(&mut seen[1 - n][sequence], true), "packet {sequence} came twice");
        }
    }
}

/// RTP (RFC 3550 5.1), PCMA.
fn packet(sequence: u16, stream: u8) -> [u8; 12 + AUDIO] {
    let mut bytes = [0xd5; 12 + AUDIO];
    bytes[..2].copy_from_slice(&[0x80, 8]);
    bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
    bytes[4..8].copy_from_slice(&(u32::from(sequence) * AUDIO as u32).to_be_bytes());
    bytes[8..12].copy_from_slice(&[0, 0, 7, stream]);
    bytes
}
