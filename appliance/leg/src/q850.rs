//! SIP status <-> Q.850 cause, and the names people read (RFC 3398 7.2.4.1 and 8.2.6.1, spec endreasons.md 4).

/// Q.850 cause for a SIP final response, when the response itself names none.
pub const fn of_sip(status: u16) -> u8 {
    match status {
        400 | 481 | 500 | 503 => 41,
        401 | 402 | 403 | 407 | 603 => 21,
        404 | 485 | 604 => 1,
        405 => 63,
        406 | 415 | 501 => 79,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => 127,
        480 => 18,
        482 | 483 => 25,
        484 => 28,
        486 | 600 => 17,
        487 => 31,
        488 | 606 => 65,
        502 => 38,
        _ => 31,
    }
}

/// SIP status for a Q.850 cause that ended a leg before the answer.
pub const fn to_sip(cause: u8) -> u16 {
    match cause {
        1..=3 | 26 => 404,
        16 | 19 | 20 | 31 => 480,
        17 => 486,
        18 => 408,
        21 | 55 | 57 | 87 => 403,
        22 | 23 => 410,
        27 => 502,
        28 => 484,
        29 | 79 => 501,
        34 | 38 | 41 | 42 | 47 | 58 | 88 => 503,
        65 | 70 => 488,
        102 => 504,
        _ => 500,
    }
}

/// The display name of a cause; `"cause"` for one without a name.
pub const fn name(cause: u8) -> &'static str {
    match cause {
        1 => "unallocated number",
        2 => "no route to network",
        3 => "no route to destination",
        6 => "channel unacceptable",
        16 => "normal clearing",
        17 => "user busy",
        18 => "no user responding",
        19 => "no answer",
        20 => "subscriber absent",
        21 => "call rejected",
        22 => "number changed",
        23 => "redirection",
        25 => "exchange routing error",
        26 => "non-selected user clearing",
        27 => "destination out of order",
        28 => "invalid number format",
        29 => "facility rejected",
        30 => "response to status enquiry",
        31 => "normal unspecified",
        34 => "no circuit",
        38 => "network out of order",
        41 => "temporary failure",
        42 => "switch congestion",
        43 => "access information discarded",
        44 => "requested circuit not available",
        47 => "resource unavailable",
        49 => "QoS unavailable",
        50 => "facility not subscribed",
        55 => "incoming barred in CUG",
        57 => "bearer not authorised",
        58 => "bearer not available",
        63 => "service not available",
        65 => "bearer not implemented",
        69 => "facility not implemented",
        70 => "restricted digital only",
        79 => "service not implemented",
        81 => "invalid call reference",
        87 => "not member of CUG",
        88 => "incompatible destination",
        91 => "invalid transit network",
        95 => "invalid message",
        96 => "mandatory IE missing",
        97 => "message type unknown",
        98 => "message not compatible",
        99 => "IE unknown",
        100 => "invalid IE contents",
        101 => "message not compatible with state",
        102 => "timer expiry",
        103 => "parameter unknown passed on",
        110 => "message discarded",
        111 => "protocol error",
        127 => "interworking",
        _ => "cause",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn table_of_the_spec() {
        for (sip, cause) in
            [(486, 17), (404, 1), (480, 18), (503, 41), (487, 31), (488, 65), (484, 28), (603, 21), (499, 31)]
        {
            assert_eq!(super::of_sip(sip), cause, "SIP {sip}");
        }
        for (cause, sip) in
            [(1, 404), (16, 480), (17, 486), (18, 408), (21, 403), (34, 503), (102, 504), (127, 500), (41, 503)]
        {
            assert_eq!(super::to_sip(cause), sip, "Q.850 {cause}");
        }
    }
}
