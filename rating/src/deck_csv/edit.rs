//! One row with some cells changed, under every rule of sheets.

use super::columns::{Column, by_name, meanings, name_of};
use super::{EXPORT_COLUMNS, RowError, export, parse_with};
use crate::rate::Rate;
use crate::sheet::SheetOptions;

/// `row` with the columns of `fields` changed; a field is any name of a column. The prefix stays.
///
/// # Errors
/// Column, value and rule.
pub fn edit(row: &Rate, fields: &[(&str, &str)], options: &SheetOptions) -> Result<Rate, RowError> {
    let refused = |column: &str, value: &str, rule: String| RowError {
        line: 0,
        column: column.to_owned(),
        value: value.to_owned(),
        rule,
    };
    let text = export(std::slice::from_ref(row));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let record = reader.records().next().and_then(Result::ok).unwrap_or_default();
    let values = record.iter().map(str::to_owned);
    let mut cells: Vec<(Column, String)> = EXPORT_COLUMNS.into_iter().zip(values).collect();
    for (word, value) in fields {
        let Some(column) = by_name(word) else {
            return Err(refused(
                word,
                value,
                format!("no column has that name; allowed are {}", meanings().join(", ")),
            ));
        };
        if matches!(column, Column::FeePrefix | Column::AreaCode | Column::Code | Column::CountryCode) {
            return Err(refused(word, value, "stays: a row of another prefix is another row".to_owned()));
        }
        if column == Column::Increment {
            cells.retain(|(known, _)| !matches!(known, Column::Period | Column::FirstS));
        }
        cells.retain(|(known, _)| *known != column);
        cells.push((column, (*value).to_owned()));
    }
    let mut sheet = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail.
    let _ = sheet.write_record(cells.iter().map(|(column, _)| name_of(*column)));
    let _ = sheet.write_record(cells.iter().map(|(_, value)| value));
    let sheet = sheet.into_inner().unwrap_or_default();
    let options = SheetOptions { templates: Vec::new(), template: None, map: Vec::new(), ..options.clone() };
    let found = parse_with(&sheet, &options, |_| {})
        .map_err(|errors| errors.into_iter().next().unwrap_or_else(|| refused("", "", "cannot be read".to_owned())))?;
    found.rows.into_iter().next().ok_or_else(|| refused("", "", "no row".to_owned()))
}
