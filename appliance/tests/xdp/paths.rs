//! Established streams are the kernel's: with the switch, without it, and while its program is replaced.

use crate::common::{int, until};
use crate::scene::Scene;
use crate::streams::Heard;

/// Packets that user space may see of a call: the first of each side, and what comes until the kernel knows them.
const LEARNED_MAX: u64 = 20;

const NUMBER: &str = "12125550100";

#[test]
fn an_established_call_is_forwarded_by_the_kernel() {
    let Some(mut scene) = Scene::new(&["r0", "r1"], "") else { return };
    let status = scene.switch.json(&["status"]);
    assert_eq!(status["media"], "xdp", "{status:#}");
    for row in status["media_interfaces"].as_array().unwrap() {
        assert_eq!((&row["path"], &row["reason"]), (&"native".into(), &"".into()), "{row:#}");
    }
    let talk = scene.call(NUMBER);
    talk.go_on(300);
    let call = scene.switch.call_in("talking");
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    let sent = u64::from(heard.sent);
    let (user, kernel) = (scene.counter("media_packets_relayed"), scene.counter("xdp_rtp_packets"));
    assert!(user <= LEARNED_MAX, "user space forwarded {user} of {}", 2 * sent);
    assert_eq!(user + kernel, 2 * sent);

    let show = scene.switch.json(&["calls", "show", &call]);
    let packets = |side: &str| show[side]["packets"].as_u64().unwrap();
    assert!(packets("caller_media") + LEARNED_MAX > sent && packets("caller_media") <= sent, "{show:#}");

    scene.hang_up(NUMBER);
    let rows = scene.switch.cdrs_once(1);
    assert_eq!(int(&rows[0]["caller_rtp_packets"]), i64::from(heard.sent), "{:#}", rows[0]);
    assert_eq!(int(&rows[0]["callee_rtp_packets"]), i64::from(heard.sent));
    assert_eq!((int(&rows[0]["caller_rtp_lost"]), int(&rows[0]["callee_rtp_lost"])), (0, 0), "{:#}", rows[0]);
    assert!(scene.pins().exists());
    scene.switch.stop();
    assert!(!scene.pins().exists(), "an orderly stop leaves nothing behind");
    scene.switch.start_again();
}

#[test]
fn killed_under_rtp_it_loses_no_packet_and_bills_once() {
    let Some(mut scene) = Scene::new(&["r0", "r1"], "") else { return };
    let talk = scene.call(NUMBER);
    scene.written_down();
    talk.go_on(100);
    scene.switch.kill();
    assert!(scene.pins().exists(), "what is pinned outlives the switch");
    talk.go_on(100);
    scene.switch.start_again();
    talk.go_on(100);
    let adopted = scene.counter("xdp_rtp_packets");
    talk.go_on(50);
    until("the kernel goes on", || (scene.counter("xdp_rtp_packets") > adopted).then_some(()));
    let heard = talk.stop();
    assert_eq!(heard, Heard { arrived: [heard.sent; 2], ..heard }, "no packet is lost");
    assert_eq!(scene.counter("xdp_orphans_removed"), 0);

    scene.hang_up(NUMBER);
    let rows = scene.switch.cdrs_once(1);
    let row = &rows[0];
    assert_eq!((int(&row["end_reason"]), row["flags"].as_str()), (16, Some("adopted")), "{row:#}");
    // What user space counted died with it: the packets before the kernel knew the sides.
    let learned = LEARNED_MAX as i64;
    for side in ["caller_rtp_packets", "callee_rtp_packets"] {
        let packets = int(&row[side]);
        assert!((i64::from(heard.sent) - learned..=i64::from(heard.sent)).contains(&packets), "{row:#}");
    }
    assert!(int(&row["hold_ms"]) >= 10 * i64::from(heard.sent), "{row:#}");
    scene.switch.assert_the_books_agree(&rows);
}

#[test]
fn a_call_that_does_not_go_on_leaves_no_flow() {
    let Some(mut scene) = Scene::new(&["r0", "r1"], "") else { return };
    let talk = scene.call(NUMBER);
    talk.go_on(50);
    scene.switch.kill();
    scene.start_with(|text| text.replace("adopt_within_s = 32", "adopt_within_s = 0"), &[]);
    assert_eq!(scene.counter("xdp_orphans_removed"), 2);
    let before = scene.counter("xdp_rtp_packets");
    talk.go_on(50);
    assert_eq!(scene.counter("xdp_rtp_packets"), before, "nobody pays for it, nobody forwards it");
    talk.stop();
}

#[test]
fn another_program_takes_over_under_rtp_without_a_loss() {
    let Some(scene) = Scene::new(&["r0", "r1"], "") else { return };
    let talk = scene.call(NUMBER);
    talk.go_on(50);
    let mut programs = vec![scene.switch.json(&["media", "show"])["program"].clone()];
    for _ in 0..3 {
        let upgraded = scene.switch.json(&["upgrade-datapath"]);
        assert_eq!(upgraded["before"], programs[programs.len() - 1], "{upgraded:#}");
        programs.push(upgraded["program"].clone());
        talk.go_on(30);
    }
    let wrong = scene.switch.tandem(&["upgrade-datapath", "--object", "absent.o"]);
    assert!(wrong.code == 1 && wrong.err.contains("absent.o") && wrong.err.contains("goes on"), "{wrong:?}");
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2], "no packet is lost");
    assert!(scene.counter("media_packets_relayed") <= LEARNED_MAX);
    assert_eq!(scene.counter("xdp_upgrades"), 3);
    scene.hang_up(NUMBER);
}

#[test]
fn the_records_account_for_every_packet() {
    let Some(mut scene) = Scene::new(&["r0", "r1"], "") else { return };
    let equal = |scene: &Scene| {
        let audit = scene.switch.json(&["media", "audit"]);
        assert_eq!((&audit["equal"], &audit["difference"]), (&true.into(), &0.into()), "{audit:#}");
        audit
    };
    let talk = scene.call(NUMBER);
    talk.go_on(100);
    equal(&scene);
    let first = talk.stop();
    let audit = equal(&scene);
    assert_eq!(int(&audit["live"]), 2 * i64::from(first.sent), "{audit:#}");
    scene.hang_up(NUMBER);
    scene.switch.cdrs_once(1);
    assert_eq!(int(&equal(&scene)["records"]), 2 * i64::from(first.sent));

    let talk = scene.call("12125550101");
    scene.written_down();
    talk.go_on(50);
    scene.switch.kill();
    talk.go_on(50);
    scene.switch.start_again();
    talk.go_on(50);
    let second = talk.stop();
    assert_eq!(second.arrived, [second.sent; 2]);
    equal(&scene);
    scene.hang_up("12125550101");
    let rows = scene.switch.cdrs_once(2);
    let audit = equal(&scene);
    let of_second = int(&rows[1]["caller_rtp_packets"]) + int(&rows[1]["callee_rtp_packets"]);
    assert_eq!(int(&audit["records"]), of_second, "of this life: {audit:#}");

    let show = scene.switch.json(&["media", "show"]);
    let shard = &show["shards"][0];
    assert_eq!(
        (&shard["flows"], &shard["kernel_flows"], &shard["used"]),
        (&0.into(), &0.into(), &0.into()),
        "{show:#}"
    );
    assert!(int(&show["kernel_packets"]) > 0 && int(&show["punts"]["unlatched"]) >= 2, "{show:#}");
}
