//! Rate groups as they are kept: compiled in memory, as text with the numbers of the rows in the journal.

use std::sync::Arc;

use anyhow::Result;
use tandem_rating::deck_csv;
use tandem_rating::rate::{Deck, Rate, Row};

/// A rate group as the control thread keeps it.
#[derive(Clone, Debug)]
pub struct StoredDeck {
    /// Rises with every import.
    pub version: u64,
    /// UTC ms of the last import.
    pub changed_ms: i64,
    /// Compiled, with its rows.
    pub deck: Arc<Deck>,
}

impl StoredDeck {
    /// Compiles rows.
    ///
    /// # Errors
    /// Rows that overlap, named.
    pub fn from_rows(group: &str, version: u64, changed_ms: i64, rows: Vec<Rate>) -> Result<StoredDeck> {
        Ok(StoredDeck { version, changed_ms, deck: Arc::new(Deck::build(group, rows)?) })
    }

    /// Compiles what the store kept.
    ///
    /// # Errors
    /// As [`StoredDeck::from_rows`], or text that is no deck.
    pub fn from_csv(group: &str, version: u64, changed_ms: i64, text: &str) -> Result<StoredDeck> {
        let (ids, csv) = match text.strip_prefix(IDS_MARK).and_then(|rest| rest.split_once('\n')) {
            Some((ids, csv)) => (ids, csv),
            None => ("", text),
        };
        let parsed = tandem_rating::deck_csv::parse_stored(csv.as_bytes())
            .map_err(|errors| anyhow::anyhow!("stored rate group {group}: {} rows cannot be read", errors.len()))?;
        let mut rows = parsed.rows;
        for (row, id) in rows.iter_mut().zip(ids_of(ids)) {
            row.rate_id = id;
        }
        StoredDeck::from_rows(group, version, changed_ms, rows)
    }

    /// The rows as CSV, behind a line with their numbers: CDRs name the row that priced them, so a row keeps its number
    /// for ever. Runs of numbers are written as `first-last`.
    pub fn stored_text(&self) -> String {
        StoredText::new(self.deck.clone()).next(usize::MAX).unwrap_or_default()
    }
}

/// The text of [`StoredDeck::stored_text`], piece by piece: that of four million rows is 200 MB.
pub struct StoredText {
    deck: Arc<Deck>,
    /// Rows whose numbers are written.
    numbered: usize,
    /// Rows that are written.
    rows: usize,
    /// The lines before the rows are whole.
    has_head: bool,
    text: String,
}

/// Rows looked at before the length is.
const ROWS_AT_ONCE: usize = 64;

impl StoredText {
    /// Of these rows.
    pub fn new(deck: Arc<Deck>) -> StoredText {
        StoredText { deck, numbered: 0, rows: 0, has_head: false, text: IDS_MARK.to_owned() }
    }

    /// The next piece, of at most `bytes`; `None` at the end.
    pub fn next(&mut self, bytes: usize) -> Option<String> {
        while self.text.len() < bytes && self.write_more() {}
        let mut end = self.text.len().min(bytes);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let rest = self.text.split_off(end);
        let piece = std::mem::replace(&mut self.text, rest);
        (!piece.is_empty()).then_some(piece)
    }

    /// Rows that are in the pieces so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether nothing is left.
    pub fn is_at_end(&self) -> bool {
        self.has_head && self.rows == self.deck.len() && self.text.is_empty()
    }

    /// Writes a little more; false at the end.
    fn write_more(&mut self) -> bool {
        use std::fmt::Write;
        if self.numbered < self.deck.len() {
            let mut ids = self.rows_from(self.numbered).map(|row| row.rate_id());
            let Some(first) = ids.next() else { return false };
            let run = 1 + (first + 1..).zip(ids).take_while(|(next, id)| next == id).count();
            let comma = if self.numbered == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(self.text, "{comma}{first}-{}", first + run as u64 - 1);
            self.numbered += run;
            return true;
        }
        if !self.has_head {
            self.has_head = true;
            self.text.push('\n');
            self.text.push_str(&deck_csv::header_line());
            return true;
        }
        // Row by row: a million of them at once are a quarter of a gigabyte.
        let before = self.rows;
        while let Some(row) = self.deck.row(self.rows as u32).filter(|_| self.rows < before + ROWS_AT_ONCE) {
            deck_csv::export_row(&row.rate(), &mut self.text);
            self.rows += 1;
        }
        self.rows > before
    }

    /// The rows from a place on, without a walk to it.
    fn rows_from(&self, place: usize) -> impl Iterator<Item = Row<'_>> {
        // Far below 2^32: a deck has at most DECK_ROWS_MAX of them.
        (place as u32..).map_while(|place| self.deck.row(place))
    }
}

/// Begins the line of row numbers in front of a stored deck.
const IDS_MARK: &str = "#rate_ids,";

/// The numbers of a line of runs.
fn ids_of(text: &str) -> impl Iterator<Item = u64> + '_ {
    text.split(',').filter_map(|run| run.split_once('-')).flat_map(|(first, last)| {
        let bounds = first.parse::<u64>().ok().zip(last.parse::<u64>().ok());
        bounds.into_iter().flat_map(|(first, last)| first..=last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_deck_keeps_the_numbers_of_its_rows() {
        let row = |rate_id, area: &str| Rate {
            rate_id,
            area_code: area.to_owned(),
            level: 5,
            first_s: 60,
            next_s: 60,
            ..Rate::default()
        };
        let deck = StoredDeck::from_rows("g", 3, 0, vec![row(7, "1"), row(8, "2"), row(20, "3")]).unwrap();
        let back = StoredDeck::from_csv("g", 3, 0, &deck.stored_text()).unwrap();
        let ids =
            |deck: &StoredDeck| deck.deck.rows().iter().map(|r| (r.area_code.clone(), r.rate_id)).collect::<Vec<_>>();
        assert_eq!(ids(&deck), ids(&back));
        let whole = deck.stored_text();
        assert!(whole.starts_with("#rate_ids,7-8,20-20\n"), "{whole}");
        for bytes in 1..whole.len() + 1 {
            let mut text = StoredText::new(deck.deck.clone());
            let mut pieces = Vec::new();
            while let Some(piece) = text.next(bytes) {
                assert!(piece.len() <= bytes);
                assert_eq!(
                    text.is_at_end(),
                    pieces.iter().map(String::len).sum::<usize>() + piece.len() == whole.len()
                );
                pieces.push(piece);
            }
            assert_eq!(pieces.concat(), whole);
        }
    }
}
