//! A media address on each network of the switch.

use crate::common::{Family, Plan, int};
use crate::scene::Scene;

const NUMBER: &str = "12125550100";

/// The customer's network and the vendor's, each with a listener and a media address.
fn networks() -> Option<Scene> {
    let (outside, inside) = ("10.99.1.1", "10.99.2.1");
    let plan = Plan {
        shards: 2,
        listen: format!("media = [\"{outside}\"]\n"),
        site: |_| "local = \"10.99.2.1:5060\"\n".to_owned(),
        ..Plan::default()
    };
    let more = format!(
        "[[media.more]]\naddress = \"{inside}\"\n[[media.more]]\naddress = \"fd99:1::1\"\n\
         [[listen]]\naddress = \"{inside}:5060\"\nmedia = [\"{inside}\"]\n"
    );
    Scene::prepared(&["r0", "r1"], &more, plan, Family::V4, |_| {})
}

/// Of each media address: ports in use, and flows in the kernel.
fn by_address(scene: &Scene) -> Vec<(String, i64, i64)> {
    let show = scene.switch.json(&["media", "show"]);
    let mut rows: Vec<(String, i64, i64)> = Vec::new();
    for row in show["shards"].as_array().unwrap() {
        let address = row["address"].as_str().unwrap().to_owned();
        let (used, flows) = (int(&row["used"]), int(&row["kernel_flows"]));
        match rows.iter_mut().find(|known| known.0 == address) {
            Some(known) => (known.1, known.2) = (known.1 + used, known.2 + flows),
            None => rows.push((address, used, flows)),
        }
    }
    rows
}

#[test]
fn each_side_of_a_call_has_an_address_of_its_network() {
    let Some(mut scene) = networks() else { return };
    scene.place(NUMBER);
    let ends = scene.both_sides(NUMBER);
    let told = ends.each_ref().map(|(_, to)| to.ip().to_string());
    assert_eq!(told, ["10.99.1.1", "10.99.2.1"], "what the parties were told");
    let talk = scene.talk(vec![ends]);
    scene.written_down();
    talk.go_on(100);
    let row = |address: &str, n| (address.to_owned(), n, n);
    assert_eq!(by_address(&scene), [row("10.99.1.1", 1), row("10.99.2.1", 1), row("fd99:1::1", 0)]);
    let show = scene.switch.json(&["calls", "show", &scene.switch.call_in("talking")]);
    for (side, address) in [("caller_media", "10.99.1.1:"), ("callee_media", "10.99.2.1:")] {
        assert!(show[side]["local"].as_str().unwrap().starts_with(address), "{show:#}");
    }
    // Killed: the kernel goes on, and the next life finds each side at its address.
    scene.switch.kill();
    talk.go_on(50);
    scene.switch.start_again();
    talk.go_on(50);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2], "no packet is lost");
    assert_eq!(by_address(&scene)[1], row("10.99.2.1", 1));

    // Killed once more, and started with its addresses in another order: the call is found by them all the same.
    scene.switch.kill();
    let swap = |text: &str| {
        let (outside, inside) = ("[media]\naddress = \"10.99.1.1\"", "[[media.more]]\naddress = \"10.99.2.1\"");
        assert!(text.contains(outside) && text.contains(inside), "{text}");
        let text = text.replace(inside, "[[media.more]]\naddress = \"10.99.1.1\"");
        text.replace(outside, "[media]\naddress = \"10.99.2.1\"")
    };
    scene.start_with(swap, &[]);
    let again = scene.both_sides(NUMBER);
    let talk = scene.talk(vec![again]);
    talk.go_on(100);
    assert_eq!(by_address(&scene), [row("10.99.2.1", 1), row("10.99.1.1", 1), row("fd99:1::1", 0)]);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2], "no packet is lost");
    scene.hang_up(NUMBER);
    let rows = scene.switch.cdrs_once(1);
    assert_eq!((int(&rows[0]["end_reason"]), &rows[0]["flags"]), (16, &"adopted".into()), "{:#}", rows[0]);
    scene.switch.assert_the_books_agree(&rows);
    assert_eq!(scene.switch.json(&["media", "audit"])["equal"], true);
}

#[test]
fn a_call_whose_media_address_is_gone_is_settled() {
    let Some(mut scene) = networks() else { return };
    let talk = scene.call(NUMBER);
    scene.written_down();
    talk.go_on(20);
    scene.switch.kill();
    talk.stop();
    let without = |text: &str| {
        let inside = "[[media.more]]\naddress = \"10.99.2.1\"\n";
        assert!(text.contains(inside), "{text}");
        text.replace(inside, "").replace("media = [\"10.99.2.1\"]\n", "")
    };
    scene.start_with(without, &[]);
    let rows = scene.switch.cdrs_once(1);
    assert_ne!(rows[0]["flags"], "adopted", "{:#}", rows[0]);
    let log = scene.switch.log();
    assert!(log.contains("media address 10.99.2.1 is gone"), "{log}");
    assert_eq!(scene.counter("media_flows"), 0);
    scene.switch.assert_the_books_agree(&rows);
}
