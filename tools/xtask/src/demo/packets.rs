//! How many packets went by which path, and whether the records say the same.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::switch::Switch;

/// Packets by path, since the switch started: audio alone, without RTCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByPath {
    /// Forwarded by the kernel.
    pub(super) kernel: u64,
    /// Forwarded by user space: the first of each side, until the kernel knows it.
    pub(super) user: u64,
}

impl ByPath {
    /// From the answer of `tandem status`.
    pub(super) fn of_status(status: &Value) -> ByPath {
        let counter = |name: &str| status["counters"][name].as_u64().unwrap_or(0);
        ByPath { kernel: counter("xdp_rtp_packets"), user: counter("media_packets_relayed") }
    }

    fn sum(self) -> u64 {
        self.kernel + self.user
    }
}

/// The account of all audio at the end.
#[derive(Debug)]
pub(super) struct Account {
    /// What forwarded.
    pub(super) by_path: ByPath,
    /// `XDP native`, `XDP generic`, or empty when user space relays everything.
    pub(super) kernel_is: String,
    /// Packets of the records, both directions.
    pub(super) recorded: u64,
    /// Sequence numbers that never came to the switch, and packets that it forwarded and that never arrived.
    pub(super) lost: u64,
}

impl Account {
    /// Asks the switch. `relayed` are the packets of the records by direction, `arrived` those counted at vendor and customer,
    /// when somebody counted.
    ///
    /// # Errors
    /// What `tandem` complained about; when its audit does not agree, that.
    pub(super) fn ask(
        switch: &Switch,
        records: &Value,
        relayed: (u64, u64),
        arrived: Option<(u64, u64)>,
    ) -> Result<Account> {
        let audit = switch.json(&["media", "audit"]).context("records and paths disagree")?;
        let status = switch.status()?;
        let number = |name: &str| audit[name].as_u64().unwrap_or(0);
        let missing = arrived
            .map_or(0, |(vendor, customer)| relayed.0.saturating_sub(vendor) + relayed.1.saturating_sub(customer));
        Ok(Account {
            by_path: ByPath { kernel: number("kernel"), user: number("user_space") },
            kernel_is: kernel_is(&status),
            recorded: relayed.0 + relayed.1,
            lost: gaps(records) + missing,
        })
    }

    /// In one line.
    pub(super) fn told(&self) -> String {
        let ByPath { kernel, user } = self.by_path;
        let (sum, lost) = (self.by_path.sum(), self.lost);
        match self.kernel_is.as_str() {
            "" => format!("audio: {sum} packets, all by user space, {lost} lost"),
            name => format!("audio: {sum} packets, {kernel} by the kernel ({name}), {user} by user space, {lost} lost"),
        }
    }

    /// For `summary.json`.
    pub(super) fn summary(&self) -> Value {
        json!({
            "path": if self.kernel_is.is_empty() { "user space" } else { &self.kernel_is },
            "packets": self.by_path.sum(),
            "by_kernel": self.by_path.kernel,
            "by_user_space": self.by_path.user,
            "in_records": self.recorded,
            "lost": self.lost,
        })
    }

    /// Whether it is what was promised.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn check(&self) -> Result<()> {
        let sum = self.by_path.sum();
        ensure!(
            self.recorded == sum,
            "the records have {} packets, kernel and user space forwarded {sum}",
            self.recorded
        );
        ensure!(
            self.kernel_is.is_empty() || self.by_path.kernel > self.by_path.user,
            "the kernel was to forward nearly everything; it forwarded {} of {sum} packets",
            self.by_path.kernel
        );
        Ok(())
    }
}

/// How the interfaces are served, when the kernel serves them: `XDP native`, or both when they differ.
fn kernel_is(status: &Value) -> String {
    if status["media"] != "xdp" {
        return String::new();
    }
    let mut names: Vec<&str> =
        rows(&status["media_interfaces"]).iter().filter_map(|row| row["path"].as_str()).collect();
    names.dedup();
    format!("XDP {}", names.join(" and "))
}

/// Every interface with its path, and the reason where it is not the best one.
pub(super) fn interfaces(status: &Value) -> String {
    let shown = rows(&status["media_interfaces"]).iter().map(|row| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let reason = text("reason");
        let reason = if reason.is_empty() { reason } else { format!(" ({reason})") };
        format!("{} {}{reason}", text("interface"), text("path"))
    });
    shown.collect::<Vec<String>>().join(", ")
}

/// Sequence numbers that the switch never saw, of all records.
fn gaps(records: &Value) -> u64 {
    let of = |row: &Value| {
        ["caller_rtp_lost", "callee_rtp_lost"].map(|name| row[name].as_u64().unwrap_or(0)).iter().sum::<u64>()
    };
    rows(records).iter().map(of).sum()
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_who_forwarded() {
        let mut account = Account {
            by_path: ByPath { kernel: 90, user: 10 },
            kernel_is: "XDP native".to_owned(),
            recorded: 100,
            lost: 0,
        };
        assert_eq!(account.told(), "audio: 100 packets, 90 by the kernel (XDP native), 10 by user space, 0 lost");
        assert!(account.check().is_ok());
        account.recorded = 99;
        assert!(account.check().is_err(), "a packet without a record");
        account = Account { by_path: ByPath { kernel: 0, user: 100 }, recorded: 100, ..account };
        assert!(account.check().is_err(), "nothing by the kernel");
        account.kernel_is.clear();
        assert!(account.check().is_ok());
        assert_eq!(account.told(), "audio: 100 packets, all by user space, 0 lost");
    }

    #[test]
    fn interfaces_that_are_served_differently_are_both_named() {
        let status = json!({"media": "xdp", "media_interfaces": [
            {"interface": "r0", "path": "native", "reason": ""},
            {"interface": "r1", "path": "generic", "reason": "no driver"},
        ]});
        assert_eq!(kernel_is(&status), "XDP native and generic");
        assert_eq!(interfaces(&status), "r0 native, r1 generic (no driver)");
        assert_eq!(kernel_is(&json!({"media": "user space"})), "");
        assert_eq!(gaps(&json!([{"caller_rtp_lost": 2, "callee_rtp_lost": 3}, {"callee_rtp_lost": 4}])), 9);
    }
}
