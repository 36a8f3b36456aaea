//! Start order, top to bottom: kernel, configuration, journal, database, site, money, sockets, control. Whatever is
//! missing is named with its cure before the first call is taken.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use tandem_call::FlowNumbers;
use tandem_call::calls::{CallsConfig, MediaAddress, MediaConfig};
use tandem_call::snapshot::Snapshot;
use tandem_desk::{Desk, Past, phone_payers};
use tandem_leg::Now;
use tandem_media::AnchorRules;
use tandem_rater::{AccountConfig, Adoption, GatewayConfig, Rater, Rules};
use tandem_rating::import::{self, ImportMode, ImportOptions};
use tandem_rating::rate::Deck;
use tandem_rating::record::{Actor, Audit, Change, DeckText, Outcome, Record};
use tandem_ring::{UdpOptions, bind_exclusive_check};
use tandem_shard::Carry;
use tandem_sip::Listener;
use tandem_store::{Journal, JournalOptions, OpenCall, Queries, StoreOptions, StoredChange};

use crate::cdr_output::{self, CdrOutput, Places};
use crate::clock::Clock;
use crate::config::{Config, Listen};
use crate::control::{self, ControlState, Pending, StoredDeck};
use crate::fast_path::{self, MediaPath};
use crate::one_socket::OneSocket;
use crate::params::Params;
use crate::rating_thread::RatingThread;
use crate::shard::{Shard, ShardConfig};
use crate::site::{self, Built, Ids, Listeners, Site};
use crate::steering::Steering;
use crate::topology::{MoneyCounters, Projection, RatingDoor, ShardDoor, Shared};
use crate::{disk, entropy, journal_room, limits, log};

/// A running switch.
pub struct Running {
    shared: Arc<Shared>,
    shards: Vec<JoinHandle<()>>,
    rating: JoinHandle<()>,
    sync: JoinHandle<()>,
    store: JoinHandle<()>,
    cdr_files: JoinHandle<()>,
    media: Option<JoinHandle<()>>,
    control: control::Handle,
}

impl Running {
    /// Ends every call with its record, writes everything, stops. False when something broke.
    pub fn stop(self) -> bool {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for door in &self.shared.shards {
            door.waker.wake();
        }
        self.control.stop();
        for thread in self.shards.into_iter().chain([self.rating, self.sync, self.store]).chain(self.media) {
            // A panic aborts the process, so a join cannot fail; nothing is left to do about it here anyway.
            let _ = thread.join();
        }
        // The last calls are written by now.
        self.shared.cdr_output.stop();
        let _ = self.cdr_files.join();
        let failed = self.shared.failed.load(Ordering::SeqCst);
        // All threads have ended, and nobody else has it.
        match Arc::into_inner(self.shared) {
            Some(shared) => shared.media.end(),
            // That is our own mistake; what is pinned is taken over by the next start.
            None => log::warning("somebody still works: what is in the kernel stays there"),
        }
        !failed
    }
}

/// Starts the switch.
///
/// # Errors
/// One sentence with the cause and the cure.
pub fn start(config: &Config, site_file: Option<&Path>) -> Result<Running> {
    tandem_ring::probe().context("this kernel cannot run tandemd")?;
    let clock = Clock;
    raise_descriptors();

    // Refused before anything is written: a second daemon on these ports or this data.
    for listen in &config.listen {
        port_is_free(listen.address).with_context(|| format!("cannot listen for SIP on {}", listen.address))?;
    }
    for address in config.media.addresses() {
        port_is_free(SocketAddr::new(address, 0)).with_context(|| format!("cannot use the media address {address}"))?;
    }
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data directory {}", config.data_dir.display()))?;

    let (mut journal, report) = Journal::open(&config.data_dir.join("journal"), JournalOptions::default())?;
    for line in report.lines() {
        log::info(&line);
    }
    let options = StoreOptions::new(&config.currency);
    let (recovered, rebuilt) = tandem_store::recover_or_rebuild(&mut journal, &options, clock.now().wall_ms)?;
    for line in rebuilt.iter().flat_map(tandem_store::Rebuilt::lines) {
        log::warning(&line);
    }
    for line in &recovered.lines {
        log::info(line);
    }

    let listeners = Listeners(config.listen.iter().map(|l| l.address).collect());
    let mut ids = Ids::default();
    let mut decks: HashMap<String, StoredDeck> = HashMap::new();
    let mut deleted_decks: HashMap<String, u64> = HashMap::new();
    for deck in &recovered.decks {
        if deck.deleted {
            deleted_decks.insert(deck.group.clone(), deck.version);
            continue;
        }
        decks.insert(deck.group.clone(), StoredDeck::from_csv(&deck.group, deck.version, deck.at_ms, &deck.csv)?);
    }
    let now_ms = clock.now().wall_ms;
    let mut first = Vec::new();
    let mut at = match &recovered.site {
        Some(stored) => Standing {
            site: Site::parse(&stored.text).map_err(|e| anyhow!("the stored site configuration: {e}"))?,
            version: recovered.version,
            site_version: stored.version,
            pending: None,
        },
        None => {
            let (site, record) = bootstrap(config, &mut decks, now_ms)?;
            first.push(record);
            Standing { site, version: 1, site_version: 1, pending: None }
        }
    };
    if let Some(waiting) = &recovered.unconfirmed {
        let dir = config.data_dir.join("journal");
        unconfirmed(&mut at, &mut first, waiting, &dir, now_ms, |site, version| {
            site.build(version, &config.node, &mut Ids::default(), &compiled(&decks), &listeners).map(|_| ())
        })?;
    }
    if let Some(path) = site_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read --site {}", path.display()))?;
        let site = Site::parse(&text).map_err(|e| anyhow!("{}: {e}", path.display()))?;
        first.push(at.replace(site, "start", "tandemd --site", "", now_ms));
    }
    let Standing { site, version, site_version, pending } = at;
    let built = site.build(version, &config.node, &mut ids, &compiled(&decks), &listeners).map_err(|errors| {
        anyhow!(
            "the site configuration does not hold together; start with another one by --site FILE:\n  {}",
            errors.join("\n  ")
        )
    })?;
    let snapshot = Arc::new(built.snapshot.clone());

    // Money first: open calls of a crash are settled before new ones are taken.
    let mut rater = Rater::new(recovered.balances.iter().cloned());
    let now = clock.now();
    rater.configure(now, &accounts(&built), &gateways(&snapshot), rules(&built.params, config));
    rater.packages_before(recovered.packages.iter().map(|stored| {
        let tandem_store::StoredOrder { order, used_s, money, spent, .. } = stored.clone();
        (order, used_s, money, spent)
    }));
    rater.configure_packages(now, built.packages.clone());
    let past = Past {
        now,
        zone: &site::zone(),
        balances: &recovered.balances,
        accounts: &built.money,
        phone_payers: phone_payers(&snapshot),
    };
    let queries = Queries::open(&config.data_dir.join("journal"))?;
    past.tell(&mut rater, &queries).context("cannot add up what accounts spent")?;
    drop(queries);
    let boot = boot_id();
    let mut carried: Vec<Vec<Carry>> = (0..config.threads.shards).map(|_| Vec::new()).collect();
    let mut hung_up: Vec<Vec<Vec<u8>>> = (0..config.threads.shards).map(|_| Vec::new()).collect();
    let advance_min = snapshot.settings.overdraft_advance_min;
    // What is lost is charged before money is held for the others: the last of it may be theirs.
    let mut alive = Vec::new();
    for call in recovered.open_calls {
        let lost = tandem_store::settle_recovered(call.usage.clone(), call.held_ms);
        match may_go_on(config, now, &boot, &call) {
            Ok((home, held_s)) => alive.push((call, lost, home, held_s)),
            Err(why) => {
                log::info(&format!("call {} is settled to its last heartbeat: {why}", call.usage.flow_no));
                rater.settle_recovered(now, &lost);
                if let Some((home, _)) = tandem_shard::home_of(&call.carry, &boot, config.threads.shards as u8) {
                    hung_up[usize::from(home)].push(call.carry);
                }
            }
        }
    }
    let adoptions: Vec<_> =
        alive.iter().map(|(call, lost, _, held_s)| Adoption { usage: &call.usage, lost, held_s: *held_s }).collect();
    let grants = rater.adopt(now, &adoptions, advance_min);
    for ((call, lost, home, _), grant) in alive.into_iter().zip(grants) {
        match grant {
            Ok(grant) => {
                let carry = Carry { usage: call.usage, carry: call.carry, grant, lost: Box::new(lost) };
                carried[usize::from(home)].push(carry);
            }
            Err(why) => {
                log::info(&format!("call {} is settled to its last heartbeat: {why}", call.usage.flow_no));
                hung_up[usize::from(home)].push(call.carry);
            }
        }
    }
    for record in first.drain(..) {
        journal.append(&record)?;
    }
    while let Some(output) = rater.poll_output() {
        match output {
            tandem_rater::Output::Record(record) => {
                journal.append(&record)?;
            }
            tandem_rater::Output::Alarm(text) => log::error(&text),
            tandem_rater::Output::Answer { .. } => {}
        }
    }
    journal.flush().context("the journal cannot be written")?;
    let sync = journal.sync_handle();
    sync.sync().context("the journal cannot be synced")?;

    // One key for all shards, whose hash sends a stranger's Call-ID to its home; the same for the next start, whose shards
    // go on with the calls of this one.
    let key: [u8; 16] = entropy::kept(&config.data_dir.join("home.key"))?;
    let (low, high) = key.split_at(8);
    let half = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let shard_key = (half(low), half(high));
    let ports = built.params.rtp_ports();
    let shards = config.threads.shards;
    let parts = split(ports.0..=ports.1, shards);
    let media = MediaPath::open(config, ports.0..=ports.1);
    let one_socket = OneSocket::start(config, ports.0..=ports.1, media.datapath().is_some());
    if one_socket.program().is_none() {
        warn_of_descriptors(usize::from(ports.1 - ports.0) + 1, config);
    }
    let mut starting = Vec::new();
    let mut doors = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let (carried, hung_up) = (std::mem::take(&mut carried[n]), std::mem::take(&mut hung_up[n]));
        let life = Life { flow_floor: recovered.flow_floor, shard_key, boot, carried, hung_up };
        let shard = start_shard(config, &built, &snapshot, n, part.clone(), life, clock)?;
        doors.push(Arc::new(ShardDoor::new(shard.waker.clone())));
        starting.push(shard);
    }
    let shared = Arc::new(Shared {
        shards: doors,
        rating: Arc::new(RatingDoor::new(shards)),
        stopping: AtomicBool::new(false),
        failed: AtomicBool::new(false),
        shards_running: AtomicUsize::new(shards),
        journal_broken: AtomicBool::new(false),
        steering: Steering::start(config, shard_key),
        one_socket,
        projection: Projection::default(),
        money: MoneyCounters::default(),
        media,
        cdr_output: Arc::new(CdrOutput::new(built.params.cdr_output())),
    });

    let positions = journal.positions();
    let cdr_files = cdr_output::start(&shared.cdr_output, &Places::of(&config.data_dir), &positions)?;
    let (sync_door, sync_thread, store_thread) = disk::start(
        sync,
        &config.data_dir.join("journal"),
        positions.clone(),
        recovered.projector,
        recovered.reader,
        shared.clone(),
    )?;
    journal_room::start(config.data_dir.join("journal"), positions.clone(), shared.cdr_output.clone())?;
    let rating = RatingThread {
        desk: Desk::new(rater, journal),
        shared: shared.clone(),
        clock,
        sync: sync_door,
        external: HashSet::new(),
    };
    let rating = std::thread::Builder::new()
        .name("rating".to_owned())
        .spawn(move || rating.run())
        .context("cannot start the rating thread")?;

    let mut threads = Vec::new();
    for shard in starting {
        // A shard that is gone has sent its error, or panicked and taken the process with it.
        let _ = shard.go.send(shared.clone());
        shard.ready.recv().context("a shard ended while it started")??;
        threads.push(shard.thread);
    }
    let media = fast_path::watch(&shared, parts, config.limits.orphans_every_s)?;
    let control = control::start(
        ControlState {
            config: config.clone(),
            site,
            version,
            site_version,
            staged: None,
            pending,
            ids,
            decks,
            deleted_decks,
            params: built.params,
            listeners,
            snapshot,
            retired: Vec::new(),
            positions,
            shared: shared.clone(),
            clock,
            started_ms: now.wall_ms,
            ports: (u32::from(ports.1 - ports.0) + 1) * config.media.addresses().count() as u32,
            // As a shard that is not there.
            external_numbers: (shards < limits::SHARDS_MAX)
                .then(|| FlowNumbers::new(shards as u8, recovered.flow_floor)),
        },
        &config.control_socket,
    )?;
    Ok(Running { shared, shards: threads, rating, sync: sync_thread, store: store_thread, cdr_files, media, control })
}

/// Waits for a port that a killed predecessor still holds: the kernel lets the sockets of an io_uring go some time after
/// its process is gone.
fn port_is_free(address: SocketAddr) -> Result<()> {
    let mut left = limits::PORT_WAIT_MS / limits::PORT_RETRY_MS;
    loop {
        match bind_exclusive_check(address) {
            Err(error) if error.is_in_use() && left > 0 => {
                if left == limits::PORT_WAIT_MS / limits::PORT_RETRY_MS {
                    log::info(&format!("waiting for the port of {address}"));
                }
                left -= 1;
                std::thread::park_timeout(std::time::Duration::from_millis(limits::PORT_RETRY_MS));
            }
            result => return Ok(result?),
        }
    }
}

struct Starting {
    waker: tandem_ring::Waker,
    go: mpsc::Sender<Arc<Shared>>,
    ready: mpsc::Receiver<Result<()>>,
    thread: JoinHandle<()>,
}

/// What a shard is told of the lives of the switch before this one.
struct Life {
    flow_floor: u64,
    shard_key: (u64, u64),
    boot: [u8; 16],
    carried: Vec<Carry>,
    hung_up: Vec<Vec<u8>>,
}

/// Whether a call that was open may go on: at which shard, and the seconds it is held by now.
fn may_go_on(config: &Config, now: Now, boot: &[u8; 16], call: &OpenCall) -> Result<(u8, i64)> {
    let within_s = u64::from(config.limits.adopt_within_s);
    let (home, answered) = tandem_shard::home_of(&call.carry, boot, config.threads.shards as u8)
        .ok_or_else(|| anyhow!("it was not written for this start of the machine and these shards"))?;
    if !call.acknowledged {
        bail!("its caller had not acknowledged the answer");
    }
    let alive = answered.plus_millis(u64::try_from(call.held_ms).unwrap_or(0));
    let silent_s = now.mono.since(alive) / 1_000_000;
    // It may have lived for a heartbeat's time after the last one.
    if within_s == 0 || silent_s > within_s + limits::HEARTBEAT_MS / 1_000 {
        bail!("it was alive {silent_s} s ago, limits.adopt_within_s is {within_s}");
    }
    Ok((home, (now.mono.since(answered) / 1_000_000) as i64))
}

/// What the kernel calls the time since it was started; zeros where it does not say, and then no call is carried.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_or([0; 16], u128::to_be_bytes)
}

/// The ring belongs to the thread that made it: the thread makes it, tells its waker, and waits for the rest.
fn start_shard(
    config: &Config,
    built: &Built,
    snapshot: &Arc<Snapshot>,
    n: usize,
    ports: RangeInclusive<u16>,
    life: Life,
    clock: Clock,
) -> Result<Starting> {
    let (waker_in, waker) = mpsc::channel();
    let (go, started) = mpsc::channel::<Arc<Shared>>();
    let (ready_in, ready) = mpsc::channel();
    let shard = shard_config(config, built, snapshot, n, ports.clone(), life)?;
    let thread = std::thread::Builder::new()
        .name(format!("shard-{n}"))
        .spawn(move || {
            if let Some(core) = shard.core {
                pin(core);
            }
            let ring = match Shard::ring(ports.count() * shard.media_addresses.len()) {
                Ok(ring) => ring,
                Err(error) => {
                    let _ = waker_in.send(Err(error));
                    return;
                }
            };
            let _ = waker_in.send(Ok(ring.waker()));
            let Ok(shared) = started.recv() else {
                return;
            };
            let mut shard = match Shard::new(shard, clock, ring, shared.clone()) {
                Ok(shard) => shard,
                Err(error) => {
                    let _ = ready_in.send(Err(error));
                    return;
                }
            };
            let _ = ready_in.send(Ok(()));
            if let Err(error) = shard.run() {
                log::error(&format!("shard {n} ended: {error:#}"));
                // Without its shard the switch would take no calls and say nothing: the service manager starts it anew.
                std::process::exit(1);
            }
            shared.shards_running.fetch_sub(1, Ordering::SeqCst);
            shared.rating.wake();
        })
        .context("cannot start a shard thread")?;
    let waker = waker.recv().context("a shard thread ended while it started")??;
    Ok(Starting { waker, go, ready, thread })
}

fn shard_config(
    config: &Config,
    built: &Built,
    snapshot: &Arc<Snapshot>,
    n: usize,
    ports: RangeInclusive<u16>,
    life: Life,
) -> Result<ShardConfig> {
    let Life { flow_floor, shard_key, boot, carried, hung_up } = life;
    let (tos_signal, tos_rtp) = built.params.qos();
    let seed: [u8; 32] = entropy::bytes()?;
    let listeners: Vec<UdpOptions> = config
        .listen
        .iter()
        .map(|listen| UdpOptions {
            reuse_port: config.threads.shards > 1,
            tos: tos_signal,
            // A burst of calls must fit while the shard handles another: 4 MiB are some 2,000 INVITEs.
            recv_buffer: 4 << 20,
            send_buffer: 4 << 20,
            ..UdpOptions::new(listen.address)
        })
        .collect();
    let sip = tandem_sip::Config {
        shard: n as u8,
        shards: config.threads.shards as u8,
        shard_key,
        resend: built.params.resend(),
        reply_unauthorized: snapshot.settings.reply_unauthorized,
        known: known_sources(snapshot),
        refuse_unknown: true,
        user_agent: "tandem".to_owned(),
        ..tandem_sip::Config::new(
            config
                .listen
                .iter()
                .map(|l| Listener { local: l.address, advertised: l.advertise.unwrap_or(l.address) })
                .collect(),
            seed,
        )
    };
    let rules = AnchorRules {
        allow_loopback: config.media.allow_loopback,
        own_media_ips: config.media.advertised().flat_map(|(local, told)| [local, told]).collect(),
        prohibited: built.prohibited.clone(),
        tos: tos_rtp,
        policer_pps_min: 200,
        ..AnchorRules::default()
    };
    let addresses: Vec<IpAddr> = config.media.addresses().collect();
    let slots_of = |listen: &Listen| {
        let named = addresses.iter().zip(0..).filter(|(ip, _)| listen.media.contains(ip));
        named.map(|(_, slot)| slot).collect()
    };
    let media = config.media.advertised().zip(0..);
    let calls = CallsConfig {
        shard: n as u8,
        seed: seed_of(&seed),
        listeners: config.listen.iter().map(|l| l.advertise.unwrap_or(l.address)).collect(),
        media: MediaConfig {
            addresses: media.map(|((ip, advertised), slot)| MediaAddress { slot, ip, advertised }).collect(),
            of_listener: config.listen.iter().map(slots_of).collect(),
            ports: ports.clone(),
            ports_excluded: Vec::new(),
            rules: Arc::new(rules),
        },
        flow_floor,
        calls_max: config.limits.calls,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(ShardConfig {
        id: n as u8,
        shards: config.threads.shards as u8,
        listeners,
        sip,
        calls,
        snapshot: snapshot.clone(),
        media_addresses: addresses,
        media: UdpOptions {
            tos: tos_rtp,
            recv_buffer: limits::MEDIA_RECV_BUFFER_BYTES,
            ..UdpOptions::new(SocketAddr::new(config.media.address, 0))
        },
        ports,
        core: (config.threads.pin && cores > 1).then_some((n + 1) % cores),
        looks: cores > config.threads.shards,
        boot,
        carried,
        hung_up,
    })
}

fn seed_of(seed: &[u8; 32]) -> [u8; 32] {
    // The call room draws numbers of its own; a different stream than that of tags and branches.
    let mut other = *seed;
    other.iter_mut().for_each(|b| *b ^= 0x5a);
    other
}

/// User-space media needs a socket per port: as many descriptors as the system lets us have.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        log::warning(&format!("cannot raise the limit of open files: {error}"));
    }
}

fn warn_of_descriptors(ports: usize, config: &Config) {
    let wanted = ports * config.media.addresses().count() + 256;
    let have = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    if have < wanted as u64 {
        log::warning(&format!(
            "open files are limited to {have}, all media ports in use need {wanted}: calls beyond get 503 Media Resource \
             Exhausted; raise LimitNOFILE (ulimit -n {wanted})"
        ));
    }
}

fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        log::warning(&format!("cannot pin a shard to core {core}: {error}"));
    }
}

/// Equal parts of the port range, each starting on an even port.
fn split(range: RangeInclusive<u16>, parts: usize) -> Vec<RangeInclusive<u16>> {
    let (first, count) = (usize::from(*range.start()), range.count());
    let each = (count / parts) & !1;
    (0..parts)
        .map(|n| {
            let low = first + n * each;
            let high = if n + 1 == parts { first + count - 1 } else { low + each - 1 };
            low as u16..=high as u16
        })
        .collect()
}

/// The configuration as the start finds it, and as it changes it before the first socket is open.
struct Standing {
    site: Site,
    version: u64,
    site_version: u64,
    pending: Option<Pending>,
}

impl Standing {
    /// Puts another site in force: the record that says so.
    fn replace(&mut self, site: Site, how: &str, command: &str, comment: &str, at_ms: i64) -> Record {
        self.version += 1;
        let changes = site::lines(&site::diff(&self.site, &site));
        let ends_confirm = self.pending.take().map(|waiting| waiting.version);
        self.site_version = self.version;
        let change = Change { text: Some(site.to_text()), ends_confirm, ..change(self.version, how, command, at_ms) };
        self.site = site;
        let audit = Audit { comment: comment.to_owned(), changes, ..change.audit };
        Record::Change(Box::new(Change { audit, ..change }))
    }
}

/// A change that the switch makes itself while it starts.
fn change(version: u64, how: &str, command: &str, at_ms: i64) -> Change {
    let audit = Audit {
        at_ms,
        actor: Actor::switch("tandemd"),
        command: command.to_owned(),
        version: Some(version),
        ..Audit::default()
    };
    Change { version, how: how.to_owned(), audit, ..Change::default() }
}

/// What became of a change that nobody had confirmed when the process ended: its time goes on, and when it is over the
/// site before it comes back now, before the first call.
fn unconfirmed(
    at: &mut Standing,
    first: &mut Vec<Record>,
    waiting: &StoredChange,
    dir: &Path,
    now_ms: i64,
    builds: impl FnOnce(&Site, u64) -> Result<(), Vec<String>>,
) -> Result<()> {
    let (Some(fallback), Some(until_ms)) = (waiting.fallback, waiting.confirm_until_ms) else {
        return Ok(());
    };
    let (version, command) = (waiting.version, format!("rollback {fallback}"));
    let stored = Queries::open(dir)?.site_at(fallback)?;
    let site = match stored.map(|stored| Site::parse(&stored.text)) {
        Some(Ok(site)) => builds(&site, at.version + 1).map(|()| site).map_err(|errors| errors.join("\n")),
        Some(Err(error)) => Err(error),
        None => Err("it is not in the history".to_owned()),
    };
    let site = match site {
        Ok(site) => site,
        // The machine's listeners were changed meanwhile, most likely. To start with what is there is better than not at
        // all.
        Err(error) => {
            log::error(&format!(
                "version {version} was not confirmed but stays, version {fallback} does not fit: {error}"
            ));
            let audit = Audit { outcome: Outcome::Failed, error, ..change(version, "", &command, now_ms).audit };
            first.push(Record::Confirmed { version, audit: Box::new(audit) });
            return Ok(());
        }
    };
    // A clock that was set back while we were away must not make the wait longer than it was meant.
    let until_ms = until_ms.min(now_ms + (until_ms - waiting.at_ms).max(0));
    at.pending = Some(Pending { version, fallback, site, until_ms, user: waiting.actor.user.clone() });
    let Some(pending) = at.pending.as_ref().filter(|pending| pending.until_ms <= now_ms) else {
        return Ok(());
    };
    log::warning(&format!("version {version} was not confirmed in time: the site of version {fallback} is put back"));
    let site = pending.site.clone();
    let comment = format!("version {version} was not confirmed in time");
    first.push(at.replace(site, "auto-rollback", &command, &comment, now_ms));
    Ok(())
}

/// Site and decks of an empty store, and the record that makes them durable.
fn bootstrap(config: &Config, decks: &mut HashMap<String, StoredDeck>, at_ms: i64) -> Result<(Site, Record)> {
    let mut texts = Vec::new();
    for (group, path) in &config.bootstrap.rates {
        let csv =
            std::fs::read(path).with_context(|| format!("cannot read bootstrap.rates.{group} {}", path.display()))?;
        let parsed = tandem_rating::deck_csv::parse_stored(&csv).map_err(|errors| {
            let first =
                errors.first().map(|e| format!("line {}, column {}: {:?}: {}", e.line, e.column, e.value, e.rule));
            anyhow!("{}: {} ({} errors)", path.display(), first.unwrap_or_default(), errors.len())
        })?;
        for warning in &parsed.warnings {
            log::warning(&format!("{}: {warning}", path.display()));
        }
        let rows = import::apply_import(&[], &parsed.rows, &ImportOptions::new(ImportMode::Merge, at_ms))
            .with_context(|| format!("in {}", path.display()))?;
        let deck = StoredDeck::from_rows(group, 1, at_ms, rows)?;
        let rows = deck.deck.len() as u64;
        let source = path.display().to_string();
        texts.push(DeckText {
            group: group.clone(),
            version: 1,
            csv: deck.stored_text(),
            rows,
            source,
            ..DeckText::default()
        });
        decks.insert(group.clone(), deck);
    }
    let site = match &config.bootstrap.site {
        None => Site::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read bootstrap.site {}", path.display()))?;
            Site::parse(&text).map_err(|e| anyhow!("{}: {e}", path.display()))?
        }
    };
    let change = change(1, "bootstrap", "tandemd (first start)", at_ms);
    let record = Record::Change(Box::new(Change { text: Some(site.to_text()), decks: texts, ..change }));
    Ok((site, record))
}

/// Compiled decks by group.
pub fn compiled(decks: &HashMap<String, StoredDeck>) -> HashMap<String, Arc<Deck>> {
    decks.iter().map(|(group, deck)| (group.clone(), deck.deck.clone())).collect()
}

/// Accounts for the rating thread.
pub fn accounts(built: &Built) -> Vec<AccountConfig> {
    built.money.clone()
}

/// Gateways for the rating thread.
pub fn gateways(snapshot: &Snapshot) -> Vec<GatewayConfig> {
    let mapping = snapshot.mapping.iter().map(|g| GatewayConfig {
        id: g.id,
        name: g.name.clone(),
        routing: false,
        capacity: g.capacity,
        cps: g.cps,
    });
    let routing = snapshot.routing.iter().map(|g| GatewayConfig {
        id: g.id,
        name: g.name.clone(),
        routing: true,
        capacity: g.capacity,
        cps: g.cps,
    });
    mapping.chain(routing).collect()
}

/// Rules for the rating thread.
pub fn rules(params: &Params, config: &Config) -> Rules {
    let (record_illegal, record_zero_hold, record_server_hang_up) = params.record_rules();
    Rules {
        record_illegal,
        record_zero_hold,
        record_server_hang_up,
        no_cdr_numbers: params.settings().no_cdr_numbers,
        check_clearing: params.check_clearing(),
        currency: config.currency.clone(),
        illegal_per_s: limits::ILLEGAL_RECORDS_PER_S,
        zone: crate::site::zone(),
    }
}

/// Addresses whose OPTIONS are answered: every gateway's.
pub fn known_sources(snapshot: &Snapshot) -> Vec<IpAddr> {
    let mapping = snapshot.mapping.iter().flat_map(|g| g.sources.iter().map(|s| s.ip));
    let routing = snapshot.routing.iter().flat_map(|g| g.remotes.iter().map(SocketAddr::ip));
    mapping.chain(routing).collect::<HashSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_parts_cover_the_range_without_overlap() {
        for parts in 1..=7 {
            let list = split(10_000..=39_999, parts);
            assert_eq!(list.len(), parts);
            assert_eq!((*list[0].start(), *list[parts - 1].end()), (10_000, 39_999));
            for pair in list.windows(2) {
                assert_eq!(*pair[0].end() + 1, *pair[1].start());
                assert_eq!(*pair[1].start() % 2, 0);
            }
        }
    }
}
