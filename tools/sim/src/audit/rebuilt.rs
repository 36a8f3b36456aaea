//! The journal alone is enough: a database that is written anew from a copy of it says the same as the one that grew.

use std::collections::BTreeMap;
use std::path::Path;

use tandem_store::{DATABASE_FILE, Journal, JournalOptions, Queries, StoreOptions, recover};

use super::Auditor;
use super::books::units;
use crate::machine::Machine;

impl Auditor {
    pub(super) fn check_rebuilt(&mut self, machine: &Machine) {
        if let Err(text) = self.rebuild(machine) {
            self.report("rebuilt", None, text);
        }
    }

    fn rebuild(&self, machine: &Machine) -> Result<(), String> {
        let dir = machine.dir();
        let beside = dir.parent().ok_or("the journal has no folder")?;
        let copy = tempfile::Builder::new().prefix("again-").tempdir_in(beside).map_err(|error| error.to_string())?;
        copy_journal(&dir, copy.path()).map_err(|error| error.to_string())?;
        let (mut journal, _) =
            Journal::open(copy.path(), JournalOptions::default()).map_err(|error| error.to_string())?;
        let zone_offset_min = self.plan.store_offset_min;
        let options = StoreOptions { zone_offset_min, ..StoreOptions::new("USD") };
        let again = recover(&mut journal, &options, machine.now().wall_ms).map_err(|error| error.to_string())?;
        let fail = |error: tandem_store::StoreError| error.to_string();
        let (grown, made) = (Queries::open(&dir).map_err(fail)?, Queries::open(copy.path()).map_err(fail)?);
        let balances = |queries: &Queries| -> Result<BTreeMap<String, i128>, String> {
            Ok(queries.accounts().map_err(fail)?.into_iter().map(|row| (row.name, units(row.balance))).collect())
        };
        if balances(&grown)? != balances(&made)? {
            return Err(format!("balances are {:?}, {:?} from the journal", balances(&grown)?, balances(&made)?));
        }
        let (has, makes) = (grown.packages().map_err(fail)?, made.packages().map_err(fail)?);
        if has != makes {
            return Err(format!("orders are {has:?}, {makes:?} from the journal"));
        }
        for day in grown.report_days().map_err(fail)? {
            if grown.report_day(day, None).map_err(fail)? != made.report_day(day, None).map_err(fail)? {
                return Err(format!("the reports of {day} are others from the journal"));
            }
        }
        match again.open_calls.first() {
            Some(call) => Err(format!("call {} is open from the journal", call.usage.flow_no)),
            None => Ok(()),
        }
    }
}

/// Everything but the database.
fn copy_journal(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && !entry.file_name().to_string_lossy().starts_with(DATABASE_FILE) {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
