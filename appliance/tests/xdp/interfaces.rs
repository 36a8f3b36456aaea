//! Interfaces that the driver's XDP does not serve, and interfaces that change while calls run.

use crate::common::{Family, Plan, int, until};
use crate::scene::Scene;

use tandem_netns::Place;

const NUMBER: &str = "12125550100";

/// Packets that the kernel has forwarded of each side of the only call.
fn kernel(scene: &Scene) -> [i64; 2] {
    let call = scene.switch.call_in("talking");
    let show = scene.switch.json(&["calls", "show", &call]);
    ["caller_media", "callee_media"].map(|side| int(&show[side]["kernel"]))
}

/// Waits until the kernel has forwarded more of both sides.
#[track_caller]
fn goes_on(scene: &Scene) {
    let before = kernel(scene);
    until("the kernel forwards both streams", || {
        kernel(scene).iter().zip(before).all(|(now, before)| *now > before + 20).then_some(())
    });
}

#[test]
fn what_native_xdp_refuses_is_served_generically_and_says_why() {
    let scene = Scene::prepared(&["r0", "r1", "lo"], "", Plan::default(), Family::V4, |lab| {
        // A far end whose frames do not fit into a page. Loopback is the driver without XDP that every machine has.
        lab.ip(Place::A, &["link", "set", "a0", "mtu", "9000"]).expect("an MTU");
    });
    let Some(scene) = scene else { return };
    let status = scene.switch.json(&["status"]);
    assert_eq!(status["media"], "xdp");
    let rows = status["media_interfaces"].as_array().unwrap();
    let paths: Vec<&str> = rows.iter().filter_map(|row| row["path"].as_str()).collect();
    assert_eq!(paths, ["generic", "native", "generic"], "{rows:#?}");
    let reason = |n: usize| rows[n]["reason"].as_str().unwrap();
    assert!(reason(0).contains("MTU of r0") && reason(0).contains("mtu 1500"), "{}", reason(0));
    assert!(reason(2).contains("driver of lo has no native XDP"), "{}", reason(2));
    // One side generic, the other native.
    let talk = scene.call(NUMBER);
    goes_on(&scene);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    scene.hang_up(NUMBER);
    assert_eq!(scene.switch.json(&["media", "audit"])["equal"], true);
}

#[test]
fn a_call_outlives_a_new_name_and_an_interface_that_was_down() {
    let Some(scene) = Scene::new(&["r0", "r1"], "") else { return };
    let warned = |text: &str| scene.switch.json(&["status"])["warnings"].to_string().contains(text);
    let talk = scene.call(NUMBER);
    goes_on(&scene);
    scene.ip(&["link", "set", "r0", "name", "r7"]);
    until("the new name is told", || warned("r0 is called r7 now").then_some(()));
    goes_on(&scene);
    scene.ip(&["link", "set", "r1", "down"]);
    until("it is told", || warned("interface r1 is down").then_some(()));
    scene.ip(&["link", "set", "r1", "up"]);
    // The kernel forgot who is there: user space sends until it knows again.
    goes_on(&scene);
    until("it is told no more", || (!warned("interface r1 is down")).then_some(()));
    let heard = talk.stop();
    assert!(heard.arrived.iter().all(|arrived| *arrived < heard.sent), "it was down: {heard:?}");
    scene.hang_up(NUMBER);
    let rows = scene.switch.cdrs_once(1);
    assert_eq!(int(&rows[0]["end_reason"]), 16, "{:#}", rows[0]);
    assert_eq!(scene.switch.json(&["media", "audit"])["equal"], true);
}
