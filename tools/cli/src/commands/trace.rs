//! `tandem trace`: what the switch did with a call.

use clap::Args;
use tandem_control::{CallId, reply, request};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Format, List, Output};

#[derive(Args)]
pub(crate) struct Trace {
    /// Number of the call, in progress or finished
    call: CallId,
}

const EVENTS: List<'_, reply::TraceEvent> = List {
    fields: &["at_ms", "offset_us", "leg", "direction", "kind", "text", "detail"],
    titles: &[">ms", "leg", "", "kind", "event"],
    line: |event| {
        vec![
            format!("{}.{:03}", event.offset_us / 1000, event.offset_us.rem_euclid(1000)),
            event.leg.clone(),
            event.direction.clone(),
            event.kind.clone(),
            event.text.clone(),
        ]
    },
};

pub(super) fn run(arguments: Trace, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let traced = client.ask(request::Trace { call: arguments.call })?;
    match output.format {
        Format::Json => output.json(&traced)?,
        Format::Jsonl => output.list(&EVENTS, &traced.events)?,
        Format::Csv => output.list(&EVENTS, &traced.events)?,
        Format::Text if traced.text.is_empty() => output.list(&EVENTS, &traced.events)?,
        Format::Text => output.text(&traced.text)?,
    }
    if traced.dropped > 0 {
        super::note(&format!("{} events were not kept: the call had too many", traced.dropped));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_row() {
        super::super::tests::covers(EVENTS.fields, &reply::TraceEvent::default());
    }
}
