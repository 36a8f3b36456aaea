//! Kinds of calls: IPv6, with RTCP, of real SIPp; and flows that belong to none.

use std::net::{SocketAddr, UdpSocket};

use tandem_datapath::{Options, open};
use tandem_ebpf_abi::{Endpoint, FlowKey, FlowValue};
use tandem_media::FlowCommand;
use tandem_netns::Place;

use crate::common::{Customer, Family, Plan, Sipp, int, sipp_is_there, until};
use crate::peer::Stage;
use crate::scene::{Scene, object};
use crate::streams::Ends;

const NUMBER: &str = "12125550100";

#[test]
fn a_call_over_ipv6_is_the_kernels_too() {
    let plan = Plan { shards: 2, ..Plan::default() };
    let Some(mut scene) = Scene::prepared(&["r0", "r1"], "", plan, Family::V6, |_| {}) else { return };
    let talk = scene.call(NUMBER);
    scene.written_down();
    talk.go_on(100);
    let before = scene.counter("media_packets_relayed");
    scene.switch.kill();
    talk.go_on(50);
    scene.switch.start_again();
    talk.go_on(50);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    assert_eq!(scene.counter("xdp_rtp_packets") + before, 2 * u64::from(heard.sent));
    scene.hang_up(NUMBER);
    let rows = scene.switch.cdrs_once(1);
    assert_eq!((int(&rows[0]["end_reason"]), &rows[0]["flags"]), (16, &"adopted".into()), "{:#}", rows[0]);
    assert_eq!(scene.switch.json(&["media", "audit"])["equal"], true);
}

/// RTCP sockets of both parties: the ports behind those of the audio.
fn rtcp_sockets(scene: &Scene, ends: &Ends) -> [UdpSocket; 2] {
    let socket = |place, n: usize| {
        let mut address = ends[n].0.local_addr().expect("an address");
        address.set_port(address.port() + 1);
        let socket = scene.lab.at(place, || UdpSocket::bind(address)).expect("a namespace").expect("the next port");
        socket.set_nonblocking(true).expect("a mode");
        socket
    };
    [socket(Place::A, 0), socket(Place::B, 1)]
}

/// A report (RFC 3550 6.4): that of a sender, without blocks, at NTP time `ntp`; or one of a receiver that has just seen it.
fn report(sender: bool, ntp: u32) -> Vec<u8> {
    let mut words = if sender { vec![0x80c8_0006u32, 7, ntp >> 16, ntp << 16, 0, 1, 80] } else { vec![0x81c9_0007, 8] };
    if !sender {
        words.extend([7, 0, 1, 0, ntp, 0]);
    }
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn rtcp_is_forwarded_by_the_kernel_and_its_copy_reaches_the_call() {
    let Some(scene) = Scene::new(&["r0", "r1"], "") else { return };
    scene.place(NUMBER);
    let ends = scene.both_sides(NUMBER);
    let sockets = rtcp_sockets(&scene, &ends);
    let medias = [ends[0].1, ends[1].1];
    let talk = scene.talk(vec![ends]);
    until("the kernel has the streams", || (scene.counter("xdp_rtp_packets") > 20).then_some(()));
    let pass = |from: usize, packet: &[u8]| {
        sockets[from].send_to(packet, medias[from]).expect("sent");
        let mut buffer = [0; 512];
        let (len, source) = until("RTCP arrives", || sockets[1 - from].recv_from(&mut buffer).ok());
        assert_eq!((&buffer[..len], source), (packet, medias[1 - from]));
    };
    // Each side's first one comes from a new port: user space learns it.
    pass(0, &report(true, 1));
    pass(1, &report(true, 1));
    assert_eq!((scene.counter("xdp_rtcp_packets"), scene.counter("xdp_copies")), (0, 0));
    // The kernel forwards these. The vendor answers late and says that it did not: that is the round trip to it.
    pass(0, &report(true, 0x7_1234));
    talk.go_on(80);
    pass(1, &report(false, 0x7_1234));
    until("both copies are shown to the call", || (scene.counter("xdp_copies") == 2).then_some(()));
    assert_eq!(scene.counter("xdp_rtcp_packets"), 2);
    talk.stop();
    scene.hang_up(NUMBER);
    let rows = scene.switch.cdrs_once(1);
    let row = &rows[0];
    assert_eq!((int(&row["caller_rtcp_packets"]), int(&row["callee_rtcp_packets"])), (2, 2), "{row:#}");
    // 0.8 s of delay are heard; the caller never said how far away it is.
    let (caller, callee) = (int(&row["caller_mos_x100"]), int(&row["callee_mos_x100"]));
    assert!(callee > 0 && callee + 50 < caller, "{row:#}");
}

#[test]
fn a_call_that_only_the_kernel_hears_goes_on_until_it_falls_silent() {
    let plan = Plan { media_check: "both", params: vec![("SS_NOMEDIAHANGUPTIME", "4")], ..Plan::default() };
    let Some(scene) = Scene::of(&["r0", "r1"], "", plan) else { return };
    let talk = scene.call(NUMBER);
    until("the kernel has the streams", || (scene.counter("xdp_rtp_packets") > 20).then_some(()));
    let learned = scene.counter("media_packets_relayed");
    // 5 s: longer than the time-out, and user space hears nothing of it.
    talk.go_on(500);
    assert_eq!(scene.counter("media_packets_relayed"), learned);
    assert_eq!(scene.switch.json(&["status"])["calls_talking"], 1, "{}", scene.switch.log());
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    let rows = scene.switch.cdrs_once(1);
    let row = &rows[0];
    assert_eq!((int(&row["end_reason"]), int(&row["end_direction"])), (-9, 2), "{row:#}");
    assert_eq!(int(&row["caller_rtp_packets"]), i64::from(heard.sent), "{row:#}");
    scene.customer().once(NUMBER, |dialog| dialog.stage == Stage::Ended);
    scene.vendor().once(NUMBER, |dialog| dialog.stage == Stage::Ended);
}

#[test]
fn sipp_talks_through_the_kernel() {
    if !sipp_is_there() {
        return;
    }
    let Some(scene) = Scene::new(&["r0", "r1"], "") else { return };
    let switch = &scene.switch;
    let vendor = || Sipp::vendor(switch, 1, "vendor_talks", &["-d", "1500"]);
    let _vendor = scene.lab.at(Place::B, vendor).expect("the vendor");
    let more = &["-rtp_echo"];
    let customer = Customer { scenario: "customer_talks", calls: 3, hold_ms: 2500, more, ..Default::default() };
    let mut customer = scene.lab.at(Place::A, || customer.start(switch)).expect("the customer");
    let echoed = customer.wait_echoed();
    customer.assert_good(3);
    let rows = switch.cdrs_once(3);
    let sum = |name: &str| rows.iter().map(|row| int(&row[name])).sum::<i64>();
    // 1.5 s of 50 packets a second, three times; all of them came back.
    assert!(echoed > 150, "{echoed}");
    assert_eq!((sum("caller_rtp_relayed"), sum("callee_rtp_relayed")), (echoed as i64, echoed as i64));
    assert_eq!(sum("caller_rtp_lost") + sum("callee_rtp_lost"), 0);
    let (user, kernel) = (scene.counter("media_packets_relayed"), scene.counter("xdp_rtp_packets"));
    assert_eq!(user + kernel, 2 * echoed);
    assert!(user < kernel / 2, "user space forwarded {user}, the kernel {kernel}");
    assert_eq!(switch.json(&["media", "audit"])["equal"], true);
    switch.assert_the_books_agree(&rows);
}

#[test]
fn a_flow_that_no_call_has_is_found_while_calls_run() {
    let Some(mut scene) = Scene::new(&["r0", "r1"], "") else { return };
    scene.switch.stop();
    scene.start_with(|text| text.replace("[limits]\n", "[limits]\norphans_every_s = 1\n"), &[]);
    let talk = scene.call(NUMBER);
    until("the kernel has the streams", || (scene.counter("xdp_rtp_packets") > 20).then_some(()));
    // As if the switch had lost one: another owner of the same maps writes it.
    let media = scene.switch.net.media();
    let mut options = Options::new("test", object().expect("seen"), &["r0", "r1"], &[media], 10_000..=39_999);
    options.bpffs.clone_from(&scene.bpffs);
    let orphan = FlowKey::new(0, 39_998);
    scene
        .lab
        .at(Place::Relay, || {
            let datapath = open(&options).datapath.expect("taken over");
            let there = Endpoint::from(SocketAddr::from(([10, 99, 2, 2], 9)));
            let value =
                FlowValue { source_ip: there.ip, source_port: 9, family: 4, version: 1, ..FlowValue::default() };
            datapath.apply(&FlowCommand::Install { key: orphan, value });
        })
        .expect("a second owner");
    until("the orphan is removed", || (scene.counter("xdp_orphans_removed") == 1).then_some(()));
    let show = scene.switch.json(&["media", "show"]);
    assert_eq!((&show["shards"][0]["kernel_flows"], &show["orphans"]), (&2.into(), &1.into()), "{show:#}");
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2], "the call's own flows stay");
    scene.hang_up(NUMBER);
    assert_eq!(scene.switch.json(&["media", "audit"])["equal"], true);
}
