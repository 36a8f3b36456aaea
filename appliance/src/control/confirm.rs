//! A change that rolls itself back unless somebody confirms it.

use std::time::Duration;

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_rating::record::{Actor, Audit, Outcome, Record};

use super::change::Proposal;
use super::{Control, Reply, reply};
use crate::log;
use crate::site::{Site, diff, lines};

/// Between two tries to roll back while the journal cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// A change that waits for its confirmation.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The version it made.
    pub version: u64,
    /// The version whose site comes back.
    pub fallback: u64,
    /// That site.
    pub site: Site,
    /// When, UTC ms.
    pub until_ms: i64,
    /// Who made it.
    pub user: String,
}

impl Pending {
    pub(super) fn shown(&self) -> reply::PendingConfirm {
        reply::PendingConfirm {
            version: self.version,
            fallback: self.fallback,
            until_ms: self.until_ms,
            user: self.user.clone(),
        }
    }
}

impl Control {
    /// A change that waits must be decided before the next one: else nobody could say what a rollback takes back.
    pub(super) fn must_not_wait(&self) -> Result<(), ErrorObject> {
        let state = self.state.borrow();
        let Some(waiting) = &state.pending else {
            return Ok(());
        };
        let left_s = (waiting.until_ms - state.clock.now().wall_ms).max(0) / 1_000;
        Err(ErrorObject::new(
            ErrorCode::Refused,
            format!(
                "version {} by {} waits for a confirmation and is rolled back in {left_s} s; tandem confirm keeps it, \
                 tandem rollback takes it back now",
                waiting.version, waiting.user
            ),
        ))
    }

    /// Rolls version `version` back after `wait`, unless it was decided before.
    pub(super) fn watch(&self, version: u64, wait: Duration) {
        let control = self.clone();
        tokio_uring::spawn(async move {
            tokio::time::sleep(wait).await;
            while let Err(error) = control.roll_back_unconfirmed(version).await {
                log::error(&format!("version {version} was not confirmed and is not rolled back yet: {error}"));
                tokio::time::sleep(RETRY).await;
            }
        });
    }

    /// What an earlier process left waiting goes on waiting, at most as long as it was given: the clock may have been set
    /// back meanwhile.
    pub(super) fn watch_pending(&self) {
        let waits = {
            let state = self.state.borrow();
            let now_ms = state.clock.now().wall_ms;
            state.pending.as_ref().map(|waiting| (waiting.version, waiting.until_ms - now_ms))
        };
        if let Some((version, left_ms)) = waits {
            let most_ms = i64::from(tandem_control::value::CONFIRM_MAX_S) * 1_000;
            self.watch(version, Duration::from_millis(left_ms.clamp(0, most_ms).unsigned_abs()));
        }
    }

    async fn roll_back_unconfirmed(&self, version: u64) -> Result<(), ErrorObject> {
        let _one = self.changing.lock().await;
        let waiting = self.state.borrow().pending.clone();
        let Some(waiting) = waiting.filter(|waiting| waiting.version == version) else {
            return Ok(());
        };
        let actor = Actor::switch("tandemd");
        let command = format!("rollback {}", waiting.fallback);
        // It was in force before; only a rate group or a listener could have gone since, and neither can while we run.
        if let Err(error) = self.build(&waiting.site, &[]) {
            let audit = self.audit(&actor, &command, "", Vec::new());
            let audit = Audit { outcome: Outcome::Failed, error: error.message.clone(), ..audit };
            self.write(&Record::Confirmed { version, audit: Box::new(audit) }).await?;
            self.state.borrow_mut().pending = None;
            log::error(&format!("version {version} was not confirmed but stays, the one before does not fit: {error}"));
            return Ok(());
        }
        let changes = lines(&diff(&self.state.borrow().site, &waiting.site));
        let proposal = Proposal {
            site: Some(waiting.site),
            changes,
            ends_confirm: true,
            ..Proposal::new("auto-rollback", &command, &format!("version {version} was not confirmed in time"))
        };
        let now = self.commit(&actor, proposal).await?;
        log::warning(&format!(
            "version {version} was not confirmed in time: version {now} has the site of version {} again",
            waiting.fallback
        ));
        Ok(())
    }

    /// Whoever calls this holds `changing`.
    pub(super) async fn confirm(&self, actor: &Actor, command: &str, comment: &str) -> Result<u64, ErrorObject> {
        let waiting = self.state.borrow().pending.as_ref().map(|waiting| waiting.version);
        let Some(version) = waiting else {
            return Err(ErrorObject::new(ErrorCode::Refused, "no change waits for a confirmation"));
        };
        let audit = Audit { version: Some(version), ..self.audit(actor, command, comment, Vec::new()) };
        self.write(&Record::Confirmed { version, audit: Box::new(audit) }).await?;
        self.state.borrow_mut().pending = None;
        Ok(version)
    }

    pub(super) async fn site_confirm(&self, actor: &Actor, command: &str, comment: &str) -> Reply {
        let _one = self.changing.lock().await;
        let version = self.confirm(actor, command, comment).await?;
        reply(&reply::SiteConfirmed { version })
    }
}
