//! What happened, drawn as a ladder: customers left, the switch, vendors right, a time column.

use tandem_leg::Time;

/// Columns between two lines of the ladder.
const LANE: usize = 34;
/// Columns before the first line.
const MARGIN: usize = 12;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) at: Time,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A party (its column) sent something.
    In(usize, String),
    /// The switch sent something to a party.
    Out(usize, String),
    /// Packets of a party's media.
    MediaIn(usize, u32),
    MediaOut(usize, u32),
    Note(String),
}

/// `parties` in order; the first `customers` of them stand left of the switch.
pub(crate) fn ladder(parties: &[String], customers: usize, rows: &[Row]) -> String {
    let column = |party: usize| if party < customers { party } else { party + 1 };
    let lines = parties.len() + 1;
    let mut text = String::new();
    let mut head = vec![b' '; MARGIN + LANE * (lines - 1) + 8];
    let mut write = |column: usize, name: &str| {
        let at = (MARGIN + LANE * column).saturating_sub(name.len() / 2);
        for (n, byte) in name.bytes().enumerate() {
            if let Some(place) = head.get_mut(at + n) {
                *place = byte;
            }
        }
    };
    for (party, name) in parties.iter().enumerate() {
        write(column(party), name);
    }
    write(customers, "tandem");
    push(&mut text, &head);
    let mut shown = None;
    for row in rows {
        let mut line = vec![b' '; MARGIN + LANE * (lines - 1) + 1];
        for n in 0..lines {
            line[MARGIN + LANE * n] = b'|';
        }
        if shown != Some(row.at) {
            shown = Some(row.at);
            let time = format!("{:>9}", seconds(row.at));
            line[..time.len().min(MARGIN - 1)].copy_from_slice(&time.as_bytes()[..time.len().min(MARGIN - 1)]);
        }
        match &row.what {
            What::In(party, label) => arrow(&mut line, column(*party), customers, label, b'-'),
            What::Out(party, label) => arrow(&mut line, customers, column(*party), label, b'-'),
            What::MediaIn(party, n) => arrow(&mut line, column(*party), customers, &format!("RTP x{n}"), b'='),
            What::MediaOut(party, n) => arrow(&mut line, customers, column(*party), &format!("RTP x{n}"), b'='),
            What::Note(note) => {
                push(&mut text, &line[..MARGIN]);
                text.pop();
                text.push_str("  -- ");
                text.push_str(note);
                text.push('\n');
                continue;
            }
        }
        push(&mut text, &line);
    }
    text
}

fn push(text: &mut String, line: &[u8]) {
    text.push_str(String::from_utf8_lossy(line).trim_end());
    text.push('\n');
}

fn arrow(line: &mut [u8], from: usize, to: usize, label: &str, dash: u8) {
    let (left, right) = (MARGIN + LANE * from.min(to) + 1, MARGIN + LANE * from.max(to) - 1);
    for place in &mut line[left..=right] {
        *place = dash;
    }
    if from < to {
        line[right] = b'>';
    } else {
        line[left] = b'<';
    }
    let room = right - left - 5;
    let label: String = label.chars().filter(char::is_ascii).take(room).collect();
    let label = format!(" {label} ");
    // At the sender's end, where the eye begins.
    let at = if from < to { left + 2 } else { right - 2 - label.len() };
    line[at..at + label.len()].copy_from_slice(label.as_bytes());
}

/// Seconds with the digits that are there: milliseconds, or microseconds when needed.
pub(crate) fn seconds(at: Time) -> String {
    let us = at.micros();
    if us.is_multiple_of(1_000) {
        format!("{}.{:03}", us / 1_000_000, us / 1_000 % 1_000)
    } else {
        format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_point_from_sender_to_receiver() {
        let rows = [
            Row { at: Time::ZERO, what: What::In(0, "INVITE".into()) },
            Row { at: Time::ZERO, what: What::Out(1, "INVITE".into()) },
            Row { at: Time::from_millis(1_500), what: What::Out(0, "180".into()) },
        ];
        let drawn = ladder(&["a".into(), "b".into()], 1, &rows);
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[1].starts_with("    0.000   |-- INVITE ---"), "{drawn}");
        assert!(lines[1].contains("->|"), "{drawn}");
        assert!(lines[2].trim_start().starts_with('|'), "the time is shown once\n{drawn}");
        assert!(lines[3].starts_with("    1.500   |<---") && lines[3].contains("- 180 ---|"), "{drawn}");
    }
}
