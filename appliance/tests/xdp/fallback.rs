//! Where the kernel cannot relay user space does, and says why.

use crate::common::until;
use crate::scene::Scene;

const NUMBER: &str = "12125550100";

#[test]
fn without_its_program_user_space_relays() {
    let Some(scene) = Scene::new(&["r0", "r1"], "xdp_object = \"absent.o\"\n") else { return };
    let status = scene.switch.json(&["status"]);
    assert_eq!(status["media"], "user space");
    let row = &status["media_interfaces"][0];
    assert_eq!((&row["interface"], &row["path"]), (&"r0".into(), &"none".into()));
    assert!(row["reason"].as_str().unwrap().contains("absent.o"), "{row:#}");
    assert!(scene.switch.log().contains("user space relays"), "{}", scene.switch.log());
    let talk = scene.call(NUMBER);
    talk.go_on(50);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    assert_eq!(scene.counter("media_packets_relayed"), 2 * u64::from(heard.sent));
    scene.hang_up(NUMBER);
}

#[test]
fn an_interface_that_is_not_there_is_told_and_the_others_are_served() {
    let Some(scene) = Scene::new(&["r0", "r1", "r9"], "") else { return };
    let status = scene.switch.json(&["status"]);
    assert_eq!(status["media"], "xdp");
    let paths: Vec<&str> =
        status["media_interfaces"].as_array().unwrap().iter().filter_map(|row| row["path"].as_str()).collect();
    assert_eq!(paths, ["native", "native", "none"]);
    scene.ip(&["link", "set", "r1", "name", "r7"]);
    until("the new name is told", || {
        scene.switch.json(&["status"])["warnings"].to_string().contains("is called r7 now").then_some(())
    });
}

#[test]
fn generic_mode_forwards_too() {
    let Some(scene) = Scene::new(&["r0", "r1"], "xdp = \"generic\"\n") else { return };
    assert_eq!(scene.switch.json(&["status"])["media_interfaces"][0]["path"], "generic");
    let talk = scene.call(NUMBER);
    talk.go_on(50);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    assert!(scene.counter("xdp_rtp_packets") > u64::from(heard.sent));
    scene.hang_up(NUMBER);
}
