//! Rate sheets: read whole or refused whole, written and read again, imported in every mode.
//!
//! The input is one sheet, or two with the byte 0x1e between them: the deck that is there, and the file that is imported.

use tandem_rating::deck_csv::{ERRORS_MAX, export, parse};
use tandem_rating::import::{ImportMode, ImportOptions, apply_import, diff};
use tandem_rating::rate::{Deck, Lookup, Rate};

const SEPARATOR: u8 = 0x1e;
/// 2026-11-22 00:00:00 UTC.
const NOW_MS: i64 = 1_795_305_600_000;
/// Rows that are imported: the import compares rows of one prefix pairwise, which is no matter of this target.
const ROWS_MAX: usize = 300;

/// One sheet or two.
pub fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == SEPARATOR);
    let Some(old) = parts.next().and_then(sheet) else { return };
    let Some(new) = parts.next().and_then(sheet) else { return import(&[], &old) };
    // What is in force has row numbers.
    let old: Vec<Rate> = old.into_iter().zip(1..).map(|(row, rate_id)| Rate { rate_id, ..row }).collect();
    import(&old, &new);
}

fn sheet(bytes: &[u8]) -> Option<Vec<Rate>> {
    let parsed = match parse(bytes) {
        Ok(parsed) => parsed,
        Err(errors) => {
            assert!(!errors.is_empty() && errors.len() <= ERRORS_MAX);
            assert!(errors.iter().all(|error| !error.to_string().is_empty()));
            return None;
        }
    };
    for row in &parsed.rows {
        row.validate().expect("a sheet is taken only when every row is good");
    }
    let text = export(&parsed.rows);
    let again = parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{} in our own export", errors[0]));
    let blank = |rows: &[Rate]| -> Vec<Rate> { rows.iter().map(trimmed).collect() };
    assert_eq!(blank(&again.rows), blank(&parsed.rows), "an export reads back as it was");
    assert_eq!(export(&again.rows), text, "and is written the same");
    Some(parsed.rows).filter(|rows| rows.len() <= ROWS_MAX)
}

/// Without what an export may change (`deck_csv::export`).
fn trimmed(row: &Rate) -> Rate {
    Rate {
        rate_id: 0,
        area_name: row.area_name.trim().to_owned(),
        memo: row.memo.trim().to_owned(),
        sections: Vec::new(),
        ..row.clone()
    }
}

fn import(old: &[Rate], new: &[Rate]) {
    for mode in [ImportMode::Add, ImportMode::Merge, ImportMode::ReplaceAll] {
        let options = ImportOptions { fp: Some(4), ..ImportOptions::new(mode, NOW_MS) };
        let preview = diff(old, new, &options);
        let kinds = [&preview.added, &preview.raised, &preview.lowered, &preview.changed, &preview.unchanged];
        match apply_import(old, new, &options) {
            Ok(rows) => {
                assert!(preview.conflicts.is_empty(), "the preview warned of what then worked");
                assert_eq!(kinds.map(|kind| kind.count).iter().sum::<usize>(), new.len(), "every row in one kind");
                let deck =
                    Deck::build("d", rows.clone()).unwrap_or_else(|error| panic!("an import broke its deck: {error}"));
                assert_eq!(deck.len(), rows.len());
                let mut ids: Vec<u64> = rows.iter().map(|row| row.rate_id).collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), rows.len(), "a row number stands twice");
                for row in rows.iter().take(20) {
                    let at_ms = row.effective_from_ms.unwrap_or(NOW_MS);
                    let found = deck.lookup(row.prefix(), at_ms);
                    let is_valid = row.effective_to_ms.is_none_or(|to_ms| at_ms < to_ms);
                    assert!(!is_valid || !matches!(found, Lookup::NotFound), "a valid row is not found");
                }
            }
            Err(_) => assert!(!preview.conflicts.is_empty(), "the preview was silent"),
        }
    }
}
