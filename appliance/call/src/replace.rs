//! What the caller is told instead of the cause of a failure (spec endreasons.md 5, E-D5).

use tandem_leg::{EndReason, ServerReason};

/// Targets that may stand in a list (E-D5 rule 2).
pub const TARGET_MIN: u16 = 400;
/// Largest target.
pub const TARGET_MAX: u16 = 699;

/// The replacement of `status` in a list of (original, target): an exact original beats 0, which stands for any other;
/// target 0 replaces nothing. `None` when the status stays.
pub fn replacement(list: &[(u16, u16)], status: u16) -> Option<u16> {
    let find = |original| list.iter().find(|(from, _)| *from == original).map(|(_, to)| *to);
    find(status).or_else(|| find(0)).filter(|to| (TARGET_MIN..=TARGET_MAX).contains(to) && *to != status)
}

/// Status for the caller before any replacement. What only concerned the hop to the vendor is not passed on: a
/// challenge or a redirect would make the caller act on the vendor's behalf.
pub fn status_for_caller(reason: EndReason, no_route_code: u16) -> u16 {
    match reason {
        EndReason::Server(ServerReason::NoAvailableRouter) => no_route_code,
        EndReason::Sip(401 | 407) => 403,
        EndReason::Sip(300..=399 | 481 | 487 | 491) => 480,
        EndReason::Sip(status @ 400..=699) => status,
        EndReason::Sip(_) => 500,
        EndReason::Server(_) | EndReason::Normal | EndReason::Q850(_) => reason.status(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_spec() {
        let list = [(503, 480), (0, 0)];
        assert_eq!(replacement(&list, 503), Some(480));
        assert_eq!(replacement(&list, 486), None);
        let list = [(404, 503), (0, 486)];
        assert_eq!(replacement(&list, 404), Some(503));
        assert_eq!(replacement(&list, 480), Some(486));
        assert_eq!(replacement(&list, 486), None, "nothing to change");
        assert_eq!(replacement(&[], 404), None);
        assert_eq!(replacement(&[(404, 200)], 404), None, "out of range");
    }

    #[test]
    fn an_exact_original_with_target_zero_protects_it() {
        assert_eq!(replacement(&[(0, 480), (404, 0)], 404), None);
    }

    #[test]
    fn hop_matters_stay_on_the_hop() {
        assert_eq!(status_for_caller(EndReason::Sip(407), 503), 403);
        assert_eq!(status_for_caller(EndReason::Sip(302), 503), 480);
        assert_eq!(status_for_caller(EndReason::Sip(486), 503), 486);
        assert_eq!(status_for_caller(ServerReason::NoAvailableRouter.into(), 404), 404);
        assert_eq!(status_for_caller(ServerReason::NoAnswer.into(), 503), 480);
    }
}
