//! The site: apply, edit, stage, commit, roll back, compare, history, export.

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{
    Side, SiteApply, SiteCommit, SiteCompare, SiteEdit, SiteExport, SiteHistory, SiteRollback, Terms,
};
use tandem_rating::money::Money;
use tandem_rating::record::Actor;

use super::change::{Proposal, invalid};
use super::{Control, Reply, internal, reply};
use crate::orders::RatingOrder;
use crate::params;
use crate::site::{Site, diff, lines};

/// A site that is being prepared; in memory only, a restart forgets it.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The site.
    pub site: Site,
    /// Version of the site it was begun from.
    pub base: u64,
    /// Who began it.
    pub user: String,
}

/// Days that a new account is valid for.
const VALID_DAYS: &str = "SERVER_ACCOUNT_DEFAULT_VALID_DAYS";

/// Changes told to whoever comes too late.
const CONFLICT_SHOWN: u64 = 3;

impl Control {
    pub(super) async fn site_apply(&self, actor: &Actor, command: &str, q: SiteApply) -> Reply {
        let _one = self.changing.lock().await;
        let site = Site::parse(&q.toml).map_err(invalid)?;
        self.propose(actor, "apply", command, site, &q.terms, None).await
    }

    pub(super) async fn site_edit(&self, actor: &Actor, command: &str, q: SiteEdit) -> Reply {
        let _one = self.changing.lock().await;
        if q.edits.is_empty() {
            return Err(ErrorObject::bad_value("edits", "", "at least one edit"));
        }
        let mut site = {
            let state = self.state.borrow();
            match &state.staged {
                Some(staged) if q.terms.stage => staged.site.clone(),
                _ => state.site.clone(),
            }
        };
        for edit in &q.edits {
            site.edit(edit)?;
        }
        self.propose(actor, q.edits[0].edit.as_str(), command, site, &q.terms, None).await
    }

    pub(super) async fn site_commit(&self, actor: &Actor, command: &str, q: SiteCommit) -> Reply {
        let _one = self.changing.lock().await;
        let (staged, waits, version) = {
            let state = self.state.borrow();
            (state.staged.clone(), state.pending.is_some(), state.version)
        };
        let Some(staged) = staged else {
            if !waits {
                return Err(ErrorObject::new(
                    ErrorCode::Refused,
                    "nothing is staged and no change waits for a confirmation",
                ));
            }
            let mut answer = reply::SiteApplied { base_version: version, ..Default::default() };
            answer.unconfirmed = self.state.borrow().pending.as_ref().map(super::confirm::Pending::shown);
            if q.terms.commit {
                answer.confirmed = Some(self.confirm(actor, command, &q.terms.comment).await?);
                answer.committed = true;
                answer.unconfirmed = None;
            }
            return reply(&answer);
        };
        self.must_be_at(staged.base).await?;
        let terms = Terms { stage: false, ..q.terms };
        self.propose(actor, "commit", command, staged.site, &terms, None).await
    }

    pub(super) async fn site_discard(&self) -> Reply {
        let _one = self.changing.lock().await;
        let mut state = self.state.borrow_mut();
        let Some(staged) = state.staged.take() else {
            return Err(ErrorObject::new(ErrorCode::Refused, "nothing is staged"));
        };
        reply(&reply::SiteDiscarded { changes: diff(&state.site, &staged.site).len() as u64 })
    }

    pub(super) async fn site_rollback(&self, actor: &Actor, command: &str, q: SiteRollback) -> Reply {
        let _one = self.changing.lock().await;
        let waiting = self.state.borrow().pending.clone();
        if waiting.is_some() && q.terms.confirm_within.is_some() {
            return Err(ErrorObject::new(
                ErrorCode::Refused,
                "a change waits for a confirmation: it is rolled back without one, so --confirm is not possible",
            ));
        }
        let (version, site) = match (q.version, waiting) {
            (None, Some(waiting)) => (waiting.fallback, waiting.site),
            (Some(version), _) => (version, self.site_of(version).await?),
            (None, None) => self.site_before().await?,
        };
        self.propose(actor, "rollback", command, site, &q.terms, Some(version)).await.map_err(|mut error| {
            if error.kind() == ErrorCode::InvalidParams {
                error.message = format!(
                    "version {version} does not hold together any more, nothing was changed:\n{}",
                    error.message
                );
            }
            error
        })
    }

    /// Looks at a new site and does with it what the terms say. `from` is the version it comes from, for a rollback.
    async fn propose(
        &self,
        actor: &Actor,
        how: &'static str,
        command: &str,
        site: Site,
        terms: &Terms,
        from: Option<u64>,
    ) -> Reply {
        if let Some(base) = terms.base_version {
            self.must_be_at(base).await?;
        }
        if terms.stage && terms.confirm_within.is_some() {
            return Err(ErrorObject::bad_value("confirm", "with stage", "one of the two; commit takes --confirm"));
        }
        let mut site = site;
        self.date_new_accounts(&mut site)?;
        self.build(&site, &[])?;
        self.must_stay_cancelled(&site)?;
        let (changes, base_version) = {
            let state = self.state.borrow();
            (diff(&state.site, &site), state.version)
        };
        self.must_hold_no_money(&site).await?;
        let mut answer = reply::SiteApplied {
            warnings: self.warnings(&site),
            base_version,
            from_version: from,
            ..Default::default()
        };
        let lines = lines(&changes);
        answer.changes = changes;
        if terms.commit && terms.stage {
            let mut state = self.state.borrow_mut();
            let base = state.staged.as_ref().map_or(state.version, |staged| staged.base);
            state.staged = Some(Staged { site, base, user: actor.user.clone() });
            answer.staged = true;
        } else if terms.commit && !answer.changes.is_empty() {
            if from.is_none() {
                self.must_not_wait()?;
            }
            let version = self
                .commit(
                    actor,
                    Proposal {
                        site: Some(site),
                        changes: lines,
                        confirm_within: terms.confirm_within,
                        ends_confirm: from.is_some(),
                        ..Proposal::new(how, command, &terms.comment)
                    },
                )
                .await?;
            let mut state = self.state.borrow_mut();
            if how == "commit" {
                state.staged = None;
            }
            answer.version = Some(version);
            answer.committed = true;
            answer.unconfirmed = state.pending.as_ref().map(super::confirm::Pending::shown);
        } else if terms.commit {
            // Nothing differs: what was staged is in force.
            if how == "commit" {
                self.state.borrow_mut().staged = None;
            }
            answer.committed = true;
        }
        reply(&answer)
    }

    /// What was looked at at version `base` must not have been changed since by somebody else. Rates do not count.
    async fn must_be_at(&self, base: u64) -> Result<(), ErrorObject> {
        let (version, site_version) = {
            let state = self.state.borrow();
            (state.version, state.site_version)
        };
        if (site_version..=version).contains(&base) {
            return Ok(());
        }
        let mut message = format!("the configuration is at version {version} now, not {base}");
        if base < site_version {
            let newest = self
                .query(|q| q.changes(Some(CONFLICT_SHOWN as usize), 0).map_err(|error| internal(error.to_string())))
                .await;
            if let Ok((newest, _)) = newest {
                let since: Vec<String> = newest
                    .iter()
                    .filter(|one| one.version > base)
                    .map(|one| format!("version {} by {} ({})", one.version, one.actor.user, one.how))
                    .collect();
                message.push_str(&format!("; changed since: {}", since.join(", ")));
            }
        }
        message.push_str("; look at the changes again");
        Err(ErrorObject::new(ErrorCode::Conflict, message))
    }

    /// SERVER_ACCOUNT_DEFAULT_VALID_DAYS: an account that is made without an end of validity gets one.
    fn date_new_accounts(&self, site: &mut Site) -> Result<(), ErrorObject> {
        let state = self.state.borrow();
        let days = site.params.iter().rev().find(|(name, _)| params::find(name).is_ok_and(|p| p.name == VALID_DAYS));
        let Some(days) = days.and_then(|(_, days)| days.trim().parse::<i64>().ok()).filter(|days| *days > 0) else {
            return Ok(());
        };
        let until_ms = state.clock.now().wall_ms.saturating_add(days.saturating_mul(86_400_000));
        for (name, account) in &mut site.account {
            if account.valid_until.is_empty() && account.kind == "customer" && !state.site.account.contains_key(name) {
                let until = jiff::Timestamp::from_second(until_ms.div_euclid(1_000))
                    .map_err(|error| ErrorObject::bad_value(VALID_DAYS, days, error))?;
                account.valid_until = until.to_string();
            }
        }
        Ok(())
    }

    /// A cancelled account stays, and stays cancelled: its name is on CDRs and on the ledger.
    fn must_stay_cancelled(&self, site: &Site) -> Result<(), ErrorObject> {
        let state = self.state.borrow();
        let back: Vec<String> = state
            .site
            .account
            .iter()
            .filter(|(name, account)| account.cancelled && site.account.get(*name).is_none_or(|new| !new.cancelled))
            .map(|(name, _)| {
                format!("account.{name} is cancelled, which is for good: it stays with its records, and its name is not given again")
            })
            .collect();
        if back.is_empty() { Ok(()) } else { Err(super::change::wrong(back)) }
    }

    /// An account that still has money or calls cannot be taken away: nobody could pay it out, or say why.
    async fn must_hold_no_money(&self, site: &Site) -> Result<(), ErrorObject> {
        let gone: Vec<String> = {
            let state = self.state.borrow();
            state.site.account.keys().filter(|name| !site.account.contains_key(*name)).cloned().collect()
        };
        if gone.is_empty() {
            return Ok(());
        }
        let views = self.ask_rating(RatingOrder::Accounts).await?;
        let held: Vec<String> = views
            .iter()
            .filter(|view| gone.binary_search(&view.name).is_ok())
            .filter(|view| view.balance != Money::ZERO || view.calls > 0)
            .map(|view| {
                format!(
                    "account.{} cannot be taken away with a balance of {} and {} calls; pay it to 0 with tandem account \
                     pay, or lock it",
                    view.name, view.balance, view.calls
                )
            })
            .collect();
        if held.is_empty() { Ok(()) } else { Err(super::change::wrong(held)) }
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
        for name in site.params.keys() {
            match params::find(name) {
                Ok(param) if param.reader.is_none() => {
                    warnings.push(format!("params.{name} is kept but nothing reads it in this version"));
                }
                Ok(param) if param.reader == Some("boot") && site.params.get(name) != state.site.params.get(name) => {
                    warnings.push(format!("params.{name} takes effect at the next start"));
                }
                _ => {}
            }
        }
        warnings
    }

    /// The text of the site at `version`, as it was written then.
    async fn text_of(&self, version: u64) -> Result<String, ErrorObject> {
        let found = self.query(move |q| q.site_at(version).map_err(|error| internal(error.to_string()))).await?;
        found.map(|site| site.text).ok_or_else(|| {
            let newest = self.state.borrow().version;
            ErrorObject::new(
                ErrorCode::NotFound,
                format!("there is no version {version}; the newest is {newest}, tandem history lists them"),
            )
        })
    }

    async fn site_of(&self, version: u64) -> Result<Site, ErrorObject> {
        let text = self.text_of(version).await?;
        Site::parse(&text)
            .map_err(|error| invalid(format!("version {version} cannot be read by this tandemd: {error}")))
    }

    /// The site before the last change of the site.
    async fn site_before(&self) -> Result<(u64, Site), ErrorObject> {
        let before = self.state.borrow().site_version.saturating_sub(1);
        match self.site_of(before).await {
            Ok(site) => Ok((before, site)),
            Err(error) if error.kind() == ErrorCode::NotFound => {
                Err(ErrorObject::new(ErrorCode::NotFound, "there is no version before the one in force"))
            }
            Err(error) => Err(error),
        }
    }

    async fn side(&self, side: Side) -> Result<(String, Site), ErrorObject> {
        let running = || {
            let state = self.state.borrow();
            (format!("version {} (running)", state.version), state.site.clone())
        };
        match side {
            Side::Running => Ok(running()),
            Side::Staged => {
                let state = self.state.borrow();
                let staged = state.staged.as_ref().ok_or_else(|| {
                    ErrorObject::new(ErrorCode::NotFound, "nothing is staged; set --stage and apply --stage do")
                })?;
                Ok((format!("staged by {} on version {}", staged.user, staged.base), staged.site.clone()))
            }
            Side::Version(version) => Ok((format!("version {version}"), self.site_of(version).await?)),
            Side::Toml(text) => Ok(("file".to_owned(), Site::parse(&text).map_err(invalid)?)),
        }
    }

    pub(super) async fn site_compare(&self, q: SiteCompare) -> Reply {
        let staged = self.state.borrow().staged.is_some();
        let (from, to) = match (q.from, q.to) {
            (None, None) if staged => (self.side(Side::Running).await?, self.side(Side::Staged).await?),
            (None, None) => {
                let (version, site) = self.site_before().await?;
                ((format!("version {version}"), site), self.side(Side::Running).await?)
            }
            (from, to) => {
                (self.side(from.unwrap_or(Side::Running)).await?, self.side(to.unwrap_or(Side::Running)).await?)
            }
        };
        reply(&reply::SiteCompared { changes: diff(&from.1, &to.1), from: from.0, to: to.0 })
    }

    pub(super) async fn site_history(&self, q: SiteHistory) -> Reply {
        let limit = q.limit.rows() as usize;
        let (rows, total) = self
            .query(move |queries| queries.changes(Some(limit), q.offset).map_err(|e| internal(e.to_string())))
            .await?;
        let running = self.state.borrow().version;
        let rows = rows
            .into_iter()
            .map(|row| reply::ChangeRow {
                running: row.version == running,
                version: row.version,
                at_ms: row.at_ms,
                user: row.actor.user,
                uid: row.actor.uid,
                pid: row.actor.pid,
                how: row.how,
                comment: row.comment,
                changes: row.changes,
                confirm_state: row.confirm_state,
                confirm_until_ms: row.confirm_until_ms,
            })
            .collect();
        reply(&reply::SiteHistory { total, rows })
    }

    pub(super) async fn site_export(&self, q: SiteExport) -> Reply {
        let (toml, version) = match (q.version, q.staged) {
            (Some(_), true) => {
                return Err(ErrorObject::bad_value("staged", "with a version", "one of the two"));
            }
            (Some(version), false) => (self.text_of(version).await?, version),
            (None, true) => {
                let (_, site) = self.side(Side::Staged).await?;
                (site.to_text(), self.state.borrow().version)
            }
            (None, false) => {
                let state = self.state.borrow();
                (state.site.to_text(), state.version)
            }
        };
        reply(&reply::SiteExported { toml, version })
    }
}
