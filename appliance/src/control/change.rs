//! Changing the configuration: build and validate whole, write, let the owners switch, and only then say so.

use std::collections::HashMap;

use tandem_call::snapshot::Snapshot;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::SiteApply;
use tandem_media::IpNet;
use tandem_rating::record::Record;
use tandem_sip::ResendSchedule;

use super::{Control, Reply, StoredDeck, internal, reply};
use crate::boot;
use crate::orders::{RatingOrder, ShardOrder};
use crate::params::{self, Param, TABLE};
use crate::site::{Site, diff};
use crate::{limits, log};

fn invalid(message: String) -> ErrorObject {
    ErrorObject::new(ErrorCode::InvalidParams, message)
}

impl Control {
    /// Puts a site and decks in force. `records` are journalled first; on an error nothing has changed.
    pub(super) async fn commit(
        &self,
        site: Site,
        decks: HashMap<String, StoredDeck>,
        mut records: Vec<Record>,
        user: &str,
    ) -> Result<u64, ErrorObject> {
        let (built, ids, version, config) = {
            let state = self.state.borrow();
            let mut ids = state.ids.clone();
            let version = state.version_next;
            let built = site
                .build(version, &state.config.node, &mut ids, &boot::compiled(&decks), &state.listeners)
                .map_err(|errors| invalid(errors.join("\n")))?;
            (built, ids, version, state.config.clone())
        };
        // A version is used once, whatever becomes of it: a record of a change that failed half-way must not stand in the
        // way of the next one.
        {
            let mut state = self.state.borrow_mut();
            state.version_next = version + 1;
            // The rating thread may know the new names even when its answer is lost: their numbers stay theirs.
            state.ids = ids;
        }
        let at_ms = self.state.borrow().clock.now().wall_ms;
        records.push(Record::Site { version, at_ms, user: user.to_owned(), text: site.to_text() });
        let (accounts, gateways) = (boot::accounts(&built), boot::gateways(&built.snapshot));
        let rules = boot::rules(&built.params, &config);
        // The rating thread first: a call of the new snapshot must find its accounts and gateways there.
        self.ask_rating(|done| RatingOrder::Configure { accounts, gateways, rules, records, done })
            .await?
            .map_err(internal)?;
        let snapshot = std::sync::Arc::new(built.snapshot);
        let (prohibited, resend) = (built.prohibited, built.params.resend());
        {
            let mut state = self.state.borrow_mut();
            state.site = site;
            state.version = version;
            state.decks = decks;
            state.params = built.params;
            state.snapshot = snapshot.clone();
        }
        // In force from here on: a shard that is late switches later, it is not asked whether.
        for shard in 0..self.shared().shards.len() {
            self.publish(shard, &snapshot, &prohibited, &resend).await;
        }
        Ok(version)
    }

    /// Gives a shard the new snapshot, however long its queue of orders is full.
    async fn publish(
        &self,
        shard: usize,
        snapshot: &std::sync::Arc<Snapshot>,
        prohibited: &[IpNet],
        resend: &ResendSchedule,
    ) {
        let shared = self.shared();
        let door = &shared.shards[shard];
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut order = ShardOrder::Publish {
            snapshot: snapshot.clone(),
            prohibited: prohibited.to_vec(),
            resend: resend.clone(),
            done: sender,
        };
        while let Err(back) = door.orders.push(order) {
            order = back;
            door.waker.wake();
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        door.waker.wake();
        let deadline = std::time::Duration::from_millis(limits::CONTROL_DEADLINE_MS);
        if tokio::time::timeout(deadline, receiver).await.is_err() {
            log::warning(&format!("shard {shard} has not confirmed version {} yet", snapshot.version));
        }
    }

    pub(super) async fn site_apply(&self, user: &str, q: SiteApply) -> Reply {
        let _one = self.changing.lock().await;
        let site = Site::parse(&q.toml).map_err(invalid)?;
        let (changes, base_version, decks) = {
            let state = self.state.borrow();
            let mut ids = state.ids.clone();
            site.build(
                state.version + 1,
                &state.config.node,
                &mut ids,
                &boot::compiled(&state.decks),
                &state.listeners,
            )
            .map_err(|errors| invalid(errors.join("\n")))?;
            (diff(&state.site, &site), state.version, state.decks.clone())
        };
        if q.base_version.is_some_and(|base| base != base_version) {
            return Err(ErrorObject::new(
                ErrorCode::Conflict,
                format!("the configuration is at version {base_version} now; look at the changes again"),
            ));
        }
        let warnings = self.warnings(&site);
        let version = if q.commit && !changes.is_empty() {
            Some(self.commit(site, decks, Vec::new(), user).await?)
        } else {
            None
        };
        reply(&reply::SiteApplied { changes, warnings, base_version, committed: q.commit, version })
    }

    pub(super) fn site_export(&self) -> Reply {
        let state = self.state.borrow();
        reply(&reply::SiteExported { toml: state.site.to_text(), version: state.version })
    }

    /// What is allowed but probably not meant.
    fn warnings(&self, site: &Site) -> Vec<String> {
        let state = self.state.borrow();
        let mut warnings = Vec::new();
        for (name, account) in &site.account {
            if !account.rate_group.is_empty() && !state.decks.contains_key(&account.rate_group) {
                warnings.push(format!(
                    "account.{name}.rate_group = {:?} has no rates yet; import them with tandem rates import",
                    account.rate_group
                ));
            }
        }
        for (name, param) in &site.params {
            match params::find(name) {
                Ok(param) if param.reader.is_none() => {
                    warnings.push(format!("params.{name} is kept but nothing reads it in this version"))
                }
                Ok(param) if param.reader == Some("boot") && site.params.get(name) != state.site.params.get(name) => {
                    warnings.push(format!("params.{name} takes effect at the next start"));
                }
                _ => {
                    let _ = param;
                }
            }
        }
        warnings
    }

    fn param_row(&self, param: &'static Param) -> reply::ParamRow {
        let state = self.state.borrow();
        reply::ParamRow {
            name: param.name.to_owned(),
            value: state.params.get(param).to_owned(),
            default: param.default.to_owned(),
            range: param.kind.allowed(),
            unit: param.unit.to_owned(),
            meaning: param.meaning.to_owned(),
            used: param.reader.is_some(),
            read_by: param.reader.unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn param_list(&self, prefix: Option<&str>) -> Reply {
        let mut rows: Vec<_> = TABLE
            .iter()
            .filter(|param| prefix.is_none_or(|prefix| param.name.starts_with(prefix)))
            .map(|param| self.param_row(param))
            .collect();
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        reply(&reply::ParamList { total: rows.len() as u64, rows })
    }

    fn param(name: &str) -> Result<&'static Param, ErrorObject> {
        params::find(name).map_err(|_| {
            let names: Vec<&str> = TABLE.iter().map(|p| p.name).collect();
            ErrorObject::not_found("system parameter", name, &names)
        })
    }

    pub(super) fn param_get(&self, name: &str) -> Reply {
        reply(&self.param_row(Control::param(name)?))
    }

    pub(super) async fn param_set(&self, user: &str, name: &str, value: &str) -> Reply {
        let _one = self.changing.lock().await;
        let param = Control::param(name)?;
        let before = self.param_row(param).value;
        let (site, decks, at_ms) = {
            let state = self.state.borrow();
            state.params.clone().set(name, value).map_err(|error| invalid(error.to_string()))?;
            let mut site = state.site.clone();
            site.params.insert(param.name.to_owned(), value.trim().to_owned());
            (site, state.decks.clone(), state.clock.now().wall_ms)
        };
        let record =
            Record::Param { at_ms, user: user.to_owned(), name: param.name.to_owned(), value: value.trim().to_owned() };
        self.commit(site, decks, vec![record], user).await?;
        reply(&reply::ParamSet { param: self.param_row(param), before })
    }
}
