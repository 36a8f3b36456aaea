//! Looks at the switch from inside: counts, lines, money, CDRs.

use tandem_rating::cdr::{CDR_FIELDS, Cdr, CdrValue};

use super::Story;
use crate::script::Check;

impl Story {
    pub(super) fn counts(&self, checks: &[Check]) -> Result<(), String> {
        let (calls, sip) = (self.switch.call_counts(), self.switch.sip_counts());
        for check in checks {
            let actual = match check.key.as_str() {
                "calls" => calls.calls,
                "authorizing" => calls.authorizing,
                "trying" => calls.trying,
                "ringing" => calls.ringing,
                "answering" => calls.answering,
                "connected" => calls.connected,
                "legs" => calls.legs,
                "ports_leased" => calls.ports_leased,
                "transactions" => sip.transactions,
                "dialogs" => sip.dialogs,
                "flows" => self.switch.flows(),
                key => return Err(format!("there is no count {key}")),
            };
            if !check.holds(&actual.to_string()) {
                return Err(format!("{} {} expected, there are {actual}", check.value, check.key));
            }
        }
        Ok(())
    }

    pub(super) fn gateway(&self, name: &str, checks: &[Check]) -> Result<(), String> {
        let views = self.switch.rater().gateways(self.switch.now());
        let view = views.iter().find(|v| v.name == name).ok_or_else(|| format!("there is no gateway {name}"))?;
        for check in checks {
            let actual = match check.key.as_str() {
                "in_use" => view.in_use.to_string(),
                "retry_after_ms" => view.retry_after_ms.to_string(),
                "attempts" => view.attempts.to_string(),
                "answered" => view.answered.to_string(),
                "answered_ms" => view.answered_ms.to_string(),
                key => return Err(format!("a gateway has no {key}")),
            };
            if !check.holds(&actual) {
                return Err(format!("gateway {name}: {}={} expected, it is {actual}", check.key, check.value));
            }
        }
        Ok(())
    }

    pub(super) fn account(&self, name: &str, checks: &[Check]) -> Result<(), String> {
        let views = self.switch.rater().accounts();
        let view = views.iter().find(|v| v.name == name).ok_or_else(|| format!("there is no account {name}"))?;
        for check in checks {
            let actual = match check.key.as_str() {
                "balance" => view.balance.to_string(),
                "reserved" => view.reserved.to_string(),
                "available" => view.available.to_string(),
                "calls" => view.calls.to_string(),
                key => return Err(format!("an account has no {key}")),
            };
            if !check.holds(&actual) {
                return Err(format!("account {name}: {}={} expected, it is {actual}", check.key, check.value));
            }
        }
        Ok(())
    }

    /// The next CDR in order.
    pub(super) fn cdr(&mut self, checks: &[Check]) -> Result<(), String> {
        let index = self.cdrs_seen;
        let cdr = self.switch.cdrs().nth(index).ok_or_else(|| format!("there is no CDR number {}", index + 1))?;
        let mut wrong = Vec::new();
        for check in checks {
            let actual = cdr_field(cdr, &check.key)?;
            if !check.holds(&actual) {
                let word = if check.contains { " with" } else { "" };
                wrong.push(format!("{}{word} {:?} expected, it is {actual:?}", check.key, check.value));
            }
        }
        self.cdrs_seen += 1;
        if wrong.is_empty() { Ok(()) } else { Err(format!("CDR {}: {}", index + 1, wrong.join("; "))) }
    }
}

/// A field by its name in cdr.md 2; `attempts` counts them, `attempt2.gateway` looks into one.
fn cdr_field(cdr: &Cdr, key: &str) -> Result<String, String> {
    if let Some(rest) = key.strip_prefix("attempt").filter(|rest| rest.contains('.')) {
        let (number, field) = rest.split_once('.').unwrap_or((rest, ""));
        let index = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let attempt = index.and_then(|n| cdr.attempts.get(n));
        let attempt = attempt.ok_or_else(|| format!("there is no attempt {number}: {:?}", cdr.attempts))?;
        return Ok(match field {
            "gateway" => attempt.gateway.to_string(),
            "status" => attempt.status.to_string(),
            "q850" => attempt.q850.to_string(),
            "reason" => attempt.reason.to_string(),
            "next" => attempt.next.to_string(),
            "took_ms" => (attempt.end_ms - attempt.start_ms).to_string(),
            _ => return Err(format!("an attempt has no {field}")),
        });
    }
    let index = CDR_FIELDS.iter().position(|(name, _)| *name == key);
    Ok(match cdr.value(index.ok_or_else(|| format!("a CDR has no field {key}"))?) {
        CdrValue::Null => "null".to_owned(),
        CdrValue::Int(n) => n.to_string(),
        CdrValue::Text(text) => text.to_owned(),
        CdrValue::Money(money) => money.to_string(),
        CdrValue::Attempts(attempts) => attempts.len().to_string(),
    })
}
