//! Objects that are no such program, and pins that are of another one: each refused by its name, and nothing of it stays.

mod common;

use std::fs;
use std::path::PathBuf;

use aya::EbpfLoader;
use aya::maps::{Array, Map, MapData};
use common::*;
use tandem_datapath::{Mode, Opened, Options, Refusal, open};
use tandem_ebpf_abi::{ABI_VERSION, FlowKey, Layout};
use tandem_netns::Place;

fn opened(scene: &Scene, change: impl FnOnce(&mut Options)) -> Opened {
    let mut options = scene.options(Mode::Native);
    change(&mut options);
    scene.lab.at(Place::Relay, || open(&options)).expect("the namespace")
}

/// What the start as a whole was refused for.
#[track_caller]
fn refusal(opened: Opened) -> Refusal {
    assert!(opened.datapath.is_none());
    let mut refusals = opened.notices.into_iter().filter_map(|notice| match notice {
        tandem_datapath::Notice::Refused { interface: None, refusal } => Some(refusal),
        _ => None,
    });
    refusals.next().expect("a reason")
}

/// A file of this test with an object that was changed.
fn changed(scene: &Scene, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut object = fs::read(&scene.object).expect("the object");
    change(&mut object);
    let path = scene.bpffs.with_extension(name);
    fs::write(&path, object).expect("written");
    path
}

#[test]
fn an_object_that_is_no_such_program_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let refused_for = |name: &str, change: fn(&mut Vec<u8>)| {
        let path = changed(&scene, name, change);
        let refusal = refusal(opened(&scene, |options| options.object.clone_from(&path)));
        fs::remove_file(path).expect("removed");
        refusal
    };
    let invalid = |name: &str, change: fn(&mut Vec<u8>), text: &str| {
        let refusal = refused_for(name, change);
        let said = refusal.to_string();
        assert!(matches!(refusal, Refusal::ObjectInvalid { .. }), "{name}: {said}");
        assert!(said.contains(name) && said.contains(text) && refusal.cure().contains("cargo xtask ebpf"), "{said}");
    };
    invalid("empty", Vec::clear, "");
    invalid("garbage", |object| object.fill(0x5a), "");
    invalid("cut", |object| object.truncate(object.len() / 2), "");
    invalid(
        "older",
        |object| {
            let at = section(object, "layout");
            object[at.end - 5..at.end].copy_from_slice(b"00003");
        },
        &format!("layout version 3, this switch has version {ABI_VERSION}"),
    );
    invalid(
        "unmarked",
        |object| {
            // One from before objects had a mark, and its maps other names.
            let (layout, strings) = (section(object, "layout"), section(object, ".strtab"));
            object[layout].fill(b' ');
            let names = &mut object[strings];
            let at = names.windows(8).position(|name| name == b"\0STREAMS").expect("a name");
            names[at + 1..at + 8].copy_from_slice(b"STREAMZ");
        },
        "",
    );
    // One instruction is another: the program runs on behind its end.
    let refusal = refused_for("unsafe", |object| {
        let programs = section(object, "xdp");
        let exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
        let mut replaced = 0;
        for instruction in object[programs].chunks_exact_mut(8).filter(|instruction| **instruction == exit) {
            // r0 = r9
            instruction.copy_from_slice(&[0xbf, 0x90, 0, 0, 0, 0, 0, 0]);
            replaced += 1;
        }
        assert!(replaced > 0);
    });
    let said = format!("{refusal}; {}", refusal.cure());
    assert!(matches!(refusal, Refusal::Verifier { .. }), "{said}");
    assert!(said.contains("verifier refuses") && said.contains("insn") && said.contains("6.1"), "{said}");
    // None of these starts is in the way of the next one.
    drop(scene.datapath(Mode::Native));
}

#[test]
fn pins_of_another_layout_are_named_with_both_versions_and_stay_unless_they_may_go() {
    let Some(scene) = Scene::new() else { return };
    let datapath = scene.datapath(Mode::Native);
    datapath.apply(&install(FlowKey::new(0, 10_000), flow("10.99.1.2:4000", "10.99.1.1:10002", "10.99.2.2:6000")));
    drop(datapath);
    // As an older switch would have left them.
    let pins = scene.options(Mode::Native).pins();
    let data = MapData::from_pin(pins.join("ABI")).expect("pinned");
    let mut abi = Array::<_, [u8; size_of::<Layout>()]>::try_from(Map::Array(data)).expect("an array");
    let mut layout = abi.get(&0, 0).expect("written");
    layout[..4].copy_from_slice(&3u32.to_ne_bytes());
    abi.set(0, layout, 0).expect("writable");
    let differs = |opened| {
        let refusal = refusal(opened);
        assert!(matches!(refusal, Refusal::PinnedDiffers { .. }), "{refusal}");
        format!("{refusal}; {}", refusal.cure())
    };
    let said = differs(opened(&scene, |_| {}));
    let wanted = format!("layout version 3 where this is version {ABI_VERSION}");
    assert!(said.contains(&wanted) && said.contains(pins.to_str().expect("text")), "{said}");
    assert!(pins.join("link-native-r0").exists(), "streams are in it");
    let discarded = opened(&scene, |options| options.discard_pins = true);
    assert_eq!(discarded.datapath.expect("started anew").flows(), []);

    // A table of the right version that is smaller than its layout says, and a layout that is longer.
    let make = |change: fn(&mut Vec<u8>), version: u32, streams: u32| {
        tandem_datapath::discard("test", &scene.bpffs).expect("removed");
        fs::create_dir(&pins).expect("a folder");
        let mut object = fs::read(&scene.object).expect("the object");
        change(&mut object);
        let mut loader = EbpfLoader::new();
        for name in ["STREAMS", "PORTS", "ABI"] {
            loader.map_pin_path(name, pins.join(name));
        }
        loader.map_max_entries("STREAMS", streams).map_max_entries("PORTS", 60_000);
        let mut ebpf = loader.load(&object).expect("loaded");
        let Some(Map::Array(data)) = ebpf.take_map("ABI") else { panic!("no ABI") };
        if data.info().expect("known").value_size() as usize == layout.len() {
            let mut layout = layout;
            layout[..4].copy_from_slice(&version.to_ne_bytes());
            Array::<_, [u8; size_of::<Layout>()]>::try_from(Map::Array(data)).expect("an array").set(0, layout, 0)
        } else {
            let mut longer = [0; size_of::<Layout>() + 8];
            longer[..4].copy_from_slice(&version.to_ne_bytes());
            Array::<_, [u8; size_of::<Layout>() + 8]>::try_from(Map::Array(data)).expect("an array").set(0, longer, 0)
        }
        .expect("written");
    };
    make(|_| {}, ABI_VERSION, 10);
    let said = differs(opened(&scene, |_| {}));
    assert!(said.contains("the map STREAMS has 10 entries of 128 bytes where 60000 of 128 are wanted"), "{said}");
    make(
        |object| {
            let maps = section(object, "maps");
            // `bpf_map_def` of ABI: an array of one with this key and value.
            let definition = [2u32, 4, size_of::<Layout>() as u32, 1].map(u32::to_le_bytes).concat();
            let at = object[maps.clone()].windows(16).position(|bytes| bytes == definition).expect("its definition");
            object[maps][at + 8..at + 12].copy_from_slice(&(size_of::<Layout>() as u32 + 8).to_le_bytes());
        },
        7,
        60_000,
    );
    let said = differs(opened(&scene, |_| {}));
    assert!(said.contains(&format!("layout version 7 where this is version {ABI_VERSION}")), "{said}");
    let discarded = opened(&scene, |options| options.discard_pins = true);
    discarded.datapath.expect("started anew").detach().expect("gone");
}
