//! Whether a message of the switch is the one a story wants, attribute by attribute.

use std::net::SocketAddr;

use crate::far::Dialog;
use crate::heard::{Heard, Kind, direction, media_address, user_of, version};
use crate::site::{MEDIA_V4, MEDIA_V6, parse};

/// What is known around the message.
pub(crate) struct Context<'s> {
    /// The dialog that heard it.
    pub(crate) dialog: &'s Dialog,
    /// Last session descriptions of the other parties of the same call.
    pub(crate) others: Vec<&'s str>,
    /// Our address towards this party.
    pub(crate) ours: SocketAddr,
    /// Media ports of the switch.
    pub(crate) ports: std::ops::RangeInclusive<u16>,
}

/// Compares `heard` with `NAME [METHOD] [again] [key=value...]`.
pub(crate) fn check(cx: &Context<'_>, heard: &Heard, words: &[String]) -> Result<(), String> {
    let (name, rest) = words.split_first().ok_or("no message named")?;
    let fits = match &heard.kind {
        Kind::Request(method) => method == name,
        Kind::Response(status) => status.to_string() == *name,
    };
    if !fits {
        return Err(format!("{name} expected, {} came", heard.name()));
    }
    let mut again = false;
    let mut sdp_wanted = false;
    for word in rest {
        if word == "again" {
            again = true;
            continue;
        }
        let Some((key, value)) = word.split_once('=') else {
            if heard.method != *word {
                return Err(format!("{name} for {word} expected, it is for {}", heard.method));
            }
            continue;
        };
        sdp_wanted |= key == "sdp" && value != "none";
        attribute(cx, heard, key, value)?;
    }
    let repeated = cx.dialog.is_repeated(heard);
    if again && !repeated {
        return Err(format!("{name} again expected, but this one differs from those before"));
    }
    if !again && repeated {
        return Err(format!("a new {name} expected, this one is a retransmission"));
    }
    if !again && !sdp_wanted && heard.sdp().is_some() {
        return Err(format!("{name} without session description expected, it has one\n{}", heard.body()));
    }
    Ok(())
}

fn attribute(cx: &Context<'_>, heard: &Heard, key: &str, value: &str) -> Result<(), String> {
    let name = heard.name();
    let differs = |what: &str, actual: &str| Err(format!("{name}: {what} {value:?} expected, it is {actual:?}"));
    let header = |header: &str| heard.header(header).unwrap_or("").to_owned();
    let equal = |what: &str, actual: &str| if actual == value { Ok(()) } else { differs(what, actual) };
    match key {
        "sdp" => session(cx, heard, value),
        "dir" => equal("direction", heard.sdp().map_or("no session description", direction)),
        "version" => {
            // The one before this message's own.
            let mut versions = cx.dialog.told.iter().rev().filter_map(|sdp| version(sdp));
            let (now, before) = (versions.next(), versions.next());
            let grown = match (now, before) {
                (Some(now), Some(before)) => format!("+{}", now.wrapping_sub(before)),
                _ => "nothing to compare".to_owned(),
            };
            equal("o= version", &grown)
        }
        "codecs" => {
            let m = heard.sdp().and_then(|s| s.lines().find(|l| l.starts_with("m=audio "))).unwrap_or("");
            equal("codecs", &m.split_whitespace().skip(3).collect::<Vec<_>>().join(","))
        }
        "line" => match heard.body().lines().any(|line| line == value) {
            true => Ok(()),
            false => Err(format!("{name}: no line {value:?} in\n{}", heard.body())),
        },
        "body" => equal("body", &heard.body().replace("\r\n", "\\r\\n")),
        "reason" | "reason-sip" | "reason-text" => {
            let all: Vec<&str> = heard.headers("Reason").collect();
            let all = all.join(", ");
            let wanted = match key {
                "reason" => format!("Q.850;cause={value}"),
                "reason-sip" => format!("SIP;cause={value}"),
                _ => format!("text=\"{value}\""),
            };
            // `cause=1` must not be found in `cause=16`.
            let found = all
                .match_indices(&wanted)
                .any(|(at, _)| !all[at + wanted.len()..].starts_with(|c: char| c.is_ascii_digit()));
            if found { Ok(()) } else { Err(format!("{name}: Reason with {wanted} expected, it is {all:?}")) }
        }
        "retry-after" => equal("Retry-After", header("Retry-After").split([' ', ';', '(']).next().unwrap_or("")),
        "max-forwards" => equal("Max-Forwards", &header("Max-Forwards")),
        "from" => equal("number in From", user_of(&header("From"))),
        "to" => equal("number in To", user_of(&header("To"))),
        "uri" => {
            let uri = heard.start_line().split(' ').nth(1).unwrap_or("");
            equal("number in the Request-URI", user_of(uri))
        }
        "tag" => {
            let actual = if heard.status().is_some() { &heard.from_tag } else { &heard.to_tag };
            equal("our tag", actual)
        }
        "cseq" => equal("CSeq", &heard.cseq.to_string()),
        "phrase" => equal("phrase", heard.start_line().splitn(3, ' ').nth(2).unwrap_or("")),
        "contact" => match heard.contact() {
            Some(contact) if contact.contains(&cx.ours.to_string()) => Ok(()),
            other => differs("contact", other.unwrap_or("none")),
        },
        "header" => {
            let (wanted, part) = value.split_once(':').unwrap_or((value, ""));
            let found = heard.headers(wanted).any(|v| v.contains(part.trim()));
            if found {
                Ok(())
            } else {
                Err(format!("{name}: no header {wanted} with {:?} in\n{}", part.trim(), heard.head()))
            }
        }
        "no-header" => match heard.header(value) {
            None => Ok(()),
            Some(there) => Err(format!("{name}: header {value} must not be there, it is {there:?}")),
        },
        _ => Err(format!("no attribute {key} to expect")),
    }
}

fn session(cx: &Context<'_>, heard: &Heard, value: &str) -> Result<(), String> {
    let name = heard.name();
    if value == "none" {
        return if heard.body().is_empty() {
            Ok(())
        } else {
            Err(format!("{name}: no body expected\n{}", heard.body()))
        };
    }
    let sdp = heard.sdp().ok_or_else(|| format!("{name}: a session description was expected, there is none"))?;
    let address = media_address(sdp).ok_or_else(|| format!("{name}: no audio address in\n{sdp}"))?;
    let wrong = |what: &str| Err(format!("{name}: {what}\n{sdp}"));
    match value {
        "TANDEM" => {
            if ![parse(MEDIA_V4), parse(MEDIA_V6)].contains(&address.ip()) {
                return wrong("c= is not an address of ours");
            }
            if !cx.ports.contains(&address.port()) {
                return wrong("m= is not a media port of ours");
            }
            if Some(address) == cx.dialog.media {
                return wrong("the far party got its own address back");
            }
            // "SDP c=/m= are T's on both legs with a=rtcp" (call-flows.md 1), RTCP on the RTP port (media.md M-D4).
            let rtcp = format!("a=rtcp:{}", address.port());
            if !sdp.lines().any(|line| line == rtcp || line.starts_with(&format!("{rtcp} "))) {
                return wrong("no a=rtcp with the RTP port");
            }
            let foreign = cx.others.iter().filter_map(|other| media_address(other)).find(|other| {
                sdp.lines().any(|line| {
                    (line.starts_with("c=") || line.starts_with("o=")) && line.contains(&other.ip().to_string())
                })
            });
            match foreign {
                Some(other) => wrong(&format!("the address {} of the other side is visible", other.ip())),
                None => Ok(()),
            }
        }
        "SAME" | "UNCHANGED" => match cx.others.contains(&sdp) {
            true => Ok(()),
            false => wrong("the other side's description was to pass untouched"),
        },
        _ => match value.parse::<SocketAddr>() {
            Ok(wanted) if wanted == address => Ok(()),
            Ok(wanted) => wrong(&format!("audio at {wanted} expected")),
            Err(_) => Err(format!("sdp={value}: TANDEM, SAME, none or an address")),
        },
    }
}
