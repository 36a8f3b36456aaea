//! Every datagram of a call comes to its home shard: what the search of the program finds is what the shards find, and
//! the kernel gives real datagrams to the sockets that it names.

mod datagrams;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use datagrams::{Datagram, datagram};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use socket2::{Domain, Socket, Type};
use tandem_datapath::{Refusal, Steering, SteeringOptions};
use tandem_home::{Copied, home};
use tandem_sip::home_shard;

/// Longer than a busy machine lets a datagram on loopback wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a receiver looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);
const KEY: (u64, u64) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);

/// What the program in the kernel would answer.
fn program(copied: &mut Copied, bytes: &[u8], shards: u8) -> Option<u8> {
    copied.take(bytes);
    home(copied, NonZero::new(u64::from(shards))?, KEY).map(|shard| shard as u8)
}

#[test]
fn the_program_finds_what_the_shards_find() {
    let mut rng = StdRng::seed_from_u64(1);
    // Left by earlier datagrams, and meant to be mistaken for a part of this one.
    let fillers: [&[u8]; 4] = [b"\0", b"\r\ni: wrong\r\n", b"\nCall-ID : \r\n wrong", b" \t:\xff"];
    let mut found = 0;
    for filler in fillers {
        let mut copied = Copied::new(filler);
        for _ in 0..10_000 {
            let Datagram { bytes, plain } = datagram(&mut rng);
            let shards = rng.random_range(1..=16);
            let (program, shard) = (program(&mut copied, &bytes, shards), home_shard(&bytes, shards, KEY));
            let text = String::from_utf8_lossy(&bytes);
            if plain {
                assert_eq!(program, shard, "{text:?}");
                assert!(program.is_some(), "{text:?}");
                found += 1;
            } else {
                assert!(program.is_none() || program == shard, "{program:?} {shard:?} {text:?}");
            }
        }
    }
    assert!(found > 20_000, "{found}");
}

#[test]
fn the_program_finds_nothing_else_in_noise() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut copied = Copied::new(b"\ni:\n");
    // Few letters, so that lines, names and colons come about by chance.
    let letters = b"\r\n\n :iIcC\tAllD-idtdm0f";
    let mut found = 0;
    for _ in 0..400_000 {
        let len = rng.random_range(0..40);
        let mut bytes: Vec<u8> = (0..len).map(|_| letters[rng.random_range(0..letters.len())]).collect();
        if rng.random_bool(0.5) {
            bytes.splice(0..0, *b"A\nCall-ID");
        }
        let (program, shard) = (program(&mut copied, &bytes, 7), home_shard(&bytes, 7, KEY));
        assert!(program.is_none() || program == shard, "{program:?} {shard:?} {:?}", String::from_utf8_lossy(&bytes));
        found += usize::from(program.is_some());
    }
    assert!(found > 5_000, "{found}");
}

#[test]
fn the_bounds_are_what_they_are_said_to_be() {
    let mut copied = Copied::new(b"\n");
    let message = |before: usize, value: usize| {
        let padding = "x".repeat(before - "OPTIONS sip:a SIP/2.0\r\nSubject: \r\n".len());
        format!("OPTIONS sip:a SIP/2.0\r\nSubject: {padding}\r\nCall-ID: {}\r\n\r\n", "v".repeat(value))
    };
    for (before, value, within) in [
        (100, tandem_home::VALUE_MAX, true),
        (100, tandem_home::VALUE_MAX + 1, false),
        (tandem_home::HEAD_MAX, 20, true),
        (tandem_home::HEAD_MAX + 1, 20, false),
        (tandem_home::HEAD_MAX, tandem_home::VALUE_MAX, true),
    ] {
        let text = message(before, value);
        let found = program(&mut copied, text.as_bytes(), 5);
        assert_eq!(found.is_some(), within, "a line at {before}, a value of {value}");
        assert!(found.is_none() || found == home_shard(text.as_bytes(), 5, KEY));
    }
}

/// What to load, or why the rest cannot run. With `TANDEM_XDP_REQUIRED` that is a failure.
fn options(shards: u8) -> Option<SteeringOptions> {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf/steer.o");
    let options = SteeringOptions { object, listeners: 1, shards, key: KEY };
    match Steering::load(&options) {
        Ok(_) => Some(options),
        Err(error @ (Refusal::ObjectMissing { .. } | Refusal::NoCapability { .. })) => {
            assert!(std::env::var_os("TANDEM_XDP_REQUIRED").is_none(), "{error}");
            println!("skipped: {error}; {}", error.cure());
            None
        }
        Err(error) => panic!("{error}; {}", error.cure()),
    }
}

/// A port of the test, and a socket of every shard on it.
fn listener(shards: u8) -> (SocketAddr, Vec<UdpSocket>) {
    static TESTS: AtomicU8 = AtomicU8::new(1);
    let test = TESTS.fetch_add(1, Ordering::Relaxed);
    let ip = Ipv4Addr::new(127, 200 + (std::process::id() % 50) as u8, test, 1);
    let address = SocketAddr::from((ip, 5060));
    (address, (0..shards).map(|_| shared(address)).collect())
}

fn shared(address: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_recv_buffer_size(8 << 20).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.set_read_timeout(Some(LOOK)).unwrap();
    socket.into()
}

/// Sends `datagrams`, each from the next of many senders, and tells which socket each came to.
fn deliver(to: SocketAddr, sockets: &[UdpSocket], datagrams: &[Vec<u8>]) -> Vec<u8> {
    let senders: Vec<UdpSocket> = (0..16).map(|_| UdpSocket::bind((to.ip(), 0)).unwrap()).collect();
    let over = AtomicBool::new(false);
    let (tell, told) = mpsc::channel::<(u8, Vec<u8>)>();
    thread::scope(|scope| {
        for (shard, socket) in sockets.iter().enumerate() {
            let (tell, over) = (tell.clone(), &over);
            scope.spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !over.load(Ordering::Relaxed) {
                    if let Ok(len) = socket.recv(&mut buffer) {
                        tell.send((shard as u8, buffer[..len].to_vec())).unwrap();
                    }
                }
            });
        }
        let mut came = Vec::new();
        for (n, datagram) in datagrams.iter().enumerate() {
            senders[n % senders.len()].send_to(datagram, to).unwrap();
            // One at a time: what comes is what was sent.
            match told.recv_timeout(PATIENCE) {
                Ok((shard, bytes)) => {
                    assert_eq!(&bytes, datagram);
                    came.push(shard);
                }
                Err(error) => {
                    over.store(true, Ordering::Relaxed);
                    panic!("datagram {n} did not come: {error}");
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        came
    })
}

fn joined(options: &SteeringOptions, sockets: &[UdpSocket]) -> Steering {
    let steering = Steering::load(options).unwrap();
    for (shard, socket) in sockets.iter().enumerate() {
        assert_eq!(steering.missing(), sockets.len() - shard);
        steering.join(0, shard as u8, socket.as_fd()).unwrap();
    }
    assert_eq!(steering.missing(), 0);
    steering
}

#[test]
fn the_kernel_gives_every_datagram_to_its_home() {
    for shards in [2, 3, 4, 16] {
        let Some(options) = options(shards) else { return };
        let (address, sockets) = listener(shards);
        let steering = joined(&options, &sockets);
        println!("{shards} shards: (instructions, looked at) {:?}", steering.instructions());
        let mut rng = StdRng::seed_from_u64(u64::from(shards));
        let (mut copied, mut steered) = (Copied::new(b"\0"), 0);
        let list: Vec<Datagram> = (0..2_000).map(|_| datagram(&mut rng)).filter(|d| !d.bytes.is_empty()).collect();
        let bytes: Vec<Vec<u8>> = list.iter().map(|d| d.bytes.clone()).collect();
        for (n, came) in deliver(address, &sockets, &bytes).into_iter().enumerate() {
            let home = home_shard(&bytes[n], shards, KEY);
            let text = String::from_utf8_lossy(&bytes[n]);
            if list[n].plain {
                assert_eq!(Some(came), home, "{text:?}");
                steered += 1;
            }
            // What the search cannot place goes by the flow, and may come anywhere.
            if let Some(shard) = program(&mut copied, &bytes[n], shards) {
                assert_eq!(came, shard, "{text:?}");
            }
        }
        assert!(steered > 1_000, "{steered}");
    }
}

#[test]
fn a_socket_that_is_opened_again_joins_again() {
    let Some(options) = options(2) else { return };
    let (address, mut sockets) = listener(2);
    let steering = joined(&options, &sockets);
    let to_one = |n: u32| format!("BYE sip:a SIP/2.0\r\nCall-ID: tdm01-{n}\r\n\r\n").into_bytes();
    let to_zero = |n: u32| format!("BYE sip:a SIP/2.0\r\ni: tdm00-{n}\r\n\r\n").into_bytes();
    assert_eq!(deliver(address, &sockets, &(0..32).map(to_one).collect::<Vec<_>>()), [1; 32]);

    // Its place is empty: all that is left gets everything, and the switch hands over what comes to the wrong shard.
    drop(sockets.pop());
    assert_eq!(deliver(address, &sockets, &(0..32).map(to_one).collect::<Vec<_>>()), [0; 32]);
    sockets.push(shared(address));
    steering.join(0, 1, sockets[1].as_fd()).unwrap();
    assert_eq!(deliver(address, &sockets, &(0..32).map(to_one).collect::<Vec<_>>()), [1; 32]);

    // The program stays with the sockets when the loader is gone.
    drop(steering);
    assert_eq!(deliver(address, &sockets, &(0..32).map(to_zero).collect::<Vec<_>>()), [0; 32]);
    assert_eq!(deliver(address, &sockets, &(0..32).map(to_one).collect::<Vec<_>>()), [1; 32]);
}

#[test]
fn what_cannot_be_steered_is_named() {
    let missing = SteeringOptions { object: "/nowhere/steer.o".into(), listeners: 1, shards: 2, key: KEY };
    let error = Steering::load(&missing).unwrap_err();
    assert!(matches!(error, Refusal::ObjectMissing { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/steer.o") && error.cure().contains("cargo xtask ebpf"), "{error}");

    let Some(options) = options(2) else { return };
    let steering = Steering::load(&options).unwrap();
    // Not shared with anybody.
    let alone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = steering.join(0, 0, alone.as_fd()).unwrap_err();
    assert!(matches!(error, Refusal::NotSteered { listener: 0, shard: 0, .. }), "{error}");
    let error = steering.join(0, 2, alone.as_fd()).unwrap_err();
    assert!(matches!(error, Refusal::NotSteered { shard: 2, .. }), "{error}");
    assert_eq!(steering.missing(), 2);

    let relay = options.object.with_file_name("relay.o");
    if relay.exists() {
        let error = Steering::load(&SteeringOptions { object: relay, ..options }).unwrap_err();
        assert!(matches!(error, Refusal::ObjectInvalid { .. }), "{error}");
    }
}
