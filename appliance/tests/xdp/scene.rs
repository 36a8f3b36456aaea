//! A switch in a namespace, its customer and its vendor in two others, and streams between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tandem_netns::{Lab, Place, Receiver};

use crate::common::{Family, Net, Plan, Switch, until};
use crate::peer::{Peer, Stage};
use crate::streams::{Ends, PTIME, Talk};

/// The kernel's program; nothing when this machine cannot run it, which is printed.
pub(crate) fn object() -> Option<PathBuf> {
    tandem_netns::kernel_program("relay.o")
}

/// Everything together; gone with the test.
pub(crate) struct Scene {
    pub(crate) switch: Switch,
    /// Customer and vendor, once they are needed.
    parties: OnceLock<[Peer; 2]>,
    pub(crate) bpffs: PathBuf,
    _receivers: Vec<Receiver>,
    pub(crate) lab: Lab,
}

impl Scene {
    /// A switch with the fast path on both links; `more` are further lines of `[media]`.
    #[track_caller]
    pub(crate) fn new(interfaces: &[&str], more: &str) -> Option<Scene> {
        Scene::of(interfaces, more, Plan::default())
    }

    /// The same with another plan.
    #[track_caller]
    pub(crate) fn of(interfaces: &[&str], more: &str, plan: Plan) -> Option<Scene> {
        Scene::prepared(interfaces, more, plan, Family::V4, |_| {})
    }

    /// The same with addresses of another family, in a lab that `prepare` has changed.
    #[track_caller]
    pub(crate) fn prepared(
        interfaces: &[&str],
        more: &str,
        plan: Plan,
        family: Family,
        prepare: impl FnOnce(&Lab),
    ) -> Option<Scene> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let object = object()?;
        let name = format!("tx{}x{}", std::process::id() % 100_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let bpffs = std::env::temp_dir().join(format!("bpffs-{name}"));
        let lab = Lab::up(&name).expect("the namespaces come up");
        prepare(&lab);
        let receivers = lab.receive(&object).expect("programs on the far ends");
        let file = if more.contains("xdp_object") { String::new() } else { format!("xdp_object = {object:?}\n") };
        let media = format!("interfaces = {interfaces:?}\nbpffs = {bpffs:?}\n{file}{more}");
        let net = Net::of_lab(family);
        let plan = Plan { media, ..plan };
        let namespace = format!("--net=/run/netns/{}", lab.namespace(Place::Relay));
        let switch = Switch::start_at(&plan, net, |_| vec!["nsenter".to_owned(), namespace]);
        Some(Scene { switch, parties: OnceLock::new(), bpffs, _receivers: receivers, lab })
    }

    fn parties(&self) -> &[Peer; 2] {
        self.parties.get_or_init(|| {
            let net = self.switch.net;
            [(Place::A, SocketAddr::new(net.customer(), 5060)), (Place::B, net.vendor(1))].map(|(place, address)| {
                self.lab.at(place, || Peer::new(address, net.sip())).expect("a party in its namespace")
            })
        })
    }

    /// The customer.
    pub(crate) fn customer(&self) -> &Peer {
        &self.parties()[0]
    }

    /// The vendor.
    pub(crate) fn vendor(&self) -> &Peer {
        &self.parties()[1]
    }

    /// Starts the switch again with another `tandemd.toml`, through other programs in its namespace.
    #[track_caller]
    pub(crate) fn start_with(&mut self, change: impl FnOnce(&str) -> String, through: &[&str]) {
        let file = self.switch.folder.join("tandemd.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, change(&text)).unwrap();
        let namespace = format!("--net=/run/netns/{}", self.lab.namespace(Place::Relay));
        let enter = ["nsenter".to_owned(), namespace];
        self.switch.start_again_through(enter.into_iter().chain(through.iter().map(ToString::to_string)).collect());
    }

    /// A call that both sides have, with its streams running.
    #[track_caller]
    pub(crate) fn call(&self, number: &str) -> Talk {
        self.place(number);
        self.talk(vec![self.both_sides(number)])
    }

    /// Starts the streams of calls.
    pub(crate) fn talk(&self, calls: Vec<Ends>) -> Talk {
        Talk::start(calls, PTIME)
    }

    /// The customer calls; see [`Scene::both_sides`] for the answer.
    pub(crate) fn place(&self, number: &str) {
        self.lab.at(Place::A, || self.customer().call(number)).expect("a call");
    }

    /// The parties of a call, once both have it.
    #[track_caller]
    pub(crate) fn both_sides(&self, number: &str) -> Ends {
        self.parties().each_ref().map(|party| {
            let dialog = party.once(number, |dialog| dialog.stage == Stage::Talking);
            (dialog.rtp.clone(), dialog.media.expect("media of the switch"))
        })
    }

    /// The caller hangs up, and both sides see the end.
    #[track_caller]
    pub(crate) fn hang_up(&self, number: &str) {
        self.customer().hang_up(number);
        self.customer().once(number, |dialog| dialog.stage == Stage::Ended);
        self.vendor().once(number, |dialog| dialog.stage == Stage::Ended);
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
        until("every call is answered", || {
            let status = self.switch.json(&["status"]);
            (status["calls_talking"] != 0 && status["calls_setup"] == 0).then_some(())
        });
        self.switch.written_down();
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
