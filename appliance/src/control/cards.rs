//! Phone cards: made in batches as accounts of the site, locked, listed, and paid out to an account.

use std::collections::BTreeSet;
use std::str::FromStr;

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{CARDS_MAX, CardCreate, CardList, CardLock, CardRecharge};
use tandem_rater::{AccountView, Move, Movement};
use tandem_rating::money::Money;
use tandem_rating::record::Actor;

use super::change::Proposal;
use super::money::key_of;
use super::{Control, Reply, internal, reply};
use crate::orders::RatingOrder;
use crate::site::{AccountSite, CARD, Site};

/// Digits drawn for a PIN: fewer are guessed, more are mistyped.
const DIGITS: std::ops::RangeInclusive<u32> = 8..=20;
const DIGITS_DEFAULT: u32 = 12;
/// PINs shown in a preview.
const EXAMPLES: u32 = 3;
/// Words of `state`.
const STATES: [&str; 6] = ["new", "used", "locked", "expired", "no_money", "canceled"];
/// Words of `sort`.
const SORTS: [&str; 4] = ["pin", "balance", "first_use", "valid_to"];

impl Control {
    pub(super) async fn card_create(&self, actor: &Actor, command: &str, q: CardCreate) -> Reply {
        let _one = self.changing.lock().await;
        if !(1..=CARDS_MAX).contains(&q.count) {
            return Err(ErrorObject::bad_value("count", q.count, format!("1 to {CARDS_MAX} cards")));
        }
        let bad_value = |why: String| ErrorObject::bad_value("value", q.value.as_str(), why);
        let value = Money::from_str(q.value.as_str()).map_err(|error| bad_value(error.to_string()))?;
        if value <= Money::ZERO {
            return Err(bad_value("an amount above 0".to_owned()));
        }
        if q.batch.trim().is_empty() || q.batch.len() > 64 || q.batch.chars().any(|c| c.is_control() || c == '"') {
            return Err(ErrorObject::bad_value(
                "batch",
                q.batch,
                "1 to 64 characters without control characters and quotes",
            ));
        }
        let digits = q.digits.unwrap_or(DIGITS_DEFAULT);
        if !DIGITS.contains(&digits) {
            let allowed = format!("{} to {} digits", DIGITS.start(), DIGITS.end());
            return Err(ErrorObject::bad_value("digits", digits, allowed));
        }
        if q.prefix.len() > 20 || !q.prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ErrorObject::bad_value("prefix", q.prefix, "up to 20 digits"));
        }
        let valid_until = match &q.until {
            None => String::new(),
            Some(when) => {
                let at_ms = when.end_ms(&crate::site::zone());
                let at = at_ms.and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
                at.ok_or_else(|| ErrorObject::bad_value("until", when, "an instant that the calendar has"))?.to_string()
            }
        };
        let count = if q.commit { q.count } else { q.count.min(EXAMPLES) };
        let mut site = self.state.borrow().site.clone();
        let mut pins = BTreeSet::new();
        while pins.len() < count as usize {
            let pin = format!("{}{}", q.prefix, drawn(digits)?);
            // One that is taken is drawn again: of 10^8 and more hardly any is.
            if !site.account.contains_key(&pin) {
                pins.insert(pin);
            }
        }
        for pin in &pins {
            let card = AccountSite {
                kind: CARD.to_owned(),
                rate_group: q.rate_group.clone().unwrap_or_default(),
                opening: value.to_string(),
                agent: q.agent.clone().unwrap_or_default(),
                locked: q.locked,
                valid_until: valid_until.clone(),
                valid_days: q.valid_days.unwrap_or(0),
                batch: q.batch.clone(),
                ..AccountSite::default()
            };
            site.account.insert(pin.clone(), card);
        }
        self.build(&site, &[])?;
        let total = (0..q.count).try_fold(Money::ZERO, |sum, _| sum.checked_add(value));
        let total = total.map_err(|error| bad_value(error.to_string()))?;
        if q.commit {
            let change = format!("+ {} cards of {value} in batch {}", q.count, q.batch);
            self.change_cards(actor, command, site, change).await?;
        }
        reply(&reply::CardsCreated {
            pins: pins.into_iter().collect(),
            count: q.count.into(),
            value: self.shown(value),
            total: self.shown(total),
            batch: q.batch,
            committed: q.commit,
        })
    }

    /// Puts a site in force that differs in cards. PINs stay out of the audit log.
    async fn change_cards(&self, actor: &Actor, command: &str, site: Site, change: String) -> Result<(), ErrorObject> {
        self.must_not_wait()?;
        let proposal = Proposal { site: Some(site), changes: vec![change], ..Proposal::new("set", command, "") };
        self.commit(actor, proposal).await.map(|_| ())
    }

    pub(super) async fn card_list(&self, q: CardList) -> Reply {
        if let Some(state) = q.state.as_deref().filter(|state| !STATES.contains(state)) {
            return Err(ErrorObject::unknown_word("state", state, &STATES));
        }
        let (sort, turned) = match q.sort.as_deref() {
            None => ("pin", false),
            Some(sort) => sort.strip_prefix('-').map_or((sort, false), |sort| (sort, true)),
        };
        if !SORTS.contains(&sort) {
            return Err(ErrorObject::unknown_word("sort", sort, &SORTS));
        }
        // They come by name, which decides between equals.
        let views = self.ask_rating(RatingOrder::Accounts).await?;
        let mut cards: Vec<(AccountView, reply::CardRow)> =
            views.into_iter().filter_map(|view| self.card_row(&view).map(|row| (view, row))).collect();
        cards.retain(|(_, row)| {
            q.batch.as_ref().is_none_or(|batch| row.batch == *batch)
                && q.prefix.as_ref().is_none_or(|prefix| row.pin.starts_with(prefix.as_str()))
                && q.state.as_ref().is_none_or(|state| row.state == *state)
        });
        match sort {
            "balance" => cards.sort_by_key(|(view, _)| view.balance),
            "first_use" => cards.sort_by_key(|(_, row)| row.first_use_ms.unwrap_or(i64::MAX)),
            "valid_to" => cards.sort_by_key(|(_, row)| row.valid_to_ms.unwrap_or(i64::MAX)),
            _ => {}
        }
        if turned {
            cards.reverse();
        }
        let total = cards.len() as u64;
        let skip = usize::try_from(q.offset).unwrap_or(usize::MAX);
        let rows = cards.into_iter().map(|(_, row)| row).skip(skip).take(q.limit.rows() as usize).collect();
        reply(&reply::CardList { total, rows })
    }

    fn card_row(&self, view: &AccountView) -> Option<reply::CardRow> {
        let state = self.state.borrow();
        let site = state.site.account.get(&view.name).filter(|site| site.kind == CARD)?;
        let now_ms = state.clock.now().wall_ms;
        let until_ms = site.valid_until.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond());
        let valid_to_ms = [until_ms, view.valid_to_ms].into_iter().flatten().min();
        let word = if site.cancelled {
            "canceled"
        } else if site.locked {
            "locked"
        } else if valid_to_ms.is_some_and(|to_ms| to_ms <= now_ms) {
            "expired"
        } else if view.available <= Money::ZERO {
            "no_money"
        } else if view.first_use_ms.is_some() {
            "used"
        } else {
            "new"
        };
        let bound = state.site.bound_number.iter().filter(|(_, bound)| bound.account == view.name);
        let bound: Vec<&str> = bound.map(|(number, _)| number.as_str()).collect();
        let (opening, balance) = (site.opening.clone(), view.balance);
        let row = reply::CardRow {
            pin: view.name.clone(),
            batch: site.batch.clone(),
            state: word.to_owned(),
            value: String::new(),
            balance: String::new(),
            first_use_ms: view.first_use_ms,
            valid_to_ms,
            valid_days: site.valid_days,
            rate_group: site.rate_group.clone(),
            agent: site.agent.clone(),
            bound_numbers: bound.join(" "),
            calls: view.calls,
        };
        drop(state);
        // The site was checked: an opening that is no amount cannot be there.
        let value = Money::from_str(&opening).map_or(opening, |value| self.shown(value));
        Some(reply::CardRow { value, balance: self.shown(balance), ..row })
    }

    pub(super) async fn card_lock(&self, actor: &Actor, command: &str, q: CardLock) -> Reply {
        let _one = self.changing.lock().await;
        let mut site = self.state.borrow().site.clone();
        let fits = |name: &str, card: &AccountSite| match (&q.pin, &q.batch) {
            (Some(pin), None) => Ok(name == pin),
            (None, Some(batch)) => Ok(card.batch == *batch),
            _ => Err(ErrorObject::bad_value(
                "pin",
                q.pin.clone().unwrap_or_default(),
                "a PIN or a batch, one of the two",
            )),
        };
        let (mut found, mut cards) = (false, 0u64);
        for (name, card) in site.account.iter_mut().filter(|(_, account)| account.kind == CARD) {
            if fits(name, card)? {
                found = true;
                cards += u64::from(card.locked == q.unlock);
                card.locked = !q.unlock;
            }
        }
        if !found {
            let (what, name) = if q.pin.is_some() { ("card", &q.pin) } else { ("batch of cards", &q.batch) };
            return Err(ErrorObject::not_found::<String>(what, name.as_deref().unwrap_or_default(), &[]));
        }
        if q.commit && cards > 0 {
            let word = if q.unlock { "unlocked" } else { "locked" };
            self.change_cards(actor, command, site, format!("~ {cards} cards {word}")).await?;
        }
        reply(&reply::CardsLocked { cards, committed: q.commit })
    }

    pub(super) async fn card_recharge(&self, actor: &Actor, command: &str, q: CardRecharge) -> Reply {
        let _one = self.changing.lock().await;
        {
            let state = self.state.borrow();
            let now_ms = state.clock.now().wall_ms;
            let card = state.site.account.get(&q.pin).filter(|account| account.kind == CARD);
            let card = card.ok_or_else(|| ErrorObject::not_found::<String>("card", &q.pin, &[]))?;
            let until_ms = card.valid_until.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond());
            let why = match () {
                () if card.cancelled => Some("cancelled"),
                () if card.locked => Some("locked"),
                () if until_ms.is_some_and(|until_ms| until_ms <= now_ms) => Some("expired"),
                () => None,
            };
            if let Some(why) = why {
                return Err(ErrorObject::new(ErrorCode::Refused, format!("card {} is {why}", q.pin)));
            }
        }
        let movement = Movement {
            account: q.account,
            what: Move::ByCard(q.pin),
            key: key_of(q.key)?,
            user: actor.user.clone(),
            memo: if q.memo.is_empty() { "[card]".to_owned() } else { format!("[card] {}", q.memo) },
        };
        self.move_money(actor, command, movement, None).await
    }
}

/// Random digits, each as likely as another.
fn drawn(digits: u32) -> Result<String, ErrorObject> {
    let mut text = String::new();
    while text.len() < digits as usize {
        let bytes: [u8; 32] = crate::entropy::bytes().map_err(|error| internal(error.to_string()))?;
        // 250 and above would make small digits likelier.
        let left = digits as usize - text.len();
        text.extend(bytes.iter().filter(|byte| **byte < 250).take(left).map(|byte| char::from(b'0' + byte % 10)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::drawn;

    #[test]
    fn pins_have_their_digits_and_differ() {
        let pins: Vec<String> = (0..100).map(|_| drawn(20).unwrap()).collect();
        assert!(pins.iter().all(|pin| pin.len() == 20 && pin.bytes().all(|b| b.is_ascii_digit())));
        assert_eq!(pins.iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
    }
}
