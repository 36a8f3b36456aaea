//! A switch in a namespace, its customer and its vendor in two others, and streams between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tandem_netns::{Lab, Place, Receiver};

use crate::common::{Net, Plan, Switch, until};
use crate::peer::{Peer, Stage};
use crate::streams::{Ends, PTIME, Talk};

/// The kernel's program; nothing when this machine cannot run it, which is printed.
pub(crate) fn object() -> Option<PathBuf> {
    tandem_netns::kernel_program("relay.o")
}

/// Everything together; gone with the test.
pub(crate) struct Scene {
    pub(crate) switch: Switch,
    pub(crate) customer: Arc<Peer>,
    pub(crate) vendor: Arc<Peer>,
    bpffs: PathBuf,
    _receivers: Vec<Receiver>,
    lab: Lab,
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let object = object()?;
        let name = format!("tx{}x{}", std::process::id() % 100_000, COUNT.fetch_add(1, Ordering::Relaxed));
        let bpffs = std::env::temp_dir().join(format!("bpffs-{name}"));
        let lab = Lab::up(&name).expect("the namespaces come up");
        let receivers = lab.receive(&object).expect("programs on the far ends");
        let file = if more.contains("xdp_object") { String::new() } else { format!("xdp_object = {object:?}\n") };
        let media = format!("interfaces = {interfaces:?}\nbpffs = {bpffs:?}\n{file}{more}");
        let net = Net::of_lab();
        let plan = Plan { media, ..plan };
        let namespace = format!("--net=/run/netns/{}", lab.namespace(Place::Relay));
        let switch = Switch::start_at(&plan, net, |_| vec!["nsenter".to_owned(), namespace]);
        let party = |place, address: SocketAddr| {
            let sip = net.sip();
            Arc::new(lab.at(place, move || Peer::new(address, sip)).expect("a party in its namespace"))
        };
        let customer = party(Place::A, (net.customer(), 5060).into());
        let vendor = party(Place::B, net.vendor(1));
        Some(Scene { switch, customer, vendor, bpffs, _receivers: receivers, lab })
    }

    /// A call that both sides have, with its streams running.
    #[track_caller]
    pub(crate) fn call(&self, number: &str) -> Talk {
        self.place(number);
        Talk::start(vec![self.both_sides(number)], PTIME)
    }

    /// The customer calls; see [`Scene::both_sides`] for the answer.
    pub(crate) fn place(&self, number: &str) {
        let (customer, called) = (self.customer.clone(), number.to_owned());
        self.lab.at(Place::A, move || customer.call(&called)).expect("a call");
    }

    /// The parties of a call, once both have it.
    #[track_caller]
    pub(crate) fn both_sides(&self, number: &str) -> Ends {
        [&self.customer, &self.vendor].map(|party| {
            let dialog = party.once(number, |dialog| dialog.stage == Stage::Talking);
            (dialog.rtp.clone(), dialog.media.expect("media of the switch"))
        })
    }

    /// The caller hangs up, and both sides see the end.
    #[track_caller]
    pub(crate) fn hang_up(&self, number: &str) {
        self.customer.hang_up(number);
        self.customer.once(number, |dialog| dialog.stage == Stage::Ended);
        self.vendor.once(number, |dialog| dialog.stage == Stage::Ended);
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
        until("every call has its first heartbeat", || {
            let status = self.switch.json(&["status"]);
            (status["calls_talking"] != 0
                && status["calls_setup"] == 0
                && status["counters"]["calls_first_heartbeat_due"] == 0)
                .then_some(())
        });
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
