//! What can be wrong with a machine: each is told with its cure, and user space relays the calls, also those that the kernel had.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tandem_netns::Place;

use crate::common::{Family, Plan, int, until};
use crate::scene::{Scene, object};

const NUMBER: &str = "12125550100";

/// Why the first interface is not served, when none is.
#[track_caller]
fn reason(scene: &Scene) -> String {
    let status: Value = scene.switch.json(&["status"]);
    assert_eq!((&status["media"], &status["media_interfaces"][0]["path"]), (&"user space".into(), &"none".into()));
    status["media_interfaces"][0]["reason"].as_str().unwrap().to_owned()
}

/// A call of which user space relays every packet.
#[track_caller]
fn relays(scene: &Scene, number: &str) {
    let talk = scene.call(number);
    talk.go_on(20);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    assert_eq!(scene.counter("media_packets_relayed"), 2 * u64::from(heard.sent));
    scene.hang_up(number);
}

#[test]
fn each_fault_of_the_machine_is_told_with_its_cure_and_user_space_relays() {
    let Some(mut scene) = Scene::new(&["r0", "r1"], "") else { return };
    let good = fs::read_to_string(scene.switch.folder.join("tandemd.toml")).unwrap();
    let bpffs = scene.bpffs.to_str().unwrap().to_owned();
    let without = |lost: &'static str| ["setpriv", "--bounding-set", lost];
    let file = scene.switch.folder.join("retail.csv").to_str().unwrap().to_owned();
    let garbage = scene.switch.folder.join("garbage.o");
    fs::write(&garbage, vec![0x5a; 4096]).unwrap();
    let garbage = garbage.to_str().unwrap().to_owned();
    let relay = object().unwrap().to_str().unwrap().to_owned();
    let (off, other) = ("xdp = \"off\"\n[threads]", format!("{bpffs}-other"));
    // What is replaced in the configuration, through what the switch is started, what it says.
    let faults: [(&str, &str, &[&str], &[&str]); 6] = [
        (&bpffs, &bpffs, &without("-bpf,-sys_admin"), &["does not permit loading", "CAP_BPF"]),
        (&bpffs, &bpffs, &without("-net_admin,-sys_admin"), &["does not permit", "CAP_NET_ADMIN"]),
        (&bpffs, &other, &without("-sys_admin"), &["is not a bpf file system", "mount -t bpf"]),
        (&bpffs, &file, &[], &["retail.csv is not a bpf file system", "mount -t bpf"]),
        (&relay, &garbage, &[], &["garbage.o is not the kernel program", "cargo xtask ebpf"]),
        ("[threads]", off, &[], &["turned off"]),
    ];
    for (n, (old, new, through, told)) in faults.into_iter().enumerate() {
        scene.switch.stop();
        scene.start_with(|_| good.replace(old, new), through);
        let reason = reason(&scene);
        assert!(told.iter().all(|text| reason.contains(text)), "{told:?}: {reason}");
        let log = scene.switch.log();
        assert!(log.contains("user space relays") && told.iter().all(|text| log.contains(text)), "{log}");
        relays(&scene, &format!("1212555020{n}"));
    }
    let _ = fs::remove_dir(&other);
    // All of it mended: the kernel is there again.
    scene.switch.stop();
    scene.start_with(|_| good.clone(), &[]);
    assert_eq!(scene.switch.json(&["status"])["media"], "xdp");
}

#[test]
fn an_interface_with_somebody_elses_program_is_left_alone() {
    let mut other = None;
    let scene = Scene::prepared(&["r0", "r1"], "", Plan::default(), Family::V4, |lab| {
        other = Some(lab.occupy(Place::Relay, "r0", &object().unwrap()).expect("a program"));
    });
    let Some(scene) = scene else { return };
    let status = scene.switch.json(&["status"]);
    let rows = status["media_interfaces"].as_array().unwrap();
    let row = |n: usize| (rows[n]["path"].as_str().unwrap(), rows[n]["reason"].as_str().unwrap());
    assert_eq!(row(1), ("native", ""));
    let (path, reason) = row(0);
    assert!(path == "none" && reason.contains("somebody else") && reason.contains("xdp off"), "{path}: {reason}");
    // What comes by it, user space relays.
    let talk = scene.call(NUMBER);
    talk.go_on(50);
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    assert!(scene.counter("media_packets_relayed") >= u64::from(heard.sent), "the caller's, at least");
    scene.hang_up(NUMBER);
    assert_eq!(scene.switch.json(&["media", "audit"])["equal"], true);
}

#[test]
fn a_kernel_without_type_information_relays_all_the_same() {
    let Some(mut scene) = Scene::new(&["r0", "r1"], "") else { return };
    scene.switch.stop();
    // The program has no references into the kernel's types, so it needs none.
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"";
    scene.start_with(str::to_owned, &["unshare", "--mount", "--propagation", "private", "sh", "-c", hide]);
    let btf = format!("/proc/{}/root/sys/kernel/btf/vmlinux", scene.switch.pid());
    assert!(!fs::exists(btf).unwrap(), "it sees none");
    assert_eq!(scene.switch.json(&["status"])["media"], "xdp", "{}", scene.switch.log());
    let talk = scene.call(NUMBER);
    until("the kernel has the streams", || (scene.counter("xdp_rtp_packets") > 20).then_some(()));
    let heard = talk.stop();
    assert_eq!(heard.arrived, [heard.sent; 2]);
    scene.hang_up(NUMBER);
    // It would outlive that mount namespace.
    scene.switch.stop();
    let _ = Command::new("umount").arg("-l").arg(&scene.bpffs).output();
    scene.start_with(str::to_owned, &[]);
}

#[test]
fn streams_of_the_kernel_come_to_user_space_when_the_next_start_has_no_program() {
    let Some(mut scene) = Scene::new(&["r0", "r1"], "") else { return };
    let talk = scene.call(NUMBER);
    until("the kernel has the streams", || (scene.counter("xdp_rtp_packets") > 20).then_some(()));
    scene.written_down();
    scene.switch.kill();
    let relay = object().unwrap().to_str().unwrap().to_owned();
    scene.start_with(|text| text.replace(&relay, "absent.o"), &[]);
    assert!(reason(&scene).contains("absent.o"));
    assert!(!scene.pins().exists(), "nothing forwards what nobody counts");
    let relayed = scene.counter("media_packets_relayed");
    talk.go_on(50);
    let heard = talk.stop();
    assert!(scene.counter("media_packets_relayed") >= relayed + 100, "user space has the streams: {heard:?}");
    scene.hang_up(NUMBER);
    let rows = scene.switch.cdrs_once(1);
    assert_eq!((int(&rows[0]["end_reason"]), &rows[0]["flags"]), (16, &"adopted".into()), "{:#}", rows[0]);
    assert!(int(&rows[0]["caller_rtp_packets"]) >= 50, "{:#}", rows[0]);
}
