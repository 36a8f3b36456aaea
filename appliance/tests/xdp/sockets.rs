//! What the kernel leaves to user space comes by one socket a shard, or by one a port: as configured, and as far as it may.

use std::fs;
use std::net::UdpSocket;

use tandem_netns::Place;

use crate::common::{Family, Plan, int, until};
use crate::scene::Scene;

const NUMBER: &str = "12125550100";
/// Where media ports begin.
const FIRST: u16 = 10_000;

/// What `status` says of it.
#[track_caller]
fn told(scene: &Scene) -> String {
    let status = scene.switch.json(&["status"]);
    assert_eq!(status["media"], "xdp", "{status:#}");
    status["media_sockets"].as_str().unwrap().to_owned()
}

/// UDP sockets on media ports of the switch's machine.
fn bound(scene: &Scene) -> usize {
    let table = fs::read_to_string(format!("/proc/{}/net/udp", scene.switch.pid())).unwrap();
    let local = |line: &str| {
        line.split_ascii_whitespace().nth(1)?.split_once(':').map(|(ip, port)| (ip.to_owned(), port.to_owned()))
    };
    let ours = |(ip, port): &(String, String)| {
        // 10.99.1.1, as the table writes it.
        ip == "0101630A" && u16::from_str_radix(port, 16).unwrap() >= FIRST
    };
    table.lines().filter_map(local).filter(ours).count()
}

/// A call whose first packets user space gets, and the rest the kernel.
#[track_caller]
fn a_call(scene: &Scene, number: &str) {
    let (user, kernel) = (scene.counter("media_packets_relayed"), scene.counter("xdp_rtp_packets"));
    let talk = scene.call(number);
    talk.go_on(40);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    let (user, kernel) = (scene.counter("media_packets_relayed") - user, scene.counter("xdp_rtp_packets") - kernel);
    assert_eq!(user + kernel, 2 * u64::from(heard.sent));
    assert!(user > 0 && kernel > 0, "{user} by user space, {kernel} by the kernel");
    scene.hang_up(number);
}

#[test]
fn one_socket_serves_all_ports_unless_it_may_not() {
    let Some(mut scene) = Scene::of(&["r0", "r1"], "", Plan { shards: 2, ..Plan::default() }) else { return };
    assert_eq!(told(&scene), "one socket a shard", "{}", scene.switch.log());
    a_call(&scene, NUMBER);
    assert_eq!((bound(&scene), scene.counter("sends_dropped"), scene.counter("sends_failed")), (0, 0, 0));

    scene.switch.stop();
    let raw = ["setpriv", "--bounding-set", "-net_raw"];
    scene.start_with(str::to_owned, &raw);
    let why = told(&scene);
    assert!(why.starts_with("a socket a port: ") && why.contains("CAP_NET_RAW"), "{why}");
    assert!(scene.switch.log().contains("CAP_NET_RAW"), "{}", scene.switch.log());
    a_call(&scene, "12125550110");
    assert!(bound(&scene) > 0);

    scene.switch.stop();
    scene.start_with(|text| text.replace("bpffs =", "sockets = \"port\"\nbpffs ="), &[]);
    assert_eq!(told(&scene), "a socket a port: media.sockets");
    a_call(&scene, "12125550111");
    assert!(bound(&scene) > 0);
}

#[test]
fn where_user_space_relays_everything_it_is_for_the_asking() {
    let Some(scene) = Scene::new(&["r0", "r1"], "xdp = \"off\"\nsockets = \"shared\"\n") else { return };
    let status = scene.switch.json(&["status"]);
    assert_eq!((&status["media"], &status["media_sockets"]), (&"user space".into(), &"one socket a shard".into()));
    let talk = scene.call(NUMBER);
    talk.go_on(40);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    assert_eq!(scene.counter("media_packets_relayed"), 2 * u64::from(heard.sent));
    assert_eq!(bound(&scene), 0);
    scene.hang_up(NUMBER);
}

#[test]
fn ports_of_other_programs_are_left_alone() {
    let ports = FIRST..=FIRST + 15;
    let mut others = Vec::new();
    let plan = Plan { params: vec![("SS_RTP_PORT_RANGE", "10000,10015")], ..Plan::default() };
    let scene = Scene::prepared(&["r0", "r1"], "", plan, Family::V4, |lab| {
        // Every second one, on this address or on all.
        let bind = || {
            ports
                .clone()
                .step_by(2)
                .map(|port| {
                    let address = if port % 4 == 0 { "10.99.1.1" } else { "0.0.0.0" };
                    UdpSocket::bind((address, port)).expect("a socket")
                })
                .collect::<Vec<_>>()
        };
        others = lab.at(Place::Relay, bind).expect("the namespace");
    });
    let Some(scene) = scene else { return };
    assert_eq!(told(&scene), "one socket a shard");
    let busy = until("all ports are looked at", || {
        let show = scene.switch.json(&["media", "show"]);
        Some(int(&show["shards"][0]["busy"])).filter(|busy| *busy > 0)
    });
    assert_eq!(busy, others.len() as i64);
    a_call(&scene, NUMBER);
}
