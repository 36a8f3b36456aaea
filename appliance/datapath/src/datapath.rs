//! The handle: opened once, shared by all threads.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::xdp::{DevMapHash, XdpMapError};
use aya::maps::{HashMap, MapData, PerCpuArray, RingBuf};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use tandem_ebpf_abi::{FlowCounters, FlowKey, FlowValue, Layout, TOTALS_WORDS, Totals};
use tandem_media::flow::FlowCommand;

use crate::bpffs;
use crate::error::Refusal;
use crate::events::{self, Event};
use crate::flows::Flows;
use crate::interfaces;
use crate::object::{self, errno, kernel};
use crate::options::{self, Attached, Mode, Notice, Options};

/// Longest frame a simulated packet can be.
const FRAME_MAX: usize = 3_500;

/// What [`open`] made of the options.
#[derive(Debug)]
pub struct Opened {
    /// The fast path; `None` when it is refused as a whole, or no interface could be served.
    pub datapath: Option<Datapath>,
    /// What to tell the operator, an interface a line.
    pub notices: Vec<Notice>,
}

/// One interface, for `tandem status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its name in the configuration.
    pub interface: String,
    /// Its number.
    pub index: u32,
    /// How it is served.
    pub attached: Attached,
}

/// The fast path as a whole, for `tandem status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Interfaces that are served.
    pub interfaces: Vec<InterfaceStatus>,
    /// Local media addresses, by slot.
    pub addresses: Vec<IpAddr>,
    /// Where its pins are.
    pub pins: PathBuf,
    /// The program's number in the kernel (`bpftool prog show id N`).
    pub program_id: u32,
    /// Instructions after the verifier has taken out what is never reached.
    pub instructions: u32,
    /// Instructions the verifier looked at.
    pub verified: u32,
}

/// What the loaded program does with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// `XDP_DROP` 1, `XDP_PASS` 2, `XDP_TX` 3, `XDP_REDIRECT` 4.
    pub action: u32,
    /// The frame as it leaves the program.
    pub frame: Vec<u8>,
}

/// The program, loaded and attached, and its maps.
///
/// Every thread may use it. Flows and counters take neither lock nor system call, but each port must be written by one
/// thread: the shard that leases it. Dropping it ends nothing: what is pinned goes on relaying ([`Datapath::detach`]).
pub struct Datapath {
    flows: Flows,
    options: Options,
    layout: Layout,
    attached: Vec<InterfaceStatus>,
    program: Mutex<Ebpf>,
    events: Mutex<RingBuf<MapData>>,
    totals: Mutex<PerCpuArray<MapData, [u64; TOTALS_WORDS]>>,
}

impl fmt::Debug for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Datapath").field("interfaces", &self.attached).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads the program, takes over what an earlier process left pinned, and attaches to the interfaces.
///
/// Never fails as such: without a datapath the user-space relay does all the work, and the notices say why.
pub fn open(options: &Options) -> Opened {
    let mut notices = Vec::new();
    let datapath = match start(options, &mut notices) {
        Ok(datapath) => datapath,
        Err(refusal) => {
            notices.push(Notice::Refused { interface: None, refusal });
            None
        }
    };
    Opened { datapath, notices }
}

fn start(options: &Options, notices: &mut Vec<Notice>) -> Result<Option<Datapath>, Refusal> {
    if options.mode == Mode::Off {
        return Err(Refusal::Off);
    }
    if options.interfaces.is_empty() {
        return Err(Refusal::NoInterface);
    }
    let layout = object::layout_of(options)?;
    let bytes = object::read(&options.object)?;
    bpffs::ready(&options.bpffs)?;
    let mut ebpf = object::load(options, &layout, &bytes, &options.object)?;
    let flows = {
        let (streams, ports) = (fd_of(&ebpf, &options.object, "STREAMS")?, fd_of(&ebpf, &options.object, "PORTS")?);
        Flows::new(streams, ports, &layout).map_err(|error| kernel("mapping the ports", &error))?
    };
    if let Err(refusal) = ask_routes(options) {
        notices.push(Notice::Refused { interface: None, refusal });
    }
    let mut attached = Vec::new();
    for interface in &options.interfaces {
        match attach(&mut ebpf, options, interface) {
            Ok((status, notice)) => {
                attached.push(status);
                notices.push(notice);
            }
            Err(refusal) => notices.push(Notice::Refused { interface: Some(interface.clone()), refusal }),
        }
    }
    forget_links(&options.pins(), &attached);
    if attached.is_empty() {
        return Ok(None);
    }
    devices(&mut ebpf, &attached)?;
    let events = take(&mut ebpf, &options.object, "EVENTS")?;
    let totals = take(&mut ebpf, &options.object, "TOTALS")?;
    Ok(Some(Datapath {
        flows,
        options: options.clone(),
        layout,
        attached,
        program: Mutex::new(ebpf),
        events: Mutex::new(RingBuf::try_from(events).map_err(|e| kernel("opening the ring of events", &e))?),
        totals: Mutex::new(PerCpuArray::try_from(totals).map_err(|e| kernel("opening the totals", &e))?),
    }))
}

/// Takes away what an earlier process left in the kernel when nothing of it is wanted: programs off the interfaces, flows gone.
/// Returns whether a program was attached. For a start whose fast path is refused or not asked for: the old flows would go on, and
/// nobody would know.
///
/// # Errors
/// When pins cannot be removed.
pub fn discard(name: &str, bpffs: &Path) -> Result<bool, Refusal> {
    let pins = options::pins_of(name, bpffs);
    let mut entries = fs::read_dir(&pins).into_iter().flatten().flatten();
    let attached = entries.any(|entry| entry.file_name().to_string_lossy().starts_with("link-"));
    object::discard(&pins)?;
    Ok(attached)
}

impl Datapath {
    /// Does what `command` says. For a removal the final counters come back; `None` when there was no such flow, and for
    /// an installation.
    pub fn apply(&self, command: &FlowCommand) -> Option<FlowCounters> {
        match command {
            FlowCommand::Install { key, value } => {
                let installed = self.flows.install(*key, value);
                debug_assert!(installed, "{key:?} is outside the configured ports");
                None
            }
            FlowCommand::Remove { key, .. } => self.flows.remove(*key),
        }
    }

    /// Counters of a port; `None` when it is outside the configuration. All zero without a flow.
    pub fn counters(&self, key: FlowKey) -> Option<FlowCounters> {
        self.flows.counters(key)
    }

    /// The flow of a port.
    pub fn flow(&self, key: FlowKey) -> Option<FlowValue> {
        self.flows.flow(key)
    }

    /// All flows: what to adopt after a restart, and where to look for orphans.
    pub fn flows(&self) -> Vec<(FlowKey, FlowValue)> {
        self.flows.all()
    }

    /// Shows every flow's counters to `each`, without a system call; returns how many there were.
    pub fn scan(&self, mut each: impl FnMut(FlowKey, &FlowCounters)) -> usize {
        self.flows.scan(&mut each)
    }

    /// Sums over all flows since the maps were made.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn totals(&self) -> Result<Totals, Refusal> {
        let values = locked(&self.totals).get(&0, 0).map_err(|e| kernel("reading the totals", &e))?;
        Ok(events::sum(&values))
    }

    /// Packets that were forwarded while their flow was being removed, too late for its final counters. With these the
    /// counters of all flows, removed and present, add up to [`Datapath::totals`].
    pub fn late_packets(&self) -> u64 {
        self.flows.collect();
        self.flows.late()
    }

    /// Shows the events since the last call to `each`; returns how many there were. At most `limit`.
    pub fn poll_events(&self, limit: usize, each: &mut dyn FnMut(Event<'_>)) -> usize {
        let mut ring = locked(&self.events);
        let mut seen = 0;
        while seen < limit
            && let Some(record) = ring.next()
        {
            if let Some(event) = Event::read(&record) {
                each(event);
            }
            seen += 1;
        }
        seen
    }

    /// Looks at the interfaces again: which went down, away or got another name. VLANs that are new are served from now.
    pub fn check(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for status in &self.attached {
            let interface = status.interface.clone();
            let refusal = match interfaces::index_of(&interface) {
                Some(index) if index == status.index => {
                    (!interfaces::is_up(&interface)).then(|| Refusal::InterfaceDown { interface: interface.clone() })
                }
                _ => Some(match interfaces::name_of(status.index) {
                    Some(now) => Refusal::InterfaceRenamed { interface: interface.clone(), now },
                    None => Refusal::InterfaceMissing { interface: interface.clone() },
                }),
            };
            if let Some(refusal) = refusal {
                notices.push(Notice::Refused { interface: Some(interface), refusal });
            }
        }
        if let Err(refusal) = devices(&mut locked(&self.program), &self.attached) {
            notices.push(Notice::Refused { interface: None, refusal });
        }
        notices
    }

    /// Puts the program of `object` in the place of the running one, on every interface, without losing a packet. Flows
    /// and counters stay.
    ///
    /// # Errors
    /// Why the new program is refused; the old one goes on.
    pub fn upgrade(&self, object: &Path) -> Result<(), Refusal> {
        let bytes = object::read(object)?;
        let mut options = self.options.clone();
        // What is pinned is in use.
        options.discard_pins = false;
        let mut new = object::load(&options, &self.layout, &bytes, object)?;
        for status in &self.attached {
            let path = link_path(&options.pins(), &status.interface, status.attached);
            replace(object::program(&mut new, object)?, &path)?;
        }
        *locked(&self.program) = new;
        Ok(())
    }

    /// Ends the fast path: programs off the interfaces, pins removed, flows gone.
    ///
    /// # Errors
    /// When pins cannot be removed.
    pub fn detach(self) -> Result<(), Refusal> {
        object::discard(&self.options.pins())
    }

    /// What is running.
    pub fn status(&self) -> Status {
        let mut program = locked(&self.program);
        let info = object::program(&mut program, &self.options.object).ok().and_then(|xdp| xdp.info().ok());
        Status {
            interfaces: self.attached.clone(),
            addresses: self.options.addresses.clone(),
            pins: self.options.pins(),
            program_id: info.as_ref().map_or(0, |info| info.id()),
            instructions: info.as_ref().and_then(|info| info.size_translated()).unwrap_or(0) / 8,
            verified: info.as_ref().and_then(|info| info.verified_instruction_count()).unwrap_or(0),
        }
    }

    /// Asks the running program what it does with `frame`, as if it had come in by `interface`. It counts as if it had.
    ///
    /// # Errors
    /// When the kernel cannot run it, or the interface is not served.
    pub fn simulate(&self, interface: &str, frame: &[u8]) -> Result<Simulated, Refusal> {
        let served = self.attached.iter().find(|status| status.interface == interface);
        let index = served.ok_or_else(|| Refusal::InterfaceMissing { interface: interface.to_owned() })?.index;
        let mut program = locked(&self.program);
        run(object::program(&mut program, &self.options.object)?, index, frame, 1).map(|(simulated, _)| simulated)
    }

    /// How long one run takes, over `repeat` of them; each gets the frame as the one before left it, and the last one's is
    /// in the answer. For measurements.
    ///
    /// # Errors
    /// As [`Datapath::simulate`].
    pub fn time(&self, interface: &str, frame: &[u8], repeat: u32) -> Result<(Simulated, Duration), Refusal> {
        let served = self.attached.iter().find(|status| status.interface == interface);
        let index = served.ok_or_else(|| Refusal::InterfaceMissing { interface: interface.to_owned() })?.index;
        let mut program = locked(&self.program);
        run(object::program(&mut program, &self.options.object)?, index, frame, repeat)
    }
}

/// Runs a program with `frame` from the interface with this number; the time is that of one of `repeat` runs.
fn run(program: &Xdp, index: u32, frame: &[u8], repeat: u32) -> Result<(Simulated, Duration), Refusal> {
    let mut out = vec![0; FRAME_MAX];
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let mut context = [0u8; 24];
    context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&index.to_ne_bytes());
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        repeat,
        ..TestRunOptions::default()
    };
    let result = program.test_run(options).map_err(|error| kernel("running the program with a frame", &error))?;
    out.truncate(result.data_size_out as usize);
    Ok((Simulated { action: result.return_value, frame: out }, result.duration))
}

fn fd_of<'a>(ebpf: &'a Ebpf, path: &Path, name: &str) -> Result<std::os::fd::BorrowedFd<'a>, Refusal> {
    use std::os::fd::AsFd as _;
    match ebpf.map(name) {
        Some(aya::maps::Map::Array(data)) => Ok(data.fd().as_fd()),
        _ => Err(object::missing(path, &format!("the map {name}"))),
    }
}

fn take(ebpf: &mut Ebpf, path: &Path, name: &str) -> Result<aya::maps::Map, Refusal> {
    ebpf.take_map(name).ok_or_else(|| object::missing(path, &format!("the map {name}")))
}

fn link_path(pins: &Path, interface: &str, attached: Attached) -> PathBuf {
    pins.join(format!("link-{}-{interface}", attached.as_str()))
}

/// Attaches to one interface: a pinned link is taken over, else native, else generic.
fn attach(ebpf: &mut Ebpf, options: &Options, interface: &str) -> Result<(InterfaceStatus, Notice), Refusal> {
    let missing = || Refusal::InterfaceMissing { interface: interface.to_owned() };
    let index = interfaces::index_of(interface).ok_or_else(missing)?;
    let program = object::program(ebpf, &options.object)?;
    let pins = options.pins();
    let served = |attached| InterfaceStatus { interface: interface.to_owned(), index, attached };
    let notice = |attached, adopted, instead_of_native| Notice::Attached {
        interface: interface.to_owned(),
        attached,
        adopted,
        instead_of_native,
    };
    for attached in [Attached::Native, Attached::Generic] {
        let wanted = match options.mode {
            Mode::Auto => true,
            Mode::Native => attached == Attached::Native,
            Mode::Generic => attached == Attached::Generic,
            Mode::Off => false,
        };
        let path = link_path(&pins, interface, attached);
        if !path.exists() {
            continue;
        }
        if wanted && replace(program, &path).is_ok() {
            return Ok((served(attached), notice(attached, true, None)));
        }
        // Another mode is wanted, or its interface is gone: what has that name now is a different one.
        fs::remove_file(&path).map_err(|error| kernel("removing an old link", &error))?;
    }
    let mut instead_of_native = None;
    if matches!(options.mode, Mode::Auto | Mode::Native) {
        match attach_new(program, interface, index, XdpMode::Driver, &link_path(&pins, interface, Attached::Native)) {
            Ok(()) => return Ok((served(Attached::Native), notice(Attached::Native, false, None))),
            Err(refusal) if options.mode == Mode::Native => return Err(refusal),
            Err(refusal @ Refusal::InterfaceBusy { .. }) => return Err(refusal),
            Err(refusal) => instead_of_native = Some(refusal),
        }
    }
    attach_new(program, interface, index, XdpMode::Skb, &link_path(&pins, interface, Attached::Generic))?;
    Ok((served(Attached::Generic), notice(Attached::Generic, false, instead_of_native)))
}

fn attach_new(program: &mut Xdp, interface: &str, index: u32, mode: XdpMode, pin: &Path) -> Result<(), Refusal> {
    let id = program.attach_to_if_index(index, mode).map_err(|error| unattached(&error, interface, mode))?;
    let link = program.take_link(id).map_err(|error| kernel("taking the link", &error))?;
    let link = FdLink::try_from(link).map_err(|error| kernel("taking the link", &error))?;
    link.pin(pin).map_err(|error| kernel("pinning the link", &error))?;
    Ok(())
}

/// Swaps the program of a pinned link: one step for the kernel, no packet meets neither of them.
fn replace(program: &mut Xdp, pin: &Path) -> Result<(), Refusal> {
    let pinned = PinnedLink::from_pin(pin).map_err(|error| kernel("opening a pinned link", &error))?;
    let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| kernel("opening a pinned link", &error))?;
    let id = program.attach_to_link(link).map_err(|error| kernel("replacing the program", &error))?;
    // The pin holds the link, this process need not.
    program.take_link(id).map_err(|error| kernel("taking the link", &error))?;
    Ok(())
}

fn unattached(error: &ProgramError, interface: &str, mode: XdpMode) -> Refusal {
    let interface = interface.to_owned();
    let native = matches!(mode, XdpMode::Driver);
    match errno(error) {
        Some(libc::EOPNOTSUPP) if native => Refusal::NoNativeDriver { interface },
        Some(libc::ERANGE | libc::EINVAL) if native => {
            let mtu = interfaces::mtu_of(&interface).unwrap_or(0);
            Refusal::MtuTooLarge { interface, mtu }
        }
        Some(libc::EBUSY | libc::EEXIST) => Refusal::InterfaceBusy { interface },
        Some(libc::ENODEV) => Refusal::InterfaceMissing { interface },
        Some(libc::EPERM) => Refusal::NoCapability { what: "attaching to an interface" },
        _ => kernel(&format!("attaching to {interface}"), error),
    }
}

/// Links of interfaces that are not in the configuration any more.
fn forget_links(pins: &Path, attached: &[InterfaceStatus]) {
    let wanted: Vec<PathBuf> = attached.iter().map(|s| link_path(pins, &s.interface, s.attached)).collect();
    for entry in fs::read_dir(pins).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_link = entry.file_name().to_string_lossy().starts_with("link-");
        if is_link && !wanted.contains(&path) {
            // If it stays, the worst is that the interface goes on relaying.
            let _ = fs::remove_file(path);
        }
    }
}

/// Tells the program which interfaces it may send by, and the VLANs on them.
fn devices(ebpf: &mut Ebpf, attached: &[InterfaceStatus]) -> Result<(), Refusal> {
    let wrong = |e: XdpMapError| kernel("writing the ways out", &e);
    let absent = || kernel("opening the ways out", &std::io::Error::from(std::io::ErrorKind::NotFound));
    let map = ebpf.map_mut("WAYS_OUT").ok_or_else(absent)?;
    let mut ways_out = DevMapHash::try_from(map).map_err(|e| kernel("opening the ways out", &e))?;
    for status in attached {
        ways_out.insert(status.index, status.index, None, 0).map_err(wrong)?;
    }
    let map = ebpf.map_mut("DEVICES").ok_or_else(absent)?;
    let mut devices = HashMap::<_, u32, [u32; 2]>::try_from(map).map_err(|e| kernel("opening the devices", &e))?;
    for status in attached {
        let on_it = interfaces::vlans_on(&status.interface);
        for (index, vlan) in on_it.into_iter().chain([(status.index, 0)]) {
            devices.insert(index, [status.index, vlan], 0).map_err(|e| kernel("writing the devices", &e))?;
        }
    }
    Ok(())
}

/// Routes are asked for as if the packets began here (they do), which the kernel allows only when the loopback interface
/// forwards. It changes nothing else: nothing from outside comes in by loopback.
fn ask_routes(options: &Options) -> Result<(), Refusal> {
    let families = [
        ("/proc/sys/net/ipv4/conf/lo/forwarding", options.addresses.iter().any(IpAddr::is_ipv4)),
        ("/proc/sys/net/ipv6/conf/lo/forwarding", options.addresses.iter().any(IpAddr::is_ipv6)),
    ];
    for (path, _) in families.iter().filter(|(_, used)| *used) {
        if fs::read_to_string(path).is_ok_and(|text| text.trim() == "1") {
            continue;
        }
        fs::write(path, "1\n").map_err(|error| Refusal::NoRoutes { path: path.into(), error })?;
    }
    Ok(())
}
