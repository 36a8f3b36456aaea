//! Changing the configuration: build and validate whole, write, let the owners switch, and only then say so.

use std::sync::Arc;
use std::time::Duration;

use tandem_call::snapshot::Snapshot;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::value::ConfirmWithin;
use tandem_media::IpNet;
use tandem_rating::record::{Actor, Audit, Change, DeckText, Record};
use tandem_sip::ResendSchedule;
use tandem_store::Encoded;

use super::confirm::Pending;
use super::{Control, StoredDeck, internal};
use crate::boot;
use crate::orders::{RatingOrder, ShardOrder};
use crate::site::{Built, Ids, Site};
use crate::{limits, log};

/// Mistakes that one refusal names; a file of ten thousand gateways can have as many.
const ERRORS_SHOWN: usize = 20;

pub(super) fn invalid(message: String) -> ErrorObject {
    ErrorObject::new(ErrorCode::InvalidParams, message)
}

/// A rate group as a change leaves it.
pub(super) struct DeckChange {
    /// Compiled; `None` when the group is deleted.
    pub(super) deck: Option<StoredDeck>,
    /// What the journal keeps.
    pub(super) text: DeckText,
}

/// A change that was looked at and is to be made.
pub(super) struct Proposal {
    /// The word of the history.
    pub(super) how: &'static str,
    /// What was typed.
    pub(super) command: String,
    /// Words of the operator.
    pub(super) comment: String,
    /// The new site; `None` when it stays.
    pub(super) site: Option<Site>,
    /// Rate groups that are new.
    pub(super) decks: Vec<DeckChange>,
    /// Old -> new.
    pub(super) changes: Vec<String>,
    /// Rolled back after this time unless confirmed.
    pub(super) confirm_within: Option<ConfirmWithin>,
    /// Takes back the change that waits for a confirmation.
    pub(super) ends_confirm: bool,
}

impl Proposal {
    pub(super) fn new(how: &'static str, command: &str, comment: &str) -> Proposal {
        Proposal {
            how,
            command: command.to_owned(),
            comment: comment.to_owned(),
            site: None,
            decks: Vec::new(),
            changes: Vec::new(),
            confirm_within: None,
            ends_confirm: false,
        }
    }
}

/// Everything that is wrong, as one refusal.
pub(super) fn wrong(mut errors: Vec<String>) -> ErrorObject {
    let total = errors.len();
    errors.truncate(ERRORS_SHOWN);
    if total > ERRORS_SHOWN {
        errors.push(format!("and {} more mistakes", total - ERRORS_SHOWN));
    }
    invalid(errors.join("\n"))
}

impl Control {
    /// Whether a site holds together with the rate groups in force and `decks`.
    pub(super) fn build(&self, site: &Site, decks: &[DeckChange]) -> Result<(Built, Ids), ErrorObject> {
        let state = self.state.borrow();
        let mut ids = state.ids.clone();
        let mut compiled = boot::compiled(&state.decks);
        for change in decks {
            match &change.deck {
                Some(deck) => compiled.insert(change.text.group.clone(), deck.deck.clone()),
                None => compiled.remove(&change.text.group),
            };
        }
        let built =
            site.build(state.version + 1, &state.config.node, &mut ids, &compiled, &state.listeners).map_err(wrong)?;
        Ok((built, ids))
    }

    /// Makes a change. On an error nothing has changed, and nothing will at the next start: the change is one record, and
    /// a record that the journal refuses is never written later.
    ///
    /// Whoever calls this holds `changing`.
    pub(super) async fn commit(&self, actor: &Actor, proposal: Proposal) -> Result<u64, ErrorObject> {
        let site = proposal.site.clone().unwrap_or_else(|| self.state.borrow().site.clone());
        let (built, ids) = self.build(&site, &proposal.decks)?;
        let gone = {
            let state = self.state.borrow();
            state.site.package.keys().filter(|name| !site.package.contains_key(*name)).cloned().collect()
        };
        self.packages_free(gone).await?;
        let audit = self.audit(actor, &proposal.command, &proposal.comment, proposal.changes);
        let (version, config, fallback) = {
            let state = self.state.borrow();
            (state.version + 1, state.config.clone(), (state.version, state.site.clone(), state.pending.clone()))
        };
        let (fallback_version, fallback_site, waiting) = fallback;
        let confirm_until_ms = proposal.confirm_within.map(|w| audit.at_ms + i64::from(w.seconds()) * 1_000);
        let record = Record::Change(Box::new(Change {
            version,
            how: proposal.how.to_owned(),
            audit: Audit { version: Some(version), ..audit },
            text: proposal.site.is_some().then(|| site.to_text()),
            decks: proposal.decks.iter().map(|change| change.text.clone()).collect(),
            confirm_until_ms,
            fallback: confirm_until_ms.map(|_| fallback_version),
            ends_confirm: waiting.filter(|_| proposal.ends_confirm).map(|waiting| waiting.version),
        }));
        // Encoded here: the rating thread has calls to serve.
        let record = Encoded::of(&record).map_err(internal)?;
        let (accounts, gateways) = (boot::accounts(&built), boot::gateways(&built.snapshot));
        let rules = boot::rules(&built.params, &config);
        let packages = Box::new(built.packages.clone());
        // The rating thread first: a call of the new snapshot must find its accounts and gateways there.
        let seq = self
            .order_rating(|done| RatingOrder::Configure { accounts, gateways, rules, packages, record, done })
            .await?
            .map_err(internal)?;
        let snapshot = Arc::new(built.snapshot);
        let (prohibited, resend) = (built.prohibited, built.params.resend());
        self.shared().cdr_output.configure(built.params.cdr_output(), seq);
        {
            let mut state = self.state.borrow_mut();
            state.version = version;
            state.ids = ids;
            for change in proposal.decks {
                let DeckText { group, version, .. } = change.text;
                // What calls still use of the old one is in the snapshot that retires, which is let go of here too.
                match change.deck {
                    Some(deck) => drop(state.decks.insert(group, deck)),
                    None => {
                        state.decks.remove(&group);
                        state.deleted_decks.insert(group, version);
                    }
                }
            }
            state.params = built.params;
            let old = std::mem::replace(&mut state.snapshot, snapshot.clone());
            state.retired.push(old);
            if proposal.site.is_some() {
                state.site_version = version;
                state.site = site;
            }
            if proposal.ends_confirm {
                state.pending = None;
            }
            if let Some(until_ms) = confirm_until_ms {
                state.pending = Some(Pending {
                    version,
                    fallback: fallback_version,
                    site: fallback_site,
                    until_ms,
                    user: actor.user.clone(),
                });
            }
        }
        if let Some(within) = proposal.confirm_within {
            self.watch(version, Duration::from_secs(within.seconds().into()));
        }
        // In force from here on: a shard that is late switches later, it is not asked whether.
        for shard in 0..self.shared().shards.len() {
            self.publish(shard, &snapshot, &prohibited, &resend).await;
        }
        self.on_disk(seq).await;
        Ok(version)
    }

    /// Gives a shard the new snapshot, however long its queue of orders is full.
    async fn publish(&self, shard: usize, snapshot: &Arc<Snapshot>, prohibited: &[IpNet], resend: &ResendSchedule) {
        let shared = self.shared();
        let door = &shared.shards[shard];
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut order = ShardOrder::Publish {
            snapshot: snapshot.clone(),
            known: boot::known_sources(snapshot),
            prohibited: prohibited.to_vec(),
            resend: resend.clone(),
            done: sender,
        };
        while let Err(back) = door.orders.push(order) {
            order = back;
            door.waker.wake();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        door.waker.wake();
        let deadline = Duration::from_millis(limits::CONTROL_DEADLINE_MS);
        if tokio::time::timeout(deadline, receiver).await.is_err() {
            log::warning(&format!("shard {shard} has not confirmed version {} yet", snapshot.version));
        }
    }

    /// Drops the snapshots that no call and no shard has any more. Here and not on a shard: the last owner of a deck of a
    /// million rows takes long to let go of it.
    pub(super) fn drop_retired(&self) {
        let free: Vec<Arc<Snapshot>> =
            self.state.borrow_mut().retired.extract_if(.., |old| Arc::strong_count(old) == 1).collect();
        drop(free);
    }
}
