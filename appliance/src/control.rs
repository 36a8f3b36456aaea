//! The control thread: a Unix socket on tokio-uring, one frame in, the owners asked, one frame out.
//!
//! It owns the configuration (site, parameters, decks) and nothing of calls or money: those are asked from their owners,
//! each with a deadline, and an answer that misses some says who.

mod ask;
mod audit;
mod calls;
mod cards;
mod cdrs;
mod change;
mod confirm;
mod explain;
mod external;
mod media;
mod money;
mod packages;
mod params;
mod proof;
mod rates;
mod reports;
mod rerate;
mod sampler;
mod site;
mod status;
mod stored;
mod who;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tandem_call::FlowNumbers;
use tandem_call::snapshot::Snapshot;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::frame::{self, Splitter};
use tandem_control::request::Call;
use tandem_control::rpc::{Request, Response};
use tandem_rating::record::Actor;
use tandem_store::Positions;
use tokio::sync::{Mutex, Notify};

use crate::clock::Clock;
use crate::config::Config;
use crate::params::Params;
use crate::site::{Ids, Listeners, Site};
use crate::topology::Shared;
use crate::{limits, log};

pub use stored::{StoredDeck, StoredText};

/// What the control thread owns.
pub struct ControlState {
    /// The machine's configuration.
    pub config: Config,
    /// The site as it is in force.
    pub site: Site,
    /// Its version.
    pub version: u64,
    /// Version of the last change of the site itself; later ones changed rates.
    pub site_version: u64,
    /// A site in preparation.
    pub staged: Option<Staged>,
    /// A change that is rolled back unless confirmed.
    pub pending: Option<Pending>,
    /// Names to numbers.
    pub ids: Ids,
    /// Rate groups.
    pub decks: HashMap<String, StoredDeck>,
    /// Last version of rate groups that were deleted: a new one of the name goes on behind it.
    pub deleted_decks: HashMap<String, u64>,
    /// System parameters in force.
    pub params: Params,
    /// Listeners.
    pub listeners: Listeners,
    /// What calls read.
    pub snapshot: Arc<Snapshot>,
    /// What calls that began earlier still read.
    pub retired: Vec<Arc<Snapshot>>,
    /// Where journal and database stand.
    pub positions: Arc<Positions>,
    /// The owners' doors.
    pub shared: Arc<Shared>,
    /// Clocks.
    pub clock: Clock,
    /// Start, UTC ms.
    pub started_ms: i64,
    /// Media ports in all.
    pub ports: u32,
    /// Gives numbers to external CDRs; none while shards have all there are.
    pub external_numbers: Option<FlowNumbers>,
}

/// A request's access to everything; single-threaded.
#[derive(Clone)]
pub(crate) struct Control {
    state: Rc<RefCell<ControlState>>,
    /// One change at a time.
    changing: Rc<Mutex<()>>,
    sampler: Rc<RefCell<sampler::Sampler>>,
    imports: Rc<RefCell<rates::Imports>>,
    /// The rate sheet that calls are priced by and that is not in force.
    held_deck: Rc<RefCell<Option<rerate::HeldDeck>>>,
}

impl ControlState {
    /// The newest version of a rate group; 0 when there never was one.
    fn deck_version(&self, group: &str) -> u64 {
        let deleted = self.deleted_decks.get(group).copied().unwrap_or_default();
        self.decks.get(group).map_or(deleted, |deck| deck.version)
    }
}

pub use confirm::Pending;
pub use site::Staged;

type Reply = Result<Value, ErrorObject>;

/// Ends the control thread.
pub struct Handle {
    stop: Arc<Notify>,
    thread: JoinHandle<()>,
    socket: PathBuf,
}

impl Handle {
    /// Closes the socket and ends the thread.
    pub fn stop(self) {
        self.stop.notify_one();
        let _ = self.thread.join();
        let _ = std::fs::remove_file(self.socket);
    }
}

/// Opens the socket and starts the thread.
///
/// # Errors
/// The socket cannot be made, or another daemon answers on it.
pub fn start(state: ControlState, path: &Path) -> Result<Handle> {
    let listener = bind(path)?;
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            tokio_uring::start(async move {
                let control = Control {
                    state: Rc::new(RefCell::new(state)),
                    changing: Rc::new(Mutex::new(())),
                    sampler: Rc::new(RefCell::new(sampler::Sampler::default())),
                    imports: Rc::new(RefCell::new(rates::Imports::default())),
                    held_deck: Rc::new(RefCell::new(None)),
                };
                tokio_uring::spawn(sampler::run(control.clone()));
                control.watch_pending();
                tokio::select! {
                    () = accept(listener, control) => {}
                    () = stopped.notified() => {}
                }
            });
        })
        .context("cannot start the control thread")?;
    Ok(Handle { stop, thread, socket: path.to_owned() })
}

fn bind(path: &Path) -> Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the directory {} of control_socket", dir.display()))?;
    }
    match UnixStream::connect(path) {
        Ok(_) => {
            bail!("control_socket {}: another tandemd answers there; stop it or choose another path", path.display())
        }
        // Left over by a daemon that was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            // A plain file refuses a connection as well.
            if !std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
                bail!("control_socket {} is a file that is no socket; choose another path", path.display());
            }
            std::fs::remove_file(path)
                .with_context(|| format!("cannot replace the old control_socket {}", path.display()))?;
        }
        Err(_) => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot make control_socket {}", path.display()))?;
    // Whoever may open the socket may move money: owner and group only.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot set the mode of control_socket {}", path.display()))?;
    listener.set_nonblocking(true).context("cannot make control_socket non-blocking")?;
    Ok(listener)
}

async fn accept(listener: UnixListener, control: Control) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            log::error(&format!("the control socket cannot be watched: {error}"));
            return;
        }
    };
    let open = Rc::new(AtomicUsize::new(0));
    loop {
        match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                if open.load(Ordering::Relaxed) >= limits::CONTROL_CONNECTIONS_MAX {
                    // Closed at once: the client says that the switch hung up.
                    continue;
                }
                open.fetch_add(1, Ordering::Relaxed);
                let (control, open) = (control.clone(), open.clone());
                tokio_uring::spawn(async move {
                    if let Err(error) = serve(stream, control).await {
                        log::warning(&format!("control connection: {error}"));
                    }
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) => {
                log::warning(&format!("control socket: {error}"));
                // Out of descriptors, most likely: give the others time to close.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: UnixStream, control: Control) -> io::Result<()> {
    let actor = who::actor(&stream)?;
    // tokio-uring submits reads and writes itself and wants a blocking descriptor.
    stream.set_nonblocking(false)?;
    let stream = tokio_uring::net::UnixStream::from_std(stream);
    let mut splitter = Splitter::new(frame::FRAME_MAX);
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let (read, back) = stream.read(buffer).await;
        buffer = back;
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        splitter.push(&buffer[..read]);
        loop {
            let response = match splitter.next_frame() {
                Ok(Some(frame)) => respond(&control, &actor, &frame).await,
                Ok(None) => break,
                Err(error) => {
                    // What follows cannot be found again: say why and hang up.
                    let refused = ErrorObject::new(ErrorCode::InvalidRequest, error.to_string());
                    let bytes = frame::encode(&Response { id: None, outcome: Err(refused) }).unwrap_or_default();
                    let _ = stream.write_all(bytes).await;
                    return Ok(());
                }
            };
            let bytes = frame::encode(&response).unwrap_or_else(|error| {
                let too_large = ErrorObject::new(ErrorCode::Internal, format!("the answer cannot be sent: {error}"));
                frame::encode(&Response { id: response.id.clone(), outcome: Err(too_large) }).unwrap_or_default()
            });
            stream.write_all(bytes).await.0?;
        }
    }
}

async fn respond(control: &Control, actor: &Actor, frame: &[u8]) -> Response {
    match Request::decode(frame) {
        Ok(request) => {
            let outcome = control.handle(actor, request.call).await;
            Response { id: Some(request.id), outcome }
        }
        Err(refused) => refused.response(),
    }
}

fn reply<T: serde::Serialize>(value: &T) -> Reply {
    serde_json::to_value(value).map_err(|error| internal(format!("the answer cannot be written: {error}")))
}

fn internal(message: impl Into<String>) -> ErrorObject {
    ErrorObject::new(ErrorCode::Internal, message)
}

impl Control {
    /// Answers one request. Whatever was to change something and did not gets its row in the audit log here; what did
    /// has it in the record of the change.
    async fn handle(&self, actor: &Actor, call: Call) -> Reply {
        let Some(command) = audit::command(&call) else {
            return self.answer(actor, "", call).await;
        };
        let outcome = self.answer(actor, &command, call).await;
        if let Err(error) = &outcome {
            self.note_refused(actor, &command, error).await;
        }
        outcome
    }

    async fn answer(&self, actor: &Actor, command: &str, call: Call) -> Reply {
        match call {
            Call::Status(_) => self.status().await,
            Call::CallsList(q) => self.calls_list(q).await,
            Call::CallsShow(q) => self.calls_show(q.call).await,
            Call::CallsKill(q) => self.calls_kill(actor, command, q.call).await,
            Call::CdrList(q) => self.cdr_list(actor, q).await,
            Call::CdrShow(q) => self.cdr_show(actor, q.call).await,
            Call::CdrTotals(q) => self.cdr_totals(actor, q.filter).await,
            Call::CdrExplain(q) => self.cdr_explain(q.call).await,
            Call::CdrProve(q) => self.cdr_prove(q).await,
            Call::Rerate(q) => self.rerate(actor, command, q).await,
            Call::CdrInsert(q) => self.cdr_insert(actor, command, q).await,
            Call::ReportDay(q) => self.report_day(actor, q).await,
            Call::ReportCheck(q) => self.report_check(actor, q).await,
            Call::GatewayList(q) => self.gateway_list(q.kind).await,
            Call::AccountList(q) => self.account_list(q).await,
            Call::AccountShow(q) => self.account_show(&q.name).await,
            Call::AccountPay(q) => self.account_pay(actor, command, q).await,
            Call::CardCreate(q) => self.card_create(actor, command, q).await,
            Call::CardList(q) => self.card_list(q).await,
            Call::CardLock(q) => self.card_lock(actor, command, q).await,
            Call::CardRecharge(q) => self.card_recharge(actor, command, q).await,
            Call::PackageList(q) => self.package_list(q).await,
            Call::PackageOrders(q) => self.package_orders(q).await,
            Call::PackageOrder(q) => self.package_order(actor, command, q).await,
            Call::PackageChange(q) => self.package_change(actor, command, q).await,
            Call::PackageCancel(q) => self.package_cancel(actor, command, q).await,
            Call::PackageCatchUp(q) => self.package_catch_up(actor, command, q).await,
            Call::AccountZero(q) => self.account_zero(actor, command, q).await,
            Call::AccountReverse(q) => self.account_reverse(actor, command, q).await,
            Call::LedgerList(q) => self.ledger_list(q).await,
            Call::RatesImport(q) => self.rates_import(actor, command, q).await,
            Call::RatesExport(q) => self.rates_export(&q.group, q.offset),
            Call::RatesList(_) => self.rates_list(),
            Call::RatesUpload(q) => self.rates_upload(q),
            Call::RatesProgress(_) => self.rates_progress(),
            Call::RatesCommit(q) => self.rates_commit(actor, q).await,
            Call::RatesDifferences(q) => self.rates_differences(q),
            Call::RatesShow(q) => self.rates_show(q),
            Call::RatesSet(q) => self.rates_set(actor, command, q).await,
            Call::RatesDelete(q) => self.rates_delete(actor, command, q).await,
            Call::RatesHistory(q) => self.rates_history(q).await,
            Call::RatesCompare(q) => self.rates_compare(actor, q).await,
            Call::RatesRollback(q) => self.rates_rollback(actor, command, q).await,
            Call::RatesDrop(q) => self.rates_drop(actor, command, q).await,
            Call::SiteApply(q) => self.site_apply(actor, command, q).await,
            Call::SiteEdit(q) => self.site_edit(actor, command, q).await,
            Call::SiteCommit(q) => self.site_commit(actor, command, q).await,
            Call::SiteConfirm(q) => self.site_confirm(actor, command, &q.comment).await,
            Call::SiteDiscard(_) => self.site_discard().await,
            Call::SiteRollback(q) => self.site_rollback(actor, command, q).await,
            Call::SiteCompare(q) => self.site_compare(q).await,
            Call::SiteHistory(q) => self.site_history(q).await,
            Call::SiteExport(q) => self.site_export(q).await,
            Call::AuditList(q) => self.audit_list(q).await,
            Call::ParamList(q) => self.param_list(q.prefix.as_deref()),
            Call::ParamGet(q) => self.param_get(&q.name),
            Call::ParamSet(q) => self.param_set(actor, command, q).await,
            Call::Explain(q) => self.explain(q).await,
            Call::Trace(q) => self.trace(q.call).await,
            Call::MediaShow(_) => self.media_show().await,
            Call::MediaAudit(_) => self.media_audit().await,
            Call::DatapathUpgrade(q) => self.datapath_upgrade(actor, command, q.object).await,
        }
    }
}
