//! Smooth weighted round-robin: exact shares over every full turn, without bursts (spec routing.md R-D7, R-D12).

use std::collections::HashMap;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::snapshot::GatewayId;

/// Sets of equal gateways remembered. There is about one per prefix; a configuration that makes more starts over.
const SETS_MAX: usize = 16_384;

type Members = SmallVec<[(GatewayId, u32); 4]>;
/// One number for each of a set; a set that is larger costs a place on the heap at each turn.
type Each = SmallVec<[i64; 16]>;

/// Where every rotation stands. One per shard; each shard keeps the shares by itself.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    sets: HashMap<Members, SmallVec<[i64; 4]>, RandomState>,
    percent: HashMap<GatewayId, Vec<i64>, RandomState>,
}

impl Weights {
    /// One turn among equals: a rank for each member, in order. The highest is chosen; the others follow as they would
    /// come next. A weight of 0 only takes part when all have it.
    pub fn turn(&mut self, members: &[(GatewayId, u32)]) -> SmallVec<[i64; 16]> {
        if self.sets.len() >= SETS_MAX {
            self.sets.clear();
        }
        let all_zero = members.iter().all(|(_, w)| *w == 0);
        let weights: Each = members.iter().map(|(_, w)| if all_zero { 1 } else { i64::from(*w) }).collect();
        // Asked by reference first: nearly every set is known.
        let (chosen, mut ranks) = match self.sets.get_mut(members) {
            Some(state) => (advance(state, &weights), Each::from_slice(state)),
            None => {
                let mut state = SmallVec::from_elem(0, members.len());
                let chosen = advance(&mut state, &weights);
                let ranks = Each::from_slice(&state);
                self.sets.insert(SmallVec::from_slice(members), state);
                (chosen, ranks)
            }
        };
        for (rank, weight) in ranks.iter_mut().zip(&weights) {
            // A gateway without weight is behind all that have one.
            *rank = if *weight == 0 { i64::MIN } else { *rank };
        }
        if let Some(rank) = chosen.and_then(|c| ranks.get_mut(c)) {
            *rank = i64::MAX;
        }
        ranks
    }

    /// Which entry of a percentage list is next, without turning (`proportionCalleePrefixs`, R-D7).
    pub fn percent_next(&self, gateway: GatewayId, shares: &[(u32, String)]) -> Option<usize> {
        let mut state = self.percent_state(gateway, shares.len());
        advance(&mut state, &weights_of(shares))
    }

    /// Turns that list by one step and tells which entry it was.
    pub fn percent_turn(&mut self, gateway: GatewayId, shares: &[(u32, String)]) -> Option<usize> {
        let mut state = self.percent_state(gateway, shares.len());
        let chosen = advance(&mut state, &weights_of(shares));
        self.percent.insert(gateway, state);
        chosen
    }

    fn percent_state(&self, gateway: GatewayId, len: usize) -> Vec<i64> {
        self.percent.get(&gateway).filter(|s| s.len() == len).cloned().unwrap_or_else(|| vec![0; len])
    }
}

fn weights_of(shares: &[(u32, String)]) -> Vec<i64> {
    shares.iter().map(|(share, _)| i64::from(*share)).collect()
}

/// Every member gains its weight; the one ahead is chosen and pays the total. `None` when nothing has a weight.
fn advance(state: &mut [i64], weights: &[i64]) -> Option<usize> {
    let total: i64 = weights.iter().sum();
    for (value, weight) in state.iter_mut().zip(weights) {
        *value += weight;
    }
    let ahead = state.iter().zip(weights).enumerate().filter(|(_, (_, w))| **w > 0);
    let (chosen, _) = ahead.max_by_key(|(i, (value, _))| (**value, std::cmp::Reverse(*i)))?;
    state[chosen] -= total;
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GatewayId = GatewayId(1);
    const B: GatewayId = GatewayId(2);
    const C: GatewayId = GatewayId(3);

    fn first(ranks: &[i64]) -> usize {
        ranks.iter().enumerate().max_by_key(|(i, r)| (**r, std::cmp::Reverse(*i))).map(|(i, _)| i).unwrap()
    }

    #[test]
    fn shares_are_exact_over_every_full_turn_and_smooth() {
        let mut weights = Weights::default();
        let members = [(A, 5), (B, 1), (C, 1)];
        let order: Vec<usize> = (0..7).map(|_| first(&weights.turn(&members))).collect();
        assert_eq!(order, [0, 0, 1, 0, 2, 0, 0], "the order nginx documents for 5, 1, 1");
        let mut count = [0; 3];
        for _ in 0..70 {
            count[first(&weights.turn(&members))] += 1;
        }
        assert_eq!(count, [50, 10, 10]);
    }

    #[test]
    fn sets_do_not_disturb_each_other() {
        let mut weights = Weights::default();
        let mut count = [0; 2];
        for _ in 0..100 {
            count[first(&weights.turn(&[(A, 70), (B, 30)]))] += 1;
            weights.turn(&[(A, 1), (C, 1)]);
        }
        assert_eq!(count, [70, 30]);
    }

    #[test]
    fn no_weight_is_last_unless_nobody_has_one() {
        let mut weights = Weights::default();
        for _ in 0..5 {
            let ranks = weights.turn(&[(A, 0), (B, 1), (C, 1)]);
            assert!(ranks[0] < ranks[1] && ranks[0] < ranks[2]);
        }
        let mut count = [0; 2];
        for _ in 0..10 {
            count[first(&weights.turn(&[(A, 0), (B, 0)]))] += 1;
        }
        assert_eq!(count, [5, 5]);
    }

    #[test]
    fn looking_does_not_turn() {
        let mut weights = Weights::default();
        let shares = [(70, "1".to_owned()), (30, "2".to_owned())];
        assert_eq!(weights.percent_next(A, &shares), weights.percent_next(A, &shares));
        let mut count = [0; 2];
        for _ in 0..100 {
            let seen = weights.percent_next(A, &shares);
            let taken = weights.percent_turn(A, &shares);
            assert_eq!(seen, taken);
            count[taken.unwrap()] += 1;
        }
        assert_eq!(count, [70, 30]);
        assert_eq!(weights.percent_turn(B, &[(0, String::new())]), None);
    }
}
