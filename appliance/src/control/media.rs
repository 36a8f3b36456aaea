//! Media by path: what the kernel forwards, what user space does, and whether the sums agree.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_datapath::{drops, punts};
use tandem_rating::record::Actor;
use tandem_store::CdrFilter;

use super::{Control, Reply, internal, reply};
use crate::fast_path::MediaPath;
use crate::log;
use crate::orders::ShardOrder;

/// How often an audit that does not agree is made anew before it is told, and the pause before: a call that ends just then is
/// in neither sum for some milliseconds.
const AUDIT_TRIES: u32 = 20;
const AUDIT_PAUSE: Duration = Duration::from_millis(50);

/// How each interface is served.
pub(super) fn interfaces(media: &MediaPath) -> Vec<reply::MediaInterface> {
    let row = |interface: &crate::fast_path::Interface| reply::MediaInterface {
        interface: interface.name.clone(),
        path: interface.path.to_owned(),
        reason: interface.reason.clone(),
    };
    media.interfaces().iter().map(row).collect()
}

/// Counters of the kernel's relay under their metric names; those that are zero for one of many reasons are left out.
pub(super) fn count(media: &MediaPath, counters: &mut BTreeMap<String, u64>) {
    if media.datapath().is_none() {
        return;
    }
    let totals = media.totals();
    let own = &media.counters;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    for (name, n) in [
        ("rtp_packets", totals.rtp_packets),
        ("rtp_packets_at_start", media.start.rtp),
        ("rtp_packets_of_adopted", media.start.live),
        ("rtp_bytes", totals.rtp_bytes),
        ("rtcp_packets", totals.rtcp_packets),
        ("rtcp_bytes", totals.rtcp_bytes),
        ("redirected", totals.redirected),
        ("passed", totals.passed),
        ("hop_lookups", totals.hop_lookups),
        ("events_lost", totals.events_lost),
        ("copies", load(&own.copies)),
        ("copies_dropped", load(&own.copies_dropped)),
        ("first_rtp", load(&own.first_rtp)),
        ("ssrc_changes", load(&own.ssrc_changes)),
        ("rate_exceeded_events", load(&own.rate_exceeded)),
        ("no_flow_samples", load(&own.no_flow)),
        ("orphans_removed", load(&own.orphans)),
        ("upgrades", load(&own.upgrades)),
    ] {
        counters.insert(format!("xdp_{name}"), n);
    }
    let punts = punts(&totals).map(|(reason, n)| (format!("xdp_punts_{}", reason.as_str()), n));
    let drops = drops(&totals).map(|(reason, n)| (format!("xdp_drops_{}", reason.as_str()), n));
    counters.extend(punts.chain(drops).filter(|(_, n)| *n > 0));
}

/// Both sides of the account at one moment.
struct Account {
    before: u64,
    after: u64,
    audit: reply::MediaAudit,
}

impl Account {
    /// How far what is accounted for is from what was forwarded meanwhile.
    fn difference(&self) -> i64 {
        let audit = &self.audit;
        let accounted = audit.records + audit.live + audit.unrecorded + audit.attempts + audit.orphans;
        if accounted > self.after {
            -((accounted - self.after) as i64)
        } else {
            self.before.saturating_sub(accounted + audit.late) as i64
        }
    }
}

impl Control {
    pub(super) async fn media_show(&self) -> Reply {
        let shards = self.ask_shards(ShardOrder::Media).await?;
        let shared = self.shared();
        let addresses: Vec<std::net::IpAddr> = self.state.borrow().config.media.addresses().collect();
        let media = &shared.media;
        let totals = media.totals();
        let mut show = reply::MediaShow {
            path: if media.datapath().is_some() { "xdp" } else { "user space" }.to_owned(),
            interfaces: interfaces(media),
            program: media.datapath().map(|datapath| datapath.status().program_id),
            kernel_packets: totals.rtp_packets + totals.rtcp_packets,
            orphans: media.counters.orphans.load(Ordering::Relaxed),
            punts: punts(&totals).map(|(reason, n)| (reason.as_str().to_owned(), n)).filter(|(_, n)| *n > 0).collect(),
            kernel_drops: drops(&totals)
                .map(|(reason, n)| (reason.as_str().to_owned(), n))
                .filter(|(_, n)| *n > 0)
                .collect(),
            ..Default::default()
        };
        for (n, shard) in shards.iter().enumerate() {
            show.user_packets += shard.forwarded;
            for (reason, n) in &shard.dropped {
                *show.user_drops.entry((*reason).to_owned()).or_default() += n;
            }
            let kernel = media.flows(&shard.ports);
            for ((slot, (states, flows, forwarded)), address) in (0..).zip(&shard.addresses).zip(&addresses) {
                show.shards.push(reply::MediaShard {
                    shard: n as u32,
                    address: address.to_string(),
                    first: *shard.ports.start(),
                    last: *shard.ports.end(),
                    free: (states.free + states.opening + states.ready) as u64,
                    used: states.leased as u64,
                    lingering: states.lingering as u64,
                    busy: states.busy as u64,
                    flows: *flows as u64,
                    kernel_flows: kernel.iter().filter(|key| key.slot == slot).count() as u64,
                    forwarded: *forwarded,
                });
            }
        }
        reply(&show)
    }

    pub(super) async fn media_audit(&self) -> Reply {
        let mut tries = AUDIT_TRIES;
        loop {
            let account = self.media_account().await?;
            let difference = account.difference();
            tries -= 1;
            if difference == 0 || tries == 0 {
                return reply(&reply::MediaAudit { equal: difference == 0, difference, ..account.audit });
            }
            tokio::time::sleep(AUDIT_PAUSE).await;
        }
    }

    /// Asks everybody once. What is forwarded meanwhile is between `before` and `after`.
    async fn media_account(&self) -> Result<Account, ErrorObject> {
        let shared = self.shared();
        let media = &shared.media;
        // Totals that cannot be read are zero: the account then differs, and says so.
        let start = &media.start;
        let kernel = || media.totals().rtp_packets.saturating_sub(start.rtp) + start.live;
        let kernel_before = kernel();
        let shards = self.ask_shards(ShardOrder::Media).await?;
        let user_before: u64 = shards.iter().map(|shard| shard.forwarded_rtp).sum();
        let mut live: u64 = shards.iter().map(|shard| shard.live).sum();
        let mut late = 0;
        if let Some(datapath) = media.datapath() {
            datapath.scan(|_, counters| live += counters.packets);
            late = datapath.late_packets().saturating_sub(start.late);
        }
        let started_ms = self.state.borrow().started_ms;
        let filter = CdrFilter { from_ms: Some(started_ms), ..CdrFilter::default() };
        let records =
            self.query(move |queries| queries.cdr_totals(&filter).map_err(|error| internal(error.to_string()))).await?;
        let unrecorded = shared.money.suppressed_packets.load(Ordering::Relaxed);
        let kernel = kernel();
        let shards = self.ask_shards(ShardOrder::Media).await?;
        let user_space = shards.iter().map(|shard| shard.forwarded_rtp).sum();
        Ok(Account {
            before: kernel_before + user_before,
            after: kernel + start.unsure + user_space,
            audit: reply::MediaAudit {
                kernel,
                user_space,
                records: records.caller_rtp_relayed + records.callee_rtp_relayed,
                live,
                unrecorded,
                attempts: shards.iter().map(|shard| shard.unbilled).sum(),
                orphans: media.counters.orphan_packets.load(Ordering::Relaxed),
                late,
                ..Default::default()
            },
        })
    }

    pub(super) async fn datapath_upgrade(&self, actor: &Actor, command: &str, object: Option<String>) -> Reply {
        let shared = self.shared();
        let Some(datapath) = shared.media.datapath().cloned() else {
            let reasons: Vec<String> = shared
                .media
                .interfaces()
                .iter()
                .map(|interface| format!("{}: {}", interface.name, interface.reason))
                .collect();
            let why = if reasons.is_empty() {
                "no interface is named in media.interfaces".to_owned()
            } else {
                reasons.join("; ")
            };
            return Err(ErrorObject::new(
                ErrorCode::Refused,
                format!("user space relays, there is no program to replace ({why})"),
            ));
        };
        let object = object.map_or_else(|| shared.media.object().to_owned(), PathBuf::from);
        let (path, running) = (object.clone(), datapath.clone());
        let before = datapath.status().program_id;
        // The verifier takes its time.
        let work = tokio::task::spawn_blocking(move || running.upgrade(&path));
        let upgraded = work.await.map_err(|error| internal(format!("the upgrade ended early: {error}")))?;
        upgraded.map_err(|refusal| {
            ErrorObject::new(ErrorCode::Refused, format!("{refusal}; {}; the old program goes on", refusal.cure()))
        })?;
        shared.media.counters.upgrades.fetch_add(1, Ordering::Relaxed);
        let status = datapath.status();
        log::info(&format!(
            "media: program {before} is replaced by program {} of {}",
            status.program_id,
            object.display()
        ));
        let changes = vec![format!("datapath: program {before} -> {}", status.program_id)];
        self.note(self.audit(actor, command, "", changes)).await;
        reply(&reply::DatapathUpgraded {
            object: object.display().to_string(),
            before,
            program: status.program_id,
            instructions: status.instructions,
            interfaces: status.interfaces.into_iter().map(|interface| interface.interface).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(before: u64, after: u64, records: u64, live: u64, late: u64) -> Account {
        Account { before, after, audit: reply::MediaAudit { records, live, late, ..Default::default() } }
    }

    #[test]
    fn an_account_agrees_with_what_was_forwarded_while_it_was_made() {
        assert_eq!(account(100, 100, 60, 40, 0).difference(), 0);
        assert_eq!(account(90, 110, 60, 40, 0).difference(), 0, "packets went on meanwhile");
        assert_eq!(account(100, 100, 60, 38, 2).difference(), 0, "two came late");
        assert_eq!(account(100, 100, 60, 38, 1).difference(), 1);
        assert_eq!(account(100, 100, 61, 40, 0).difference(), -1);
    }
}
