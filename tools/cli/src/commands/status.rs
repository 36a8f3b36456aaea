//! `tandem status`

use tandem_control::{reply, request};

use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::Output;

pub(super) fn run(client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let status = client.ask(request::Status {})?;
    output.object(&status, text)
}

fn text(output: &mut Output, status: &reply::Status) -> Result<(), Failure> {
    let up = human::duration_ms(status.now_ms - status.started_ms);
    output.pairs(&[
        ("switch", format!("tandemd {} on {}, {}", status.version, status.node, status.state)),
        ("up since", format!("{} ({up})", human::time(Some(status.started_ms)))),
        ("listens on", status.listen.join(", ")),
        (
            "shards",
            match status.shards {
                0 | 1 => status.shards.to_string(),
                several => format!("{several}, SIP steering {}", status.steering),
            },
        ),
        (
            "calls now",
            format!(
                "{} talking, {} ringing, {} in setup",
                status.calls_talking, status.calls_ringing, status.calls_setup
            ),
        ),
        (
            "calls per second",
            format!(
                "{} now, {}.{:02} over 10 s, {} at most",
                status.cps,
                status.cps_10s_x100 / 100,
                status.cps_10s_x100 % 100,
                status.cps_max
            ),
        ),
        ("calls so far", format!("{}, {} answered, {} failed", status.attempts, status.answered, status.failed)),
        (
            "quality",
            format!(
                "ASR {} %, ACD {} s, PDD {} ms",
                human::or_dash(status.asr_pct),
                human::or_dash(status.acd_s),
                human::or_dash(status.pdd_ms)
            ),
        ),
        (
            "media",
            format!(
                "{}: {} calls, {} packets/s, {} of {} ports free",
                status.media,
                status.media_calls,
                status.media_packets_per_s,
                status.media_ports_free,
                status.media_ports
            ),
        ),
        ("media to user space", status.media_sockets.clone()),
        ("CDRs waiting", status.cdr_queue.to_string()),
        ("site version", status.site_version.to_string()),
    ])?;
    super::media::interfaces(output, &status.media_interfaces)?;
    for warning in &status.warnings {
        output.line(&format!("warning: {warning}"))?;
    }
    if !status.counters.is_empty() {
        output.line("")?;
        let rows: Vec<Vec<String>> =
            status.counters.iter().map(|(name, value)| vec![name.clone(), value.to_string()]).collect();
        output.table(&["counter", ">value"], &rows)?;
    }
    Ok(())
}
